"""Small files of a run: written in one go, read with errors that name the file."""

import json
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one go: a crash leaves the old one or the new one."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not JSON, or holds something else; the message names it.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:  # also bytes that are not UTF-8
        raise ValueError(
            f"{path} is damaged ({error}); restore it from a copy, or use another --workdir."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, where an object is needed.")
    return found


def named_fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested dictionary by dotted name, such as 'model.width'."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= named_fields(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = list(value) if isinstance(value, tuple) else value
    return out
