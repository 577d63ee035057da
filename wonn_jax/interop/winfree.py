"""Weights of the PyTorch reference implementation of the Winfree networks.

    variables = from_pytorch("maze.pth")        # or .npz, .safetensors, a dict of arrays
    state_dict = to_pytorch(variables, "maze")  # the exact inverse

`python -m wonn_jax.interop verify FIXTURE.npz` compares the networks of both.
"""

import dataclasses
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.interop.files import load_state_dict
from wonn_jax.interop.layers import (
    Entry,
    StateDict,
    Variables,
    affine,
    batch_norm,
    conv,
    linear,
    tensor,
    to_tensors,
    to_variables,
)
from wonn_jax.interop.state_dict import find_state_dict

# Tensors that the reference's Sudoku layers create (an influence map) but never use.
UNUSED = re.compile(r"layers\.\d+\.2\.i_func\..*")
# Tensors that the reference stores twice: prefix of the copy, prefix of the original.
COPIES = {"conv0.": "f_init."}


class _Kind(NamedTuple):
    """How one kind of model is built and named in the reference.

    stem: whether it begins with a convolution and ends with a linear layer (images), rather
      than with a table of frequencies and a convolution (boards).
    embedding: name of the phase embedding in a transition.
    readout: name of the readout.
    unused: whether its layers have the tensors of `UNUSED`.
    """

    stem: bool = False
    embedding: str = "theta_embedding"
    readout: str = "decoder"
    unused: bool = False


KINDS = {
    "maze": _Kind(),
    "sudoku": _Kind(readout="output", unused=True),
    "image": _Kind(stem=True, embedding="theta_emb"),
}


def from_pytorch(state_dict: StateDict | str | Path, *, step_size: float | None = 0.1) -> Variables:
    """The variables of `GridModel` or `ImageModel` from the weights of a reference model.

    The kind and variant of the model follow from the names of the tensors. Arrays keep their
    dtype.

    Args:
      state_dict: arrays or PyTorch tensors under the reference's names, possibly nested and with
        prefixes (see `find_state_dict`), or the path of a file of them (see `load_state_dict`).
      step_size: γ with which the model will run, compared with the γ in the weights; None skips
        the comparison.

    Returns:
      {'params': …, 'batch_stats': …} of NumPy arrays, for the model's `apply`.

    Raises:
      ValueError: tensors that are missing, unknown, of the wrong shape, no floats or not finite, or
        another γ; and what `find_state_dict` and `load_state_dict` raise.
    """
    if not isinstance(state_dict, str | Path):
        return _from_tensors(find_state_dict(state_dict, "The state dict"), step_size)
    tensors = load_state_dict(state_dict)
    try:
        return _from_tensors(tensors, step_size)
    except ValueError as error:
        raise ValueError(f"{state_dict}: {error}") from error


def _from_tensors(tensors: dict[str, np.ndarray], step_size: float | None) -> Variables:
    variant = _Variant.from_names({name: x.shape for name, x in tensors.items()})
    if step_size is not None:
        _check_step_size(tensors, step_size)
    tensors.pop("gamma", None)
    _check_finite(tensors)
    _drop_copies(tensors)
    if KINDS[variant.kind].unused:
        _drop_unused(tensors)
    return to_variables(_entries(variant), tensors, f"reference {variant.kind}")


def _check_finite(tensors: StateDict) -> None:
    for name, x in tensors.items():
        wrong = ~np.isfinite(x.astype(np.float64))
        if wrong.any():
            raise ValueError(
                f"{name} has {np.count_nonzero(wrong)} of {x.size} values that are NaN or "
                "infinite. Required: finite weights. Give those of an earlier checkpoint, before "
                "training diverged."
            )


def to_pytorch(
    variables: Mapping[str, Any], kind: str, *, step_size: float = 0.1
) -> dict[str, np.ndarray]:
    """The reference's state dict from our variables; the inverse of `from_pytorch`.

    Complete, so that the reference can load it with `strict=True`: it includes γ, the second
    copy of the stem (or of the frequency table) and, as zeros, the tensors that are never used.

    Args:
      variables: {'params': …, 'batch_stats': …}.
      kind: 'maze', 'sudoku' or 'image': the reference names their tensors differently.
      step_size: γ.

    Raises:
      ValueError: an unknown kind, or variables of another model.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use {' or '.join(KINDS)}.")
    variant = _Variant.from_variables(kind, variables["params"])
    tensors = to_tensors(_entries(variant), variables)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(x.size for name, x in tensors.items() if not name.endswith(buffers))
    found = sum(np.size(x) for x in jax.tree.leaves(variables["params"]))
    if count != found:
        raise ValueError(
            f"The variables hold {found} parameters, but a reference {kind} model has {count}."
        )
    for copy, original in COPIES.items():
        for name in [n for n in tensors if n.startswith(original)]:
            tensors[copy + name.removeprefix(original)] = tensors[name]
    dtype = tensors["out.weight"].dtype
    tensors["gamma"] = np.full(1, step_size, dtype)
    if KINDS[kind].unused:
        tensors |= _unused_tensors(variant, dtype)
    return tensors


def _check_step_size(tensors: StateDict, step_size: float) -> None:
    """Compares γ in the weights, as exactly as it is stored, with that of the model."""
    gamma = np.asarray(tensors.get("gamma", step_size), np.float64)
    if gamma.size == 1 and np.allclose(gamma, step_size):
        return
    rounded = [np.array(step_size, kind).astype(np.float64) for kind in _stored_types(tensors)]
    if gamma.size != 1 or gamma not in rounded:
        raise ValueError(
            f"The weights have step size γ = {', '.join(f'{x:g}' for x in gamma.flat[:3])}, the "
            f"model {step_size:g}; set model.step_size to that of the weights."
        )


def _stored_types(tensors: StateDict) -> list[Any]:
    """The type of γ, and those of half the size from which all weights may have been converted."""
    weights = [x for name, x in tensors.items() if not name.endswith("num_batches_tracked")]
    with np.errstate(over="ignore"):
        coarse = [
            kind
            for kind in (jnp.bfloat16, np.float16)
            if all(np.array_equal(x, x.astype(kind), equal_nan=True) for x in weights)
        ]
    return [tensors["gamma"].dtype, *coarse]


def _drop_copies(tensors: dict[str, np.ndarray]) -> None:
    """Removes the tensors that are stored twice.

    Raises:
      ValueError: a copy differs from its original.
    """
    for copy, original in COPIES.items():
        for name in [n for n in tensors if n.startswith(copy)]:
            twin = original + name.removeprefix(copy)
            if twin not in tensors or not np.array_equal(tensors[twin], tensors[name]):
                raise ValueError(f"{name} must equal {twin}.")
            del tensors[name]


def _drop_unused(tensors: dict[str, np.ndarray]) -> None:
    """Removes the tensors that the reference never uses, and logs their names."""
    unused = sorted(name for name in tensors if UNUSED.fullmatch(name))
    for name in unused:
        del tensors[name]
    if unused:
        logging.getLogger(__name__).warning(
            "Ignored %d tensors that the reference never uses: %s", len(unused), ", ".join(unused)
        )


def _unused_tensors(variant: "_Variant", dtype: np.dtype) -> dict[str, np.ndarray]:
    """The tensors that the reference never uses, as zeros."""
    width = variant.widths[0]
    shapes = {"0.weight": (2 * width, 1), "2.weight": (width, 2)}
    tensors = {}
    for i in range(len(variant.widths)):
        for name, (rows, columns) in shapes.items():
            prefix = f"layers.{i}.2.i_func.op."
            tensors[prefix + name] = np.zeros((rows, columns, 1, 1), dtype)
            tensors[prefix + name.replace("weight", "bias")] = np.zeros(rows, dtype)
    return tensors


@dataclasses.dataclass(frozen=True)
class _Variant:
    """What differs between models of the reference.

    kind: a key of `KINDS`.
    widths: channels of each layer.
    learned_influence, learned_sensitivity: whether I and S have weights.
    convolution: whether the coupling is a convolution, rather than attention.
    norm: whether the coupling has a norm.
    transition_bias: whether the phase transitions have a bias.
    """

    kind: str
    widths: tuple[int, ...]
    learned_influence: bool = False
    learned_sensitivity: bool = False
    convolution: bool = False
    norm: bool = True
    transition_bias: bool = True

    @classmethod
    def from_names(cls, shapes: Mapping[str, tuple[int, ...]]) -> "_Variant":
        """The variant whose tensors have these names and shapes in the reference."""
        kind = "maze"
        if any(name.startswith("output.") for name in shapes):
            kind = "sudoku"
        elif "f_init.0.weight" in shapes:
            kind = "image"
        numbers = [int(m[1]) for name in shapes if (m := re.match(r"layers\.(\d+)\.", name))]
        step, layers = "layers.0.2", len(set(numbers)) or 1
        convolution = f"{step}.coupling.0.weight" in shapes
        out = "layers.{}.2.coupling.0." + ("weight" if convolution else "W_o.weight")
        optional = KINDS[kind].stem  # only image models can lack the norm and this bias
        return cls(
            kind,
            widths=tuple((shapes.get(out.format(i)) or (0,))[0] for i in range(layers)),
            learned_influence=f"{step}.I.net.0.weight" in shapes,
            learned_sensitivity=f"{step}.S.net.0.weight" in shapes,
            convolution=convolution,
            norm=not optional or f"{step}.coupling.1.weight" in shapes,
            transition_bias=not optional or "layers.1.0.conv.bias" in shapes,
        )

    @classmethod
    def from_variables(cls, kind: str, params: Mapping[str, Any]) -> "_Variant":
        """The variant that has these parameters in this project."""
        layers = [params[f"layer_{i}"] for i in range(sum(n.startswith("layer_") for n in params))]
        if not layers:
            raise ValueError("The variables have no params/layer_0.")
        coupling = layers[0]["coupling"]
        inner = "conv" if "conv" in coupling else "out"
        return cls(
            kind,
            widths=tuple(np.shape(layer["coupling"][inner]["kernel"])[-1] for layer in layers),
            learned_influence="influence" in layers[0],
            learned_sensitivity="sensitivity" in layers[0],
            convolution=inner == "conv",
            norm="norm" in coupling,
            transition_bias="bias" in params.get("phase_transition_1", {"conv": ["bias"]})["conv"],
        )


def _entries(variant: _Variant) -> list[Entry]:
    """All tensors of a model of the reference, in its order."""
    kind = KINDS[variant.kind]
    entries: list[Entry] = []
    if kind.stem:
        entries += conv("f_init.0", "params", "stem_conv", bias=False)
        entries += batch_norm("f_init.1", "stem_norm")
    else:
        entries.append(_table("f_init.omega_template", "params", "frequency"))
    for i in range(len(variant.widths)):
        if i > 0:
            entries += _transition(i, kind, variant)
        entries += _oscillators(i, variant)
    entries += _embedding(f"{kind.readout}.0", "params", "readout", "embedding")
    for ours, (theirs, norm) in enumerate(((1, 2), (4, 5)), start=1):
        entries += conv(f"{kind.readout}.{theirs}", "params", "readout", f"conv_{ours}", bias=False)
        entries += batch_norm(f"{kind.readout}.{norm}", "readout", f"norm_{ours}")
    if kind.stem:
        return entries + linear("out", "params", "logits")
    return entries + conv("out", "params", "logits", bias=True)


def _transition(i: int, kind: _Kind, variant: _Variant) -> list[Entry]:
    """The transition to layer i > 0."""
    phase, frequency = f"phase_transition_{i}", f"frequency_transition_{i}"
    fusion, bias = f"layers.{i}.1.fusion", variant.transition_bias
    return [
        *conv(f"layers.{i}.0.conv", "params", phase, "conv", bias=bias),
        *_embedding(f"layers.{i}.1.{kind.embedding}", "params", frequency, "embedding"),
        *conv(f"{fusion}.0", "params", frequency, "conv", bias=True),
        *batch_norm(f"{fusion}.1", frequency, "norm"),
    ]


def _oscillators(i: int, variant: _Variant) -> list[Entry]:
    """S, I and the coupling of layer i."""
    step, ours, width = f"layers.{i}.2", ("params", f"layer_{i}"), variant.widths[i]
    entries: list[Entry] = []
    if variant.learned_sensitivity:
        entries += _channel_mlp(f"{step}.S", (*ours, "sensitivity", "mlp"), width, inputs=2)
    if variant.learned_influence:
        inputs = 2 if variant.learned_sensitivity else 1
        entries += _channel_mlp(f"{step}.I", (*ours, "influence", "mlp"), width, inputs)
    if variant.convolution:
        entries += conv(f"{step}.coupling.0", *ours, "coupling", "conv", bias=False)
    else:
        entries += linear(f"{step}.coupling.0.W_qkv", *ours, "coupling", "qkv")
        entries += linear(f"{step}.coupling.0.W_o", *ours, "coupling", "out")
    if variant.norm:
        entries += affine(f"{step}.coupling.1", *ours, "coupling", "norm")
    return entries


def _table(name: str, *path: str) -> Entry:
    """Frequencies of the tokens: `[tokens, C, 1, 1]` there."""
    return Entry(name, 4, (path,), lambda x: (x[:, :, 0, 0],), lambda x: x[:, :, None, None])


def _embedding(name: str, *path: str) -> list[Entry]:
    """A phase embedding: the weights of cos θ and sin θ are one tensor there."""
    weight = Entry(
        f"{name}.proj.weight",
        4,
        ((*path, "cos"), (*path, "sin")),
        lambda x: (x[:, 0, 0, 0], x[:, 1, 0, 0]),
        lambda cos, sin: np.stack([cos, sin], axis=1)[:, :, None, None],
    )
    return [weight, tensor(f"{name}.proj.bias", *path, "bias")]


def _channel_mlp(name: str, path: tuple[str, ...], width: int, inputs: int) -> list[Entry]:
    """A small MLP per channel, written with grouped convolutions in the reference.

    inputs: channels of its input per oscillator (2 for cos θ and sin θ), whose window of side²
      values each is one axis here.
    """
    ours = [(*path, x) for x in ("kernel_1", "bias_1", "kernel_2", "bias_2")]

    def window(kernel: np.ndarray) -> np.ndarray:
        side = math.isqrt(kernel.shape[2] // inputs)
        return kernel.reshape(-1, inputs, side, side)

    first, second = f"{name}.net.0", f"{name}.net.2"
    return [
        Entry(
            f"{first}.weight",
            4,
            (ours[0],),
            lambda x: (x.reshape(width, -1, math.prod(x.shape[1:])),),
            window,
        ),
        Entry(
            f"{first}.bias",
            1,
            (ours[1],),
            lambda x: (x.reshape(width, -1),),
            lambda x: x.reshape(-1),
        ),
        Entry(
            f"{second}.weight",
            4,
            (ours[2],),
            lambda x: (x[:, :, 0, 0],),
            lambda x: x[:, :, None, None],
        ),
        tensor(f"{second}.bias", *ours[3]),
    ]
