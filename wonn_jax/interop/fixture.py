"""Fixtures: what was recorded from a reference network, and the same network of this project.

A fixture (`.npz`) holds `meta` (JSON: the kind of the network and its settings), the weights
(`param/…`), one batch (`input`, `target`, `theta0`), what the network computes in evaluation
(`eval/…`: logits, phases and energies of every layer), and what one training batch gives
(`train/…`: logits, loss, gradients, updated buffers). Of `eval/…` and `train/…`, any part may be
left out.
"""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.common.examples import Boards, Images
from wonn_jax.interop.files import read_file
from wonn_jax.interop.layers import Variables, differing_shapes
from wonn_jax.interop.state_dict import some, to_array
from wonn_jax.interop.winfree import KINDS, from_pytorch
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import KERNELS, ImageModel
from wonn_jax.tasks import ImageTask, MazeConfig, SudokuConfig, Task
from wonn_jax.tasks.boards import BoardTaskConfig

Arrays = Mapping[str, np.ndarray]


class Fixture(NamedTuple):
    """A fixture.

    kind: key of `KINDS`.
    settings: of the network, under the reference's names.
    tensors: its weights, under the reference's names.
    variables: the same weights for our network, in float64.
    inputs: `input`, `theta0`, and `target` and `is_input` if they are there.
    recorded: `eval/…` and `train/…`; empty arrays are left out.
    """

    kind: str
    settings: Mapping[str, Any]
    tensors: dict[str, np.ndarray]
    variables: Variables
    inputs: dict[str, np.ndarray]
    recorded: dict[str, np.ndarray]

    @property
    def step_size(self) -> float:
        """γ."""
        gamma = self.tensors.get("gamma", self.settings.get("gamma", 0.1))
        return float(np.reshape(gamma, -1)[0])

    @property
    def layers(self) -> int:
        """L."""
        return sum(name.startswith("layer_") for name in self.variables["params"])


class Case(NamedTuple):
    """Our side of a comparison, in float64.

    batch: of the fixture, in our layout.
    theta: initial phases `[B, H, W, C]`.
    options: further arguments of the model.
    """

    task: Task
    model: nn.Module
    batch: dict[str, jax.Array]
    theta: jax.Array
    options: dict[str, Any]


def read_fixture(path: str | Path) -> Fixture:
    """Reads a fixture.

    Raises:
      FileNotFoundError, ImportError, ValueError: there is no such file, it is damaged, or it is no
        fixture.
    """
    content = read_file(path)
    entries = content if isinstance(content, dict) else {}
    arrays = {str(n): x for n, v in entries.items() if (x := to_array(v)) is not None}
    meta = _meta(arrays)
    tensors = {n.removeprefix("param/"): x for n, x in arrays.items() if n.startswith("param/")}
    if not tensors:
        raise ValueError("it holds no weights (param/…)")
    fixture = Fixture(
        kind=meta["kind"],
        settings=meta["model"],
        tensors=tensors,
        variables=from_pytorch(tensors, step_size=None),
        inputs={n: arrays[n] for n in ("input", "target", "theta0", "is_input") if n in arrays},
        recorded={n: x for n, x in arrays.items() if n.startswith(("eval/", "train/")) and x.size},
    )
    return fixture._replace(variables=jax.tree.map(_double, fixture.variables))


def make_case(fixture: Fixture) -> Case:
    """The network and the batch of a fixture.

    Raises:
      ValueError: an input is missing, or of the wrong shape, or weights and settings contradict
        each other.
    """
    _check_inputs(fixture)
    inputs, phases = fixture.inputs["input"], _double(fixture.inputs["theta0"])
    batch: dict[str, Any] = {"id": jnp.arange(len(inputs))}
    if inputs.ndim == 4:  # images, channels first
        batch["input"] = jnp.asarray(inputs.transpose(0, 2, 3, 1).astype(np.float64))
        shape = inputs.shape[:1]
    else:
        batch["input"] = jnp.asarray(inputs.astype(int))
        batch["valid"] = jnp.ones(inputs.shape, bool)
        shape = inputs.shape
    # Logits and buffers of a training batch do not depend on the target.
    batch["target"] = jnp.asarray(fixture.inputs.get("target", np.zeros(shape)).astype(int))
    theta = jnp.asarray(phases.transpose(0, 2, 3, 1))
    options = {}
    if "is_input" in fixture.inputs:
        options["given"] = jnp.asarray(fixture.inputs["is_input"].astype(bool))
    task, model = _build(fixture, batch["input"], theta, options)
    return Case(task, model, batch, theta, options)


def _double(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


# --- Checks ---------------------------------------------------------------------------------------


def _meta(arrays: Arrays) -> dict[str, Any]:
    if "meta" not in arrays:
        raise ValueError(f"it is no fixture: it has no entry meta, but {some(list(arrays))}")
    try:
        meta = json.loads("".join(arrays["meta"].reshape(-1)[:1].astype(str)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its entry meta must be JSON ({error})") from error
    if not isinstance(meta, dict):
        raise ValueError(f"meta is of type {type(meta).__name__}, where an object is needed")
    if meta.get("kind") not in list(KINDS):
        raise ValueError(
            f"it is a fixture of kind {meta.get('kind')!r}; it must be one of {', '.join(KINDS)}"
        )
    if not isinstance(meta.get("model"), dict):
        raise ValueError(f"meta has model={meta.get('model')!r}, where an object is needed")
    for name in ("ch", "L", "T"):
        value = meta["model"].get(name)
        if type(value) is not int or value < 1:
            raise ValueError(f"meta has model.{name}={value!r}, where a number from 1 is needed")
    return meta


def _check_inputs(fixture: Fixture) -> None:
    """Raises a ValueError if an input is missing from which recorded values follow, or is wrong."""
    losses = [n for n in fixture.recorded if n == "train/loss" or n.startswith("train/grad/")]
    for name, needing in (
        ("input", list(fixture.recorded)),
        ("theta0", list(fixture.recorded)),
        ("target", losses),
    ):
        if needing and name not in fixture.inputs:
            raise ValueError(f"it has no {name}, from which {some(needing)} follow")
    images = fixture.kind == "image"
    inputs, theta = fixture.inputs["input"], fixture.inputs["theta0"]
    rows = len(inputs) if inputs.ndim else 0
    cells = (rows,) if images else inputs.shape
    right = {
        "input": inputs.ndim == (4 if images else 3) and (not images or inputs.shape[1] == 3),
        "theta0": theta.ndim == 4
        and len(theta) == rows
        and (images or theta.shape[2:] == cells[1:]),
        "target": fixture.inputs.get("target", np.empty(cells)).shape == cells,
        "is_input": fixture.inputs.get("is_input", np.empty(cells)).shape == cells,
    }
    for name, fits in right.items():
        if not fits:
            raise ValueError(
                f"{name} has shape {fixture.inputs[name].shape}, which does not fit "
                f"{'images [B, 3, H, W]' if images else 'boards [B, H, W]'} with input "
                f"{inputs.shape} and theta0 {theta.shape}"
            )
        if name in fixture.inputs and not _is_number(fixture.inputs[name]):
            raise ValueError(f"{name} is of type {fixture.inputs[name].dtype}, which is no number")


def _is_number(x: np.ndarray) -> bool:
    kinds = (jnp.floating, jnp.integer, np.bool_)
    return any(jnp.issubdtype(x.dtype, kind) for kind in kinds)


# --- Networks -------------------------------------------------------------------------------------


def _build(
    fixture: Fixture, inputs: jax.Array, theta: jax.Array, options: Mapping[str, Any]
) -> tuple[Task, nn.Module]:
    """The task and the network that `meta` describes, of which the fixture has the weights."""
    if fixture.settings["L"] != fixture.layers:
        raise ValueError(f"meta has model.L={fixture.settings['L']}, the weights {fixture.layers}")
    try:
        task, model = _BUILDERS[fixture.kind](fixture, _common_arguments(fixture))
        init = functools.partial(model.init, **options)
        like: Any = jax.eval_shape(init, jax.random.key(0), inputs, theta)
    except Exception as error:  # any error of a layer whose settings contradict each other
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"meta describes no network that takes the inputs ({reason})") from error
    if differ := differing_shapes(fixture.variables, like):
        raise ValueError(f"weights and meta are of different networks: {some(differ)}")
    return task, model


def _common_arguments(fixture: Fixture) -> dict[str, Any]:
    """Arguments of our models from those of the reference's."""
    theirs = fixture.settings
    return {
        "width": theirs["ch"],
        "layers": theirs["L"],
        "steps": (theirs["T"],),
        "heads": theirs.get("heads", 8),
        "step_size": fixture.step_size,
        "dtype": jnp.float64,
    }


def _build_board(
    settings: BoardTaskConfig, fixture: Fixture, common: dict[str, Any]
) -> tuple[Task, GridModel]:
    height, width = fixture.inputs["input"].shape[1:]
    boards = Boards(height, width, settings.tokens, len(settings.classes), settings.givens)
    return settings.task(boards, settings.loss_weights), GridModel(
        tokens=boards.tokens,
        classes=boards.classes,
        inject="given" if boards.givens else "all",
        **common,
    )


def _build_image(fixture: Fixture, common: dict[str, Any]) -> tuple[Task, ImageModel]:
    theirs = fixture.settings
    images = Images(
        side=fixture.inputs["input"].shape[-1], classes=len(fixture.tensors["out.bias"])
    )
    return ImageTask(images), ImageModel(
        classes=images.classes,
        widening=theirs.get("ch_final", theirs["ch"]) != theirs["ch"],
        patch=theirs.get("input_patch_size", 1) if "imagenet" in theirs.get("data", "") else 1,
        interaction=theirs.get("si_func", ""),
        group=theirs.get("group_size", 1),
        coupling={"attn": "attention", "conv": "convolution"}.get(theirs.get("coupling", ""), ""),
        kernels=tuple(theirs.get("kernel_sizes", KERNELS)),
        norm="none" if theirs.get("norm") == "none" else "group",
        transition_bias="layers.1.0.conv.bias" in fixture.tensors,
        readout_side=theirs.get("output_ksize", 3),
        **common,
    )


_BUILDERS: dict[str, Callable[[Fixture, dict[str, Any]], tuple[Task, nn.Module]]] = {
    "maze": functools.partial(_build_board, MazeConfig()),
    "sudoku": functools.partial(_build_board, SudokuConfig()),
    "image": _build_image,
}
