"""Weights to and from the PyTorch reference, and the proof that both compute the same.

variables = from_pytorch("maze.pth")        # or .npz, .safetensors, a dict of arrays
state_dict = to_pytorch(variables, "maze")  # its exact inverse

python -m wonn_jax.interop verify FIXTURE.npz
"""

import argparse
import dataclasses
import logging
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("maze", "sudoku")
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


def _entries(kind: str, layers: int) -> list[_Entry]:
    """All tensors of the reference's grid model, in its order."""
    entries = [_table("f_init.omega_template", "params", "frequency")]
    for i in range(layers):
        if i > 0:
            phase, frequency = f"phase_transition_{i}", f"frequency_transition_{i}"
            fusion = f"layers.{i}.1.fusion"
            entries += _conv(f"layers.{i}.0.conv", "params", phase, "conv", bias=True)
            entries += _embedding(f"layers.{i}.1.theta_embedding", "params", frequency, "embedding")
            entries += _conv(f"{fusion}.0", "params", frequency, "conv", bias=True)
            entries += _batch_norm(f"{fusion}.1", frequency, "norm")
        coupling, ours = f"layers.{i}.2.coupling", f"coupling_{i}"
        entries += _linear(f"{coupling}.0.W_qkv", "params", ours, "qkv")
        entries += _linear(f"{coupling}.0.W_o", "params", ours, "out")
        entries += _affine(f"{coupling}.1", "params", ours, "norm")
    readout = "decoder" if kind == "maze" else "output"
    entries += _embedding(f"{readout}.0", "params", "readout_embedding")
    entries += _conv(f"{readout}.1", "params", "readout_conv_1", bias=False)
    entries += _batch_norm(f"{readout}.2", "readout_norm_1")
    entries += _conv(f"{readout}.4", "params", "readout_conv_2", bias=False)
    entries += _batch_norm(f"{readout}.5", "readout_norm_2")
    entries += _conv("out", "params", "readout_logits", bias=True)
    return entries


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
    """The variables of `GridModel` from the weights of a reference Maze or Sudoku model.

    Which of the two, and how many layers, is read from the names. Arrays keep their dtype.

    Args:
      state_dict: arrays under the reference's names, or the path of a file of them
        (see `load_state_dict`).
      step_size: γ the model will run with, checked against the weights' own; None: unchecked.

    Returns:
      {'params': …, 'batch_stats': …} of NumPy arrays, for `GridModel.apply`.

    Raises:
      ValueError: tensors left over or missing, of a wrong shape, or another step size.
    """
    if isinstance(state_dict, str | Path):
        state_dict = load_state_dict(state_dict)
    left = {name: np.asarray(x) for name, x in state_dict.items()}
    kind = "sudoku" if any(name.startswith("output.") for name in left) else "maze"
    numbers = [int(m[1]) for name in left if (m := re.match(r"layers\.(\d+)\.", name))]

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
    for entry in _entries(kind, max(numbers, default=0) + 1):
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
    """The reference's state dict from the variables of a `GridModel`; inverse of `from_pytorch`.

    Complete, so that the reference loads it strictly: γ, the copy of the embedding table and
    (as zeros) the tensors nothing reads are in it.

    Args:
      variables: {'params': …, 'batch_stats': …}.
      kind: 'maze' or 'sudoku', which differ in names.
      step_size: γ.

    Raises:
      ValueError: another kind, or variables of another model.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use {' or '.join(KINDS)}.")
    layers = sum(name.startswith("coupling_") for name in variables["params"])
    out = {
        entry.name: entry.join(*(_get(variables, path) for path in entry.paths))
        for entry in _entries(kind, layers)
    }
    count = sum(x.size for name, x in out.items() if "running_" not in name and "num_b" not in name)
    ours = sum(np.size(x) for x in _leaves(variables["params"]))
    if count != ours:
        raise ValueError(f"The variables hold {ours} parameters, a {kind} model of theirs {count}.")
    table = out["f_init.omega_template"]
    out["conv0.omega_template"] = table
    out["gamma"] = np.full(1, step_size, table.dtype)
    if kind == "sudoku":
        width = table.shape[1]
        shapes = {"0.weight": (2 * width, 1), "2.weight": (width, 2)}
        for i in range(layers):
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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wonn_jax.interop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="compare this project with a reference fixture")
    check.add_argument("file", help="a fixture (.npz)")
    check.add_argument("--tolerance", type=float, default=1e-8)
    arguments = parser.parse_args(argv)
    from wonn_jax.verify import verify  # it imports this module

    try:
        return 0 if verify(arguments.file, arguments.tolerance) else 1
    except (OSError, ValueError, KeyError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
