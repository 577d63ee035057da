"""Compares the networks of this project with the PyTorch reference, in float64.

A fixture (`.npz`) holds the weights and inputs of a reference model, its outputs, and the
gradients and updated buffers of one training batch.
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
from wonn_jax.interop.layers import Variables
from wonn_jax.interop.winfree import KINDS, UNUSED, from_pytorch, to_pytorch
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import KERNELS, ImageModel
from wonn_jax.tasks import ImageTask, MazeConfig, SudokuConfig, Task
from wonn_jax.tasks.boards import BoardTaskConfig

Fixture = Mapping[str, np.ndarray]
Row = tuple[str, float]  # a quantity and its relative error

# Every program runs once: optimising it would take longer than it saves.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def verify(path: str | Path, tolerance: float = 1e-8) -> bool:
    """Runs our network on a fixture in float64 and prints the error of every quantity.

    The error is the largest absolute difference divided by the largest absolute value in the
    fixture. Phases are compared modulo 2π. A gradient that is zero in the fixture is measured
    against the largest gradient.

    Returns:
      Whether every error is at most `tolerance`.

    Raises:
      OSError, ValueError, KeyError: the file is missing or is not a fixture.
    """
    with np.load(path) as file:
        fixture = {name: file[name] for name in file.files}
    meta = json.loads(str(fixture["meta"]))
    if meta["kind"] not in KINDS:
        raise ValueError(
            f"{path} is a fixture of kind {meta['kind']!r}; it must be one of {', '.join(KINDS)}."
        )
    with jax.enable_x64(True):
        case = _case(fixture, meta)
        rows = [_round_trip(case), *_evaluation(case), *_training(case)]
    width = max(len(name) for name, _ in rows)
    passed = True
    for name, error in rows:
        within = error <= tolerance  # False for NaN
        passed &= within
        print(f"{name:{width}}  {error:9.2e}  {'ok' if within else 'DIFFERS'}")
    print(f"{path}: {'all within' if passed else 'NOT within'} {tolerance:g}")
    return passed


class _Case(NamedTuple):
    """A fixture, and our side of the comparison.

    kind: key of `KINDS`.
    tensors: weights of the reference.
    variables: the same weights for our model.
    batch: one batch in our layout.
    theta: initial phases `[B, H, W, C]`.
    options: further arguments of the model.
    """

    fixture: Fixture
    kind: str
    step_size: float
    tensors: dict[str, np.ndarray]
    variables: Variables
    task: Task
    model: nn.Module
    batch: dict[str, Any]
    theta: jax.Array
    options: dict[str, Any]


def _case(fixture: Fixture, meta: dict[str, Any]) -> _Case:
    kind = meta["kind"]
    tensors = {n.removeprefix("param/"): x for n, x in fixture.items() if n.startswith("param/")}
    step_size = float(tensors["gamma"][0])
    inputs, target = jnp.asarray(fixture["input"]), jnp.asarray(fixture["target"])
    batch = {"target": target, "id": jnp.arange(len(target))}
    if inputs.ndim == 4:  # images, channels first
        batch["input"] = inputs.transpose(0, 2, 3, 1)
    else:
        batch["input"] = inputs
        batch["valid"] = jnp.ones(target.shape, bool)
    options = {}
    if "is_input" in fixture:
        options["given"] = jnp.asarray(fixture["is_input"])
    task, model = _BUILDERS[kind](fixture, meta, _common_arguments(meta["model"], step_size))
    return _Case(
        fixture=fixture,
        kind=kind,
        step_size=step_size,
        tensors=tensors,
        variables=jax.tree.map(jnp.asarray, from_pytorch(tensors, step_size=step_size)),
        task=task,
        model=model,
        batch=batch,
        theta=jnp.asarray(fixture["theta0"]).transpose(0, 2, 3, 1),
        options=options,
    )


def _common_arguments(theirs: Mapping[str, Any], step_size: float) -> dict[str, Any]:
    """Arguments of our models from those of the reference's."""
    return {
        "width": theirs["ch"],
        "layers": theirs["L"],
        "steps": (theirs["T"],),
        "heads": theirs.get("heads", 8),
        "step_size": step_size,
        "dtype": jnp.float64,
    }


def _build_board(
    settings: BoardTaskConfig, fixture: Fixture, meta: dict[str, Any], common: dict[str, Any]
) -> tuple[Task, GridModel]:
    height, width = fixture["input"].shape[1:]
    boards = Boards(height, width, settings.tokens, len(settings.classes), settings.givens)
    return settings.task(boards, settings.loss_weights), GridModel(
        tokens=boards.tokens,
        classes=boards.classes,
        inject="given" if boards.givens else "all",
        **common,
    )


def _build_image(
    fixture: Fixture, meta: dict[str, Any], common: dict[str, Any]
) -> tuple[Task, ImageModel]:
    theirs = meta["model"]
    images = Images(side=fixture["input"].shape[-1], classes=fixture["eval/logits"].shape[-1])
    return ImageTask(images), ImageModel(
        classes=images.classes,
        widening=theirs.get("ch_final", theirs["ch"]) != theirs["ch"],
        patch=theirs.get("input_patch_size", 1) if "imagenet" in theirs["data"] else 1,
        interaction=theirs["si_func"],
        group=theirs.get("group_size", 1),
        coupling={"attn": "attention", "conv": "convolution"}[theirs["coupling"]],
        kernels=tuple(theirs.get("kernel_sizes", KERNELS)),
        norm="none" if theirs.get("norm") == "none" else "group",
        transition_bias=meta.get("phase_bias", theirs.get("phase_bias", False)),
        readout_side=theirs.get("output_ksize", 3),
        **common,
    )


_BUILDERS: dict[str, Callable[[Fixture, dict[str, Any], dict[str, Any]], tuple[Task, nn.Module]]]
_BUILDERS = {
    "maze": functools.partial(_build_board, MazeConfig()),
    "sudoku": functools.partial(_build_board, SudokuConfig()),
    "image": _build_image,
}


def _error(ours: Any, theirs: np.ndarray, *, scale: float | None = None) -> float:
    """Largest difference relative to `scale`, or to the largest value; ∞ for another shape."""
    ours = np.asarray(ours)
    if ours.shape != theirs.shape:
        return float("inf")
    size = np.abs(theirs).max(initial=0.0) if scale is None else scale
    return float(np.abs(ours - theirs).max(initial=0.0) / (size or 1.0))


def _round_trip(case: _Case) -> Row:
    """Import followed by export must reproduce every tensor that the reference uses."""
    variables = from_pytorch(case.tensors, step_size=case.step_size)
    back = to_pytorch(variables, case.kind, step_size=case.step_size)
    used = [name for name in case.tensors if not UNUSED.fullmatch(name)]
    same = back.keys() == case.tensors.keys() and all(
        np.array_equal(back[name], case.tensors[name]) for name in used
    )
    return "import and export", 0.0 if same else float("inf")


def _evaluation(case: _Case) -> list[Row]:
    """Logits, and the phases and energies of every layer, with running statistics."""

    @_jit
    def run(variables):
        return case.model.apply(
            variables,
            case.batch["input"],
            case.theta,
            trajectory=True,
            energies=True,
            **case.options,
        )

    output: Any = run(case.variables)
    rows = [("eval/logits", _error(output.logits, case.fixture["eval/logits"]))]
    for i, layer in enumerate(output.layers):
        theirs = case.fixture[f"eval/layer{i}/theta"]
        phases = np.asarray(layer.trajectory).transpose(0, 1, 4, 2, 3)
        difference = np.angle(np.exp(1j * (phases - theirs)))
        error = _error(difference, np.zeros_like(theirs), scale=np.abs(theirs).max())
        rows.append((f"eval/layer{i}/theta", error))
        energies = case.fixture[f"eval/layer{i}/energy"][1:]  # the reference prepends a zero
        rows.append((f"eval/layer{i}/energy", _error(layer.energies, energies)))
    return rows


def _training(case: _Case) -> list[Row]:
    """Logits, loss, gradients and buffers of one training batch."""

    @_jit
    def run(variables):
        def loss(params):
            output, updates = case.model.apply(
                {**variables, "params": params},
                case.batch["input"],
                case.theta,
                train=True,
                mutable=["batch_stats"],
                **case.options,
            )
            total = case.task.loss_sum(output.logits, case.batch)
            return total / case.task.loss_count(case.batch), (output.logits, updates)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    (loss, (logits, updates)), grads = run(case.variables)
    rows = [
        ("train/logits", _error(logits, case.fixture["train/logits"])),
        ("train/loss", _error(loss, case.fixture["train/loss"])),
    ]
    ours = to_pytorch({"params": grads, **updates}, case.kind, step_size=case.step_size)
    gradients = {n: x for n, x in case.fixture.items() if n.startswith("train/grad/")}
    largest = max(np.abs(x).max() for x in gradients.values())
    for name, theirs in gradients.items():
        zero = np.abs(theirs).max() < 1e-12 * largest
        scale = largest if zero else None
        rows.append((name, _error(ours[name.removeprefix("train/grad/")], theirs, scale=scale)))
    for name, theirs in case.fixture.items():
        if name.startswith("train/buffer/"):
            rows.append((name, _error(ours[name.removeprefix("train/buffer/")], theirs)))
    return rows
