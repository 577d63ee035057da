"""Finds the state dict of a reference network in what other programs put around it.

A checkpoint may hold it in nested dictionaries, beside the state of an optimizer and settings, and
with names to which wrappers of the module have added theirs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_SHOWN = 4  # of a list, in an error message
# What DDP, torch.compile, FSDP, activation checkpointing, Fabric and Opacus add anywhere in a name.
_WRAPPERS = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_module",
}
_NAMES = re.compile(
    r"gamma|out\.(weight|bias)|(f_init|conv0)\.(omega_template|\d+\.\w+)"
    r"|(decoder|output)\.\d+\.(proj\.)?\w+"
    r"|layers\.\d+\.(0\.conv|1\.(theta_emb|theta_embedding|fusion)|2\.(coupling|S|I|i_func))\.[\w.]+"
)
_COUPLING = re.compile(r"layers\.\d+\.2\.coupling\.")
_TOP = "."  # label of a state dict that is not nested and has no prefix


def find_state_dict(content: Any, where: str, label: str = "") -> dict[str, np.ndarray]:
    """The tensors of a reference network, under the reference's names.

    Prefixes and nested dictionaries around it are taken off. What else there is (the state of an
    optimizer, counters, settings) is left out; arrays of floats that stand among those of the
    network are kept, whatever their name.

    Args:
      content: a state dict, or dictionaries and lists that contain one; of NumPy or JAX arrays, or
        PyTorch tensors.
      where: its name, for error messages.
      label: which one, if there are several, such as 'ema' or 'state_dict.ema_model'.

    Raises:
      ValueError: there is none, or there are several that differ and no label says which.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, node in _dictionaries(content):
        found |= {_label(place, prefix): x for prefix, x in _networks(node).items()}
    # The state of an optimizer has no running statistics, and neither do averages of parameters.
    whole = {label: x for label, x in found.items() if _is_whole(x)}
    if label:
        if label not in found:
            known = f"it has {', '.join(found)}" if found else "it has none"
            raise ValueError(f"{where} has no weights {label!r}; {known}.")
        return _arrays(found[label], where)
    if not found:
        raise ValueError(_none_found(content, where))
    sets = whole or {
        label: x for label, x in found.items() if len(x) == max(map(len, found.values()))
    }
    first, *others = (_arrays(x, where) for x in sets.values())
    if not all(_same(first, other) for other in others):
        raise ValueError(
            f"{where} holds several sets of weights: {', '.join(map(repr, sets))}. Give one of "
            f"them; of a file, add its name after a colon, as in FILE:{next(iter(sets))}"
        )
    return first


def to_array(value: Any) -> np.ndarray | None:
    """A tensor of any library as a NumPy array of the same type; None if it is no dense tensor.

    Types that NumPy does not know, such as bfloat16, are those of `ml_dtypes`.
    """
    if hasattr(value, "detach"):  # PyTorch, which need not be installed
        try:
            return _from_torch(value.detach().cpu())
        except (TypeError, RuntimeError, AttributeError):  # sparse, quantized, without data
            return None
    if not isinstance(value, np.ndarray | np.generic | jax.Array):
        return None
    array = np.asarray(value)
    if array.dtype == np.dtype("V2"):  # as NumPy writes bfloat16 into its own files
        return array.view(jnp.bfloat16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def some(items: Sequence[str]) -> str:
    """The first few of a list, and how many there are besides, for error messages."""
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return ", ".join([*items[:_SHOWN], *more]) or "none"


def _from_torch(tensor: Any) -> np.ndarray:
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if name == "bfloat16" or name.startswith("float8"):
        same_size = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        return tensor.contiguous().view(same_size).numpy().view(jnp.dtype(name))
    return tensor.numpy()


def _dictionaries(
    content: Any, place: str = "", above: tuple[int, ...] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All dictionaries in some content, with the keys that lead to them; lists count as such.

    Args:
      content: some values.
      place: the keys that lead there.
      above: identities of what contains it; what contains itself is left out.
    """
    if id(content) in above:
        return
    above = *above, id(content)
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping):
        return
    node = {str(key): value for key, value in content.items()}
    yield place, node
    for key, value in node.items():
        yield from _dictionaries(value, f"{place}{key}.", above)


def _networks(node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The networks whose tensors a dictionary holds, by the prefix of their names."""
    found: dict[str, dict[str, Any]] = {}
    others = {}
    for key, value in node.items():
        prefix, name = _split(key)
        if name:
            found.setdefault(prefix, {})[name] = value
        elif (array := to_array(value)) is not None and array.ndim and _is_float(array):
            others[key] = value
    found = {
        prefix: tensors for prefix, tensors in found.items() if any(map(_COUPLING.match, tensors))
    }
    for key, value in others.items():
        if prefixes := [prefix for prefix in found if key.startswith(prefix)]:
            longest = max(prefixes, key=len)
            found[longest][key.removeprefix(longest)] = value
    return found


def _split(key: str) -> tuple[str, str]:
    """A key as its prefix and the reference's name; ('', '') if it contains none."""
    starts = [0, *(match.end() for match in re.finditer(r"[./]", key))]
    for start in starts:
        words = re.split(r"[./]", key[start:])
        name = ".".join(word for word in words if word not in _WRAPPERS)
        if words[0] not in _WRAPPERS and _NAMES.fullmatch(name):
            return key[:start], name
    return "", ""


def _label(place: str, prefix: str) -> str:
    return (place + prefix).strip("./") or _TOP


def _is_whole(tensors: Mapping[str, Any]) -> bool:
    return "out.weight" in tensors and any(name.endswith(".running_mean") for name in tensors)


def _arrays(tensors: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Raises a ValueError if one of them is not of numbers."""
    arrays = {}
    for name, value in tensors.items():
        array = to_array(value)
        counts = name.endswith("num_batches_tracked")
        if array is None or not (_is_float(array) or counts and _is_integer(array)):
            raise ValueError(
                f"{where}: {name} is {_what(value, array)}; it must be an array of floats."
            )
        arrays[name] = array
    return arrays


def _what(value: Any, array: np.ndarray | None) -> str:
    if array is not None:
        return f"of type {array.dtype}"
    special = "a sparse, quantized or otherwise special tensor"
    return special if hasattr(value, "detach") else f"a {type(value).__name__}"


def _is_float(array: np.ndarray) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


def _is_integer(array: np.ndarray) -> bool:
    return jnp.issubdtype(array.dtype, jnp.integer)


def _same(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], theirs[name], equal_nan=True) for name in ours
    )


def _none_found(content: Any, where: str) -> str:
    found = [
        f"{place}{key} {array.dtype}{list(array.shape)}"
        for place, node in _dictionaries(content)
        for key, value in node.items()
        if (array := to_array(value)) is not None
    ]
    if not found:
        return (
            f"{where} contains no tensors by name. Save the weights with "
            "torch.save(model.state_dict(), FILE)."
        )
    return (
        f"{where} holds no weights of a reference model, whose tensors are called "
        f"layers.0.2.coupling.0.W_o.weight, out.weight and so on. It has: {some(found)}."
    )
