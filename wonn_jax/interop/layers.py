"""How the tensors of a PyTorch layer correspond to the variables of a Flax layer.

A network is described as a list of entries, one for each tensor of its state dict, built with
the functions below. `to_variables` and `to_tensors` convert with it in both directions.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from wonn_jax.interop.state_dict import some

StateDict = Mapping[str, np.ndarray]
Variables = dict[str, Any]
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One PyTorch tensor and the Flax variables that it holds.

    name: of the tensor in the state dict.
    axes: number of its axes.
    paths: of the variables, such as ('params', 'layer_0', 'kernel').
    split: from the tensor to the values of the variables, in the order of `paths`.
    join: the inverse of `split`.
    """

    name: str
    axes: int
    paths: tuple[Path, ...]
    split: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    join: Callable[..., np.ndarray]


def tensor(name: str, *path: str, axes: int = 1) -> Entry:
    """A tensor that is the same in both."""
    return Entry(name, axes, (path,), lambda x: (x,), lambda x: x)


def linear(name: str, *path: str) -> list[Entry]:
    """`nn.Linear` with a bias."""
    kernel = Entry(f"{name}.weight", 2, ((*path, "kernel"),), lambda x: (x.T,), lambda x: x.T)
    return [kernel, tensor(f"{name}.bias", *path, "bias")]


def conv(name: str, *path: str, bias: bool) -> list[Entry]:
    """`nn.Conv2d`: `[out, in, H, W]` there, `[H, W, in, out]` here."""
    kernel = Entry(
        f"{name}.weight",
        4,
        ((*path, "kernel"),),
        lambda x: (x.transpose(2, 3, 1, 0),),
        lambda x: x.transpose(3, 2, 0, 1),
    )
    return [kernel, tensor(f"{name}.bias", *path, "bias")] if bias else [kernel]


def affine(name: str, *path: str) -> list[Entry]:
    """Scale and bias of a normalisation layer."""
    return [tensor(f"{name}.weight", *path, "scale"), tensor(f"{name}.bias", *path, "bias")]


def batch_norm(name: str, *path: str) -> list[Entry]:
    """`nn.BatchNorm2d`; `path` is that within 'params' and 'batch_stats'."""
    stats = ("batch_stats", *path)
    counter = Entry(
        f"{name}.num_batches_tracked",
        0,
        ((*stats, "batches"),),
        lambda x: (x,),
        lambda x: np.asarray(x, np.int64),
    )
    return [
        *affine(name, "params", *path),
        tensor(f"{name}.running_mean", *stats, "mean"),
        tensor(f"{name}.running_var", *stats, "var"),
        counter,
    ]


def to_variables(entries: Sequence[Entry], tensors: StateDict, model: str) -> Variables:
    """The Flax variables that a state dict holds; arrays keep their dtype.

    Args:
      entries: all tensors of the network.
      tensors: the state dict.
      model: name of the network, for error messages.

    Raises:
      ValueError: tensors that are missing, superfluous or of the wrong shape.
    """
    remaining = dict(tensors)
    variables: Variables = {}
    missing = []
    for entry in entries:
        if entry.name not in remaining:
            missing.append(entry.name)
            continue
        for path, part in zip(
            entry.paths, _split(entry, remaining.pop(entry.name), model), strict=True
        ):
            _set(variables, path, part)
    if missing or remaining:
        unknown = [f"{name} {list(remaining[name].shape)}" for name in sorted(remaining)]
        raise ValueError(
            f"These are not the weights of a {model} model. "
            f"Missing tensors: {some(missing)}. Unknown tensors: {some(unknown)}. Required: all "
            "tensors of the model and no others. Save them with "
            "torch.save(model.state_dict(), FILE)."
        )
    return variables


def to_tensors(entries: Sequence[Entry], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of Flax variables; the inverse of `to_variables`.

    Raises:
      ValueError: a variable is missing.
    """
    return {
        entry.name: entry.join(*(_get(variables, path) for path in entry.paths))
        for entry in entries
    }


def differing_shapes(found: Variables, required: Variables) -> list[str]:
    """The variables whose shapes differ between two trees, with both."""
    theirs, ours = (
        {".".join(p): x.shape for p, x in flatten_dict(v).items()} for v in (found, required)
    )
    return [
        f"{name} is {theirs.get(name, 'missing')} there, {ours.get(name, 'missing')} here"
        for name in ours | theirs
        if theirs.get(name) != ours.get(name)
    ]


def _split(entry: Entry, value: np.ndarray, model: str) -> tuple[np.ndarray, ...]:
    if entry.axes == 0 and value.size == 1:  # `np.ascontiguousarray` gives scalars an axis
        value = value.reshape(())
    try:
        parts = entry.split(value)
        exact = value.ndim == entry.axes and np.array_equal(
            entry.join(*parts), value, equal_nan=True
        )
    except (ValueError, IndexError):
        exact = False
    if not exact:
        raise ValueError(
            f"{entry.name} has shape {value.shape}, which does not fit a {model} model."
        )
    return parts


def _get(tree: Mapping[str, Any], path: Path) -> np.ndarray:
    node: Any = tree
    for depth, key in enumerate(path):
        if not isinstance(node, Mapping) or key not in node:
            raise ValueError(f"The variables have no {'/'.join(path[: depth + 1])}.")
        node = node[key]
    return np.asarray(node)


def _set(tree: dict[str, Any], path: Path, value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
