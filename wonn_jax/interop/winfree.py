"""Weights to and from the PyTorch reference, and the proof that both compute the same.

variables = from_pytorch("maze.pth")        # or .npz, .safetensors, a dict of arrays
state_dict = to_pytorch(variables, "maze")  # its exact inverse

python -m wonn_jax.interop verify FIXTURE.npz
"""

import dataclasses
import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("maze", "sudoku", "image")
StateDict = Mapping[str, np.ndarray]
Variables = dict[str, Any]

# Tensors of the reference that nothing reads (an influence map its Sudoku layers build and never
# call), and copies of others.
UNUSED = re.compile(r"layers\.\d+\.2\.i_func\..*")
_COPIES = {"conv0.": "f_init."}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One tensor of the reference and the leaves of ours that it holds."""

    name: str
    paths: tuple[tuple[str, ...], ...]
    split: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    join: Callable[..., np.ndarray]


def _same(name: str, *path: str) -> _Entry:
    return _Entry(name, (path,), lambda x: (x,), lambda x: x)


def _table(name: str, *path: str) -> _Entry:
    return _Entry(name, (path,), lambda x: (x[:, :, 0, 0],), lambda x: x[:, :, None, None])


def _linear(name: str, *path: str) -> list[_Entry]:
    kernel = _Entry(f"{name}.weight", ((*path, "kernel"),), lambda x: (x.T,), lambda x: x.T)
    return [kernel, _same(f"{name}.bias", *path, "bias")]


def _conv(name: str, *path: str, bias: bool) -> list[_Entry]:
    kernel = _Entry(
        f"{name}.weight",
        ((*path, "kernel"),),
        lambda x: (x.transpose(2, 3, 1, 0),),
        lambda x: x.transpose(3, 2, 0, 1),
    )
    return [kernel, _same(f"{name}.bias", *path, "bias")] if bias else [kernel]


def _embedding(name: str, *path: str) -> list[_Entry]:
    weight = _Entry(
        f"{name}.proj.weight",
        ((*path, "cos"), (*path, "sin")),
        lambda x: (x[:, 0, 0, 0], x[:, 1, 0, 0]),
        lambda cos, sin: np.stack([cos, sin], axis=1)[:, :, None, None],
    )
    return [weight, _same(f"{name}.proj.bias", *path, "bias")]


def _affine(name: str, *path: str) -> list[_Entry]:
    return [_same(f"{name}.weight", *path, "scale"), _same(f"{name}.bias", *path, "bias")]


def _batch_norm(name: str, path: str, *inner: str) -> list[_Entry]:
    stats = ("batch_stats", path, *inner)
    counter = _Entry(
        f"{name}.num_batches_tracked",
        ((*stats, "batches"),),
        lambda x: (x,),
        lambda x: np.asarray(x, np.int64),
    )
    return [
        *_affine(name, "params", path, *inner),
        _same(f"{name}.running_mean", *stats, "mean"),
        _same(f"{name}.running_var", *stats, "var"),
        counter,
    ]


def _channel_mlp(name: str, path: tuple[str, ...], width: int, waves: int) -> list[_Entry]:
    """A small MLP per channel: grouped convolutions there, with the windows of `waves` inputs."""
    ours = [(*path, x) for x in ("kernel_1", "bias_1", "kernel_2", "bias_2")]

    def window(kernel: np.ndarray) -> np.ndarray:
        side = math.isqrt(kernel.shape[2] // waves)
        return kernel.reshape(-1, waves, side, side)

    first, second = f"{name}.net.0", f"{name}.net.2"
    return [
        _Entry(
            f"{first}.weight",
            (ours[0],),
            lambda x: (x.reshape(width, -1, math.prod(x.shape[1:])),),
            window,
        ),
        _Entry(
            f"{first}.bias", (ours[1],), lambda x: (x.reshape(width, -1),), lambda x: x.reshape(-1)
        ),
        _Entry(
            f"{second}.weight",
            (ours[2],),
            lambda x: (x[:, :, 0, 0],),
            lambda x: x[:, :, None, None],
        ),
        _same(f"{second}.bias", *ours[3]),
    ]


@dataclasses.dataclass(frozen=True)
class _Variant:
    """What differs between models of the reference.

    widths: channels of each layer.
    learned_influence, learned_sensitivity: whether I and S have weights.
    convolution: whether the coupling is one, or attention.
    norm: whether the coupling has one.
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
    def of_names(cls, shapes: Mapping[str, tuple[int, ...]]) -> "_Variant":
        """Of a model with tensors of these names and shapes in the reference."""
        kind = "maze"
        if any(name.startswith("output.") for name in shapes):
            kind = "sudoku"
        elif "f_init.0.weight" in shapes:
            kind = "image"
        numbers = [int(m[1]) for name in shapes if (m := re.match(r"layers\.(\d+)\.", name))]
        step, layers = "layers.0.2", max(numbers, default=0) + 1
        convolution = f"{step}.coupling.0.weight" in shapes
        out = "layers.{}.2.coupling.0." + ("weight" if convolution else "W_o.weight")
        return cls(
            kind,
            tuple(shapes.get(out.format(i), (0,))[0] for i in range(layers)),
            f"{step}.I.net.0.weight" in shapes,
            f"{step}.S.net.0.weight" in shapes,
            convolution,
            f"{step}.coupling.1.weight" in shapes or kind != "image",
            "layers.1.0.conv.bias" in shapes or kind != "image",
        )

    @classmethod
    def of_variables(cls, kind: str, params: Mapping[str, Any]) -> "_Variant":
        """Of a model with these parameters of ours."""
        layers = [params[f"layer_{i}"] for i in range(sum(n.startswith("layer_") for n in params))]
        if not layers:
            raise ValueError("The variables have no params/layer_0.")
        coupling = layers[0]["coupling"]
        inner = "conv" if "conv" in coupling else "out"
        return cls(
            kind,
            tuple(np.shape(layer["coupling"][inner]["kernel"])[-1] for layer in layers),
            "influence" in layers[0],
            "sensitivity" in layers[0],
            inner == "conv",
            "norm" in coupling,
            "bias" in params.get("phase_transition_1", {"conv": ["bias"]})["conv"],
        )


def _entries(variant: _Variant) -> list[_Entry]:
    """All tensors of a model of the reference, in its order."""
    kind = variant.kind
    image = kind == "image"
    if image:
        entries = _conv("f_init.0", "params", "stem_conv", bias=False)
        entries += _batch_norm("f_init.1", "stem_norm")
    else:
        entries = [_table("f_init.omega_template", "params", "frequency")]
    embedding = "theta_emb" if image else "theta_embedding"
    for i, width in enumerate(variant.widths):
        if i > 0:
            phase, frequency = f"phase_transition_{i}", f"frequency_transition_{i}"
            fusion, bias = f"layers.{i}.1.fusion", variant.transition_bias
            entries += _conv(f"layers.{i}.0.conv", "params", phase, "conv", bias=bias)
            entries += _embedding(f"layers.{i}.1.{embedding}", "params", frequency, "embedding")
            entries += _conv(f"{fusion}.0", "params", frequency, "conv", bias=True)
            entries += _batch_norm(f"{fusion}.1", frequency, "norm")
        step, ours = f"layers.{i}.2", ("params", f"layer_{i}")
        if variant.learned_sensitivity:
            entries += _channel_mlp(f"{step}.S", (*ours, "sensitivity", "mlp"), width, 2)
        if variant.learned_influence:
            waves = 2 if variant.learned_sensitivity else 1
            entries += _channel_mlp(f"{step}.I", (*ours, "influence", "mlp"), width, waves)
        if variant.convolution:
            entries += _conv(f"{step}.coupling.0", *ours, "coupling", "conv", bias=False)
        else:
            entries += _linear(f"{step}.coupling.0.W_qkv", *ours, "coupling", "qkv")
            entries += _linear(f"{step}.coupling.0.W_o", *ours, "coupling", "out")
        if variant.norm:
            entries += _affine(f"{step}.coupling.1", *ours, "coupling", "norm")
    readout = "output" if kind == "sudoku" else "decoder"
    entries += _embedding(f"{readout}.0", "params", "readout", "embedding")
    for ours_number, conv, norm in ((1, 1, 2), (2, 4, 5)):
        entries += _conv(
            f"{readout}.{conv}", "params", "readout", f"conv_{ours_number}", bias=False
        )
        entries += _batch_norm(f"{readout}.{norm}", "readout", f"norm_{ours_number}")
    if image:
        return entries + _linear("out", "params", "logits")
    return entries + _conv("out", "params", "logits", bias=True)


def _get(tree: Mapping[str, Any], path: tuple[str, ...]) -> np.ndarray:
    node: Any = tree
    for depth, key in enumerate(path):
        if not isinstance(node, Mapping) or key not in node:
            raise ValueError(f"The variables have no {'/'.join(path[: depth + 1])}.")
        node = node[key]
    return np.asarray(node)


def _set(tree: dict[str, Any], path: tuple[str, ...], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def load_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict from `.npz`, `.safetensors`, `.pth` or `.pt`.

    In an `.npz` whose names begin with `param/`, as the fixtures' do, those are taken. A
    `.pth` is read with `weights_only=True`: nothing in it is executed.

    Raises:
      FileNotFoundError, ValueError: no such file, another ending, a file of something else.
      ImportError: the optional library for the format is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}: there is no such file.")
    if path.suffix == ".npz":
        with np.load(path) as file:
            names = [n for n in file.files if n.startswith("param/")] or file.files
            return {name.removeprefix("param/"): file[name] for name in names}
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ImportError(
                f'{path} needs the library safetensors: pip install "wonn-jax[torch]"'
            ) from error
        return load_file(path)
    if path.suffix in (".pth", ".pt"):
        return _load_pth(path)
    raise ValueError(f"{path} ends in {path.suffix!r}; weights are .npz, .safetensors or .pth.")


def _load_pth(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f'{path} needs the library torch: pip install "wonn-jax[torch]". '
            "Or save the weights as .npz where torch is."
        ) from error
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than tensors; nothing of it was executed. Save the "
            "weights alone, with torch.save(model.state_dict(), path)."
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(x) for x in content.values()):
        raise ValueError(
            f"{path} holds no state dict (names and tensors). Save the weights with "
            "torch.save(model.state_dict(), path)."
        )
    tensors = {
        name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in content.items()
    }
    if all(name.startswith("module.") for name in tensors):  # saved from DataParallel
        tensors = {name.removeprefix("module."): x for name, x in tensors.items()}
    return tensors


def from_pytorch(state_dict: StateDict | str | Path, *, step_size: float | None = 0.1) -> Variables:
    """The variables of `GridModel` or `ImageModel` from the weights of a reference model.

    Which of its models and variants it is, is read from the names. Arrays keep their dtype.

    Args:
      state_dict: arrays under the reference's names, or the path of a file of them
        (see `load_state_dict`).
      step_size: γ the model will run with, checked against the weights' own; None: unchecked.

    Returns:
      {'params': …, 'batch_stats': …} of NumPy arrays, for the model's `apply`.

    Raises:
      ValueError: tensors left over or missing, of a wrong shape, or another step size.
    """
    if isinstance(state_dict, str | Path):
        state_dict = load_state_dict(state_dict)
    left = {name: np.asarray(x) for name, x in state_dict.items()}
    variant = _Variant.of_names({name: x.shape for name, x in left.items()})
    kind = variant.kind

    gamma = left.pop("gamma", None)
    if gamma is not None and step_size is not None and not np.allclose(gamma, step_size):
        raise ValueError(
            f"The weights have step size γ = {float(gamma.reshape(-1)[0]):g}, the model "
            f"{step_size:g}; set model.step_size to that of the weights."
        )
    for copy, original in _COPIES.items():
        for name in [n for n in left if n.startswith(copy)]:
            twin = left.get(original + name.removeprefix(copy))
            if twin is None or not np.array_equal(twin, left[name]):
                raise ValueError(f"{name} must equal {original}{name.removeprefix(copy)}.")
            del left[name]
    unused = sorted(name for name in left if UNUSED.fullmatch(name)) if kind == "sudoku" else []
    for name in unused:
        del left[name]
    if unused:
        logging.getLogger(__name__).warning(
            "Left out %d tensors that nothing in the model reads: %s",
            len(unused),
            ", ".join(unused),
        )

    variables: Variables = {}
    missing = []
    for entry in _entries(variant):
        if entry.name not in left:
            missing.append(entry.name)
            continue
        tensor = left.pop(entry.name)
        try:
            parts = entry.split(tensor)
            exact = np.array_equal(entry.join(*parts), tensor, equal_nan=True)
        except (ValueError, IndexError):
            exact = False
        if not exact:
            raise ValueError(
                f"{entry.name} has shape {tensor.shape}, which is not that of a {kind} model."
            )
        for path, part in zip(entry.paths, parts, strict=True):
            _set(variables, path, part)
    if missing or left:
        raise ValueError(
            f"These are not the weights of a reference {kind} model. "
            f"Missing: {', '.join(missing) or 'nothing'}. "
            f"Left over: {', '.join(sorted(left)) or 'nothing'}."
        )
    return variables


def to_pytorch(
    variables: Mapping[str, Any], kind: str, *, step_size: float = 0.1
) -> dict[str, np.ndarray]:
    """The reference's state dict from our variables; the inverse of `from_pytorch`.

    Complete, so that the reference loads it strictly: γ, the copy of the stem (or embedding
    table) and (as zeros) the tensors nothing reads are in it.

    Args:
      variables: {'params': …, 'batch_stats': …}.
      kind: 'maze', 'sudoku' or 'image', which differ in names.
      step_size: γ.

    Raises:
      ValueError: another kind, or variables of another model.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use {' or '.join(KINDS)}.")
    variant = _Variant.of_variables(kind, variables["params"])
    out = {
        entry.name: entry.join(*(_get(variables, path) for path in entry.paths))
        for entry in _entries(variant)
    }
    count = sum(x.size for name, x in out.items() if "running_" not in name and "num_b" not in name)
    ours = sum(np.size(x) for x in _leaves(variables["params"]))
    if count != ours:
        raise ValueError(f"The variables hold {ours} parameters, a {kind} model of theirs {count}.")
    for name in [n for n in out if n.startswith("f_init.")]:
        out[name.replace("f_init.", "conv0.")] = out[name]
    table = out["out.weight"]
    out["gamma"] = np.full(1, step_size, table.dtype)
    if kind == "sudoku":
        width = variant.widths[0]
        shapes = {"0.weight": (2 * width, 1), "2.weight": (width, 2)}
        for i in range(len(variant.widths)):
            for name, (rows, columns) in shapes.items():
                prefix = f"layers.{i}.2.i_func.op."
                out[prefix + name] = np.zeros((rows, columns, 1, 1), table.dtype)
                out[prefix + name.replace("weight", "bias")] = np.zeros(rows, table.dtype)
    return out


def _leaves(tree: Mapping[str, Any]) -> list[Any]:
    out = []
    for value in tree.values():
        out += _leaves(value) if isinstance(value, Mapping) else [value]
    return out
