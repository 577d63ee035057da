"""Small files of a run: written in one go, read with errors that name the file."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etils import epath

from wonn_jax.common.folders import is_remote, naming


def write_atomically(path: epath.PathLike, content: str | bytes) -> None:
    """Replaces a file in one go: a crash or a power cut leaves the old one or the new one.

    Raises:
      OSError: with the path.
    """
    data = content.encode() if isinstance(content, str) else content
    target = epath.Path(path)
    if is_remote(target):
        with naming(target):
            target.write_bytes(data)  # an object is there when all of it is
        return
    # Processes that write at the same time must not write into the same file.
    temporary = f"{os.fspath(target)}{_temporary(os.getpid())}"
    with naming(target):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError:
            epath.Path(temporary).unlink(missing_ok=True)
            raise


def _temporary(process: int) -> str:
    """What the name of a file that a process is writing ends with."""
    return f".{process}.tmp"


def remove_unfinished(folder: epath.Path, process: int) -> None:
    """Removes what a process that was killed within `write_atomically` left in a local folder."""
    for path in Path(folder).rglob(f"*{_temporary(process)}"):
        path.unlink(missing_ok=True)


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON, which has neither NaN nor infinities: they become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers(value: Any) -> Any:
    """Measurements that were read from JSON: each null in them is a NaN."""
    if isinstance(value, Mapping):
        return {name: numbers(x) for name, x in value.items()}
    if isinstance(value, list):
        return [numbers(x) for x in value]
    return math.nan if value is None else value


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes a JSON file for people and programs; see `to_json` and `write_atomically`."""
    write_atomically(path, to_json(value, indent=2) + "\n")


def read_object(path: epath.PathLike, advice: str = "Restore it from a copy.") -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
      path: of the file.
      advice: what to do if it is damaged.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not JSON, or holds something else; the message names it.
    """
    try:
        return parse_object(epath.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). {advice}") from error


def parse_object(text: bytes) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
      ValueError: it is malformed, and how.
    """
    try:
        found = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(_fault(error)) from error
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} in place of an object")
    return found


def _fault(error: Exception) -> str:
    """What is wrong with a text that is no JSON."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8, byte {error.start + 1}"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if not error.doc.strip("\0 \t\r\n"):
        return "NUL bytes" if "\0" in error.doc else "empty"
    place = f"line {error.lineno}, " if "\n" in error.doc else ""
    return f"{error.msg.removesuffix(' at')}, {place}column {error.colno}"


def named_fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested dictionary by dotted name, such as 'model.width'."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= named_fields(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = list(value) if isinstance(value, tuple) else value
    return out
