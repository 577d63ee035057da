"""Reads files of weights; what a file holds decides how it is read, not its suffix."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from wonn_jax.common.folders import local_path
from wonn_jax.interop.state_dict import find_state_dict

EXTRA = 'pip install "wonn-jax[torch]"'
_FORMATS = "weights must be .npz, .safetensors, .pth or .pt"
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
_AGAIN = "Download or copy it again."


def load_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the state dict of a reference network from `.npz`, `.safetensors`, `.pth` or `.pt`.

    It may stand in nested dictionaries and have prefixes, see `find_state_dict`; of several sets of
    weights, `FILE:NAME` is the one under that name, as in `run.pth:ema`. Of sharded weights, give
    the index (`model.safetensors.index.json`). A `.pth` is loaded with `weights_only=True`: no code
    in it is executed.

    Returns:
      Arrays under the reference's names, in the types of the file; bfloat16 and float8 are those
      of `ml_dtypes`.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the optional library for the format is not installed.
      ValueError: a URL; the file is damaged, of another format, or holds no weights of a reference
        network or several.
    """
    file, label = _split(path)
    return find_state_dict(read_file(file), str(file), label)


def read_file(path: str | Path) -> Any:
    """What a file of weights holds: nested dictionaries of arrays or tensors, and other values.

    Raises:
      FileNotFoundError, ImportError, ValueError: as `load_state_dict`.
    """
    path = local_path(path, "weights")
    if path.is_dir():
        raise ValueError(_about_folder(path))
    if not path.is_file():
        raise FileNotFoundError(
            f"No weights at {path}: there is no such file. Check the path; of several sets of "
            "weights in a file, FILE:NAME is one."
        )
    shard = re.search(r"-\d+-of-0*(\d+)$", path.stem)
    if shard and int(shard[1]) > 1:
        raise ValueError(
            f"{path} is one of {int(shard[1])} parts. Give their index, a file whose name ends "
            "in .index.json."
        )
    return _read(path)


def _read(path: Path) -> Any:
    data = path.read_bytes()
    return _READERS[_format(path, data)](path, data)


def _split(path: str | Path) -> tuple[Path, str]:
    """`FILE:NAME` as file and name, which is '' if the path is that of a file."""
    path = local_path(path, "weights")
    file, _, label = str(path).rpartition(":")
    if file and not path.exists() and Path(file).is_file():
        return Path(file), label
    return path, ""


# --- Formats --------------------------------------------------------------------------------------


def _format(path: Path, data: bytes) -> str:
    """A key of `_READERS`, by the first bytes; by the suffix if those tell nothing.

    Raises:
      ValueError: it is of none of these formats.
    """
    if data.startswith(b"PK\3\4"):
        return _format_of_zip(path, data)
    if data[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"):
        return "pickle"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "safetensors"
    if data.startswith(b"{") and b'"weight_map"' in data:
        return "index"
    if data.startswith(b"\x93NUMPY"):
        raise ValueError(
            f"{path} holds one array without a name (.npy); {_FORMATS}. Write them by name, with "
            "numpy.savez(FILE, **arrays)."
        )
    for magic, command in _COMPRESSED.items():
        if data.startswith(magic):
            raise ValueError(f"{path} is compressed; {_FORMATS}. Type: {command} {path}")
    if text := _text(data):
        raise ValueError(_about_text(path, text))
    by_suffix = {".npz": "npz", ".safetensors": "safetensors", ".pth": "pickle", ".pt": "pickle"}
    if path.suffix.lower() in by_suffix:
        return by_suffix[path.suffix.lower()]
    raise ValueError(f"{path} is of no known format ({len(data):,} bytes); {_FORMATS}.")


def _format_of_zip(path: Path, data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names, damaged = archive.namelist(), archive.testzip()
    except Exception as error:  # a damaged archive raises almost anything
        raise ValueError(_damaged(path, error)) from error
    if damaged:  # PyTorch does not compare checksums
        raise ValueError(f"{path} is damaged (the checksum of {damaged} differs). {_AGAIN}")
    if any(name.endswith("constants.pkl") for name in names):
        raise ValueError(
            f"{path} is a TorchScript program. Save its weights alone, with "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER_FILE)."
        )
    for suffix, kind in ((".npy", "npz"), ("data.pkl", "pickle")):
        if any(name.endswith(suffix) for name in names):
            return kind
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    raise ValueError(f"{path} is an archive of other files ({listed}): unpack it; {_FORMATS}.")


def _text(data: bytes) -> str:
    """The beginning of a text; '' if the data are none."""
    text = data[:300].decode("utf-8-sig", "replace").rstrip("\ufffd").strip()
    return text if all(x.isprintable() or x.isspace() for x in text) else ""


def _about_text(path: Path, text: str) -> str:
    if text.startswith("version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights. Fetch them with: git lfs pull"
    if re.match(r"<(!doctype html|html|head|\?xml)", text, re.IGNORECASE):
        return (
            f"{path} is a page of a web site, not weights: its address needs a login, or is not "
            "that of the file. Download it again."
        )
    return f"{path} is a text, {text.splitlines()[0][:60]!r}, not weights. {_AGAIN}"


def _about_folder(path: Path) -> str:
    """Which file of a folder to give, or why none of it can be read."""
    names = sorted(x.name for x in path.iterdir())
    if "config.json" in names and {"checkpoints", "best"} & set(names):
        return f"{path} is the folder of a run; use --workdir={path} without weights."
    if {"_CHECKPOINT_METADATA", "_METADATA"} & set(names):
        return (
            f"{path} is a checkpoint of Orbax, not PyTorch weights; use --workdir=RUN, with the "
            "folder of its run, and no weights."
        )
    if ".metadata" in names:
        return (
            f"{path} is a distributed checkpoint of PyTorch. Convert it with "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE.pth"
        )
    indices = [name for name in names if name.endswith(".index.json")]
    files = indices or [
        name for name in names if name.endswith((".npz", ".safetensors", ".pth", ".pt"))
    ]
    if not files:
        return f"{path} is a folder without weights; {_FORMATS}."
    more = f" (of {len(files)})" if len(files) > 1 else ""
    return f"{path} is a folder. Give a file of it, such as {path / files[0]}{more}."


def _damaged(path: Path, error: BaseException) -> str:
    return f"{path} is damaged ({_first_line(error)}). {_AGAIN}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines or [type(error).__name__])[0].rstrip(".")[:200]


def _check_not_empty(path: Path, data: bytes) -> None:
    if not data.strip(b"\0"):
        what = f"holds nothing but {len(data):,} zero bytes" if data else "is empty"
        raise ValueError(f"{path} {what}. {_AGAIN}")


# --- Readers --------------------------------------------------------------------------------------


def _read_npz(path: Path, data: bytes) -> dict[str, Any]:
    _check_not_empty(path, data)
    if not data.startswith(b"PK"):
        raise ValueError(f"{path} is damaged (no zip archive). {_AGAIN}")
    try:
        with np.load(io.BytesIO(data)) as file:
            return {name: _entry(file, name) for name in file.files}
    except Exception as error:  # as above
        raise ValueError(_damaged(path, error)) from error


def _entry(file: Any, name: str) -> Any:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        return np.empty((), object)  # in place of Python objects, which are not unpickled


def _read_safetensors(path: Path, data: bytes) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise ImportError(f"{path} needs the library safetensors: {EXTRA}") from error
    _check_not_empty(path, data)
    try:
        tensors = deserialize(data)
    except SafetensorError as error:
        raise ValueError(_damaged(path, error)) from error
    return {name: _tensor(**found) for name, found in tensors}


# Beside those that NumPy calls by a letter and a number of bytes.
_SAFETENSORS = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}


def _tensor(dtype: str, shape: list[int], data: bytes) -> Any:
    """A tensor of a `.safetensors`; as it is, if it is of a type that arrays do not have."""
    name = _SAFETENSORS.get(dtype)
    if name is None and (known := re.fullmatch(r"([FIUC])(8|16|32|64)", dtype)):
        name = f"{known[1].lower()}{int(known[2]) // 8}"
    if name is None:
        return data
    return np.frombuffer(data, jnp.dtype(name)).reshape(shape)


def _read_pickle(path: Path, data: bytes) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} needs the library torch: {EXTRA}. Or convert the weights to .npz where "
            "torch is installed."
        ) from error
    _check_not_empty(path, data)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        if not isinstance(error, pickle.UnpicklingError):
            raise ValueError(_damaged(path, error)) from error
        kind = re.search(r"GLOBAL ([\w.]+) was not|Unsupported class ([\w.]+)", str(error))
        what = (
            f"contains other objects ({kind[1] or kind[2]})"
            if kind
            else "is damaged or contains more"
        )
        raise ValueError(
            f"{path} {what} than tensors; none of its code was executed. Save only the weights, "
            "with torch.save(model.state_dict(), FILE)."
        ) from error


def _read_index(path: Path, data: bytes) -> dict[str, Any]:
    """All tensors of the parts that an index lists."""
    try:
        parts = sorted(set(json.loads(data)["weight_map"].values()))
        beside = [Path(part).name == part and (path.parent / part).is_file() for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_damaged(path, error)) from error
    if not all(beside):
        raise ValueError(f"{path} lists {parts[beside.index(False)]}, which is not in its folder.")
    tensors: dict[str, Any] = {}
    for part in parts:
        found = None if part.endswith(".json") else _read(path.parent / part)
        if not isinstance(found, dict):
            raise ValueError(f"{path} lists {part}, which holds no tensors by name.")
        tensors |= found
    return tensors


_READERS: dict[str, Callable[[Path, bytes], Any]] = {
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "pickle": _read_pickle,
    "index": _read_index,
}
