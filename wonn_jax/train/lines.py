"""Files of JSON lines that a run adds to, each of a `step` and a `kind`: metrics and timings."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from etils import epath

from wonn_jax.common.files import numbers, parse_object, to_json, write_atomically
from wonn_jax.common.folders import is_remote, naming

log = logging.getLogger(__name__)

_UPLOAD_SECONDS = 60.0
"""Between uploads of a file to a bucket, which replace the whole file."""
_SHOWN = 5
"""Malformed lines of a file that are described, of more only the number is given."""


class LineFile:
    """A file of lines that grows.

    Args:
      path: of the file.
      start: step at which the run begins or resumes. Lines of later steps are removed, since these
        steps will be run again; so are malformed ones (a power cut or a full disk leaves them),
        which are logged. All others stay as they are, byte for byte.
      keep: says of an earlier line whether it stays.
    """

    def __init__(
        self,
        path: epath.Path,
        start: int,
        keep: Callable[[dict[str, Any]], bool] = lambda line: True,
    ):
        self._path = path
        self._remote = is_remote(path)
        before = path.read_bytes() if path.exists() else b""
        found = _well_formed(path, before, "removed")
        self._text = b"".join(
            text + b"\n" for text, line in found if line["step"] <= start and keep(line)
        )
        if self._text != before:
            write_atomically(path, self._text)
        self._written = len(self._text)
        self._uploaded = time.monotonic()

    def append(self, line: dict[str, Any]) -> None:
        """Adds a line; in a bucket it appears with the next `flush`, or within a minute or so.

        Raises:
          OSError: with the path.
        """
        text = (to_json(line) + "\n").encode()
        if self._remote:
            self._text += text
            if time.monotonic() - self._uploaded > _UPLOAD_SECONDS:
                self.flush()
            return
        with naming(self._path), open(self._path, "ab") as file:
            file.write(text)

    def flush(self) -> None:
        """Returns when all lines are on disk, where a power cut cannot take them, or uploaded.

        Raises:
          OSError: with the path.
        """
        if self._remote:
            if len(self._text) > self._written:
                write_atomically(self._path, self._text)
            self._written, self._uploaded = len(self._text), time.monotonic()
        elif self._path.exists():
            with naming(self._path), open(self._path, "ab") as file:
                os.fsync(file.fileno())


def read_lines(path: epath.PathLike) -> list[dict[str, Any]]:
    """The lines of a file, with NaN for null; malformed ones are logged and left out."""
    path = epath.Path(path)
    text = path.read_bytes() if path.exists() else b""
    return [numbers(line) for _, line in _well_formed(path, text, "left out")]


def _well_formed(path: epath.Path, text: bytes, fate: str) -> list[tuple[bytes, dict[str, Any]]]:
    """The well-formed lines, as they are and as what they say; logs the `fate` of the others."""
    found, faults = [], []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line:  # after the last one
            continue
        try:
            found.append((line, _checked(parse_object(line))))
        except ValueError as error:
            faults.append(f"line {number} ({error})")
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        shown = ", ".join(faults[:_SHOWN])
        log.warning("%s: malformed lines are %s: %s%s.", path, fate, shown, more)
    return found


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    if type(line.get("step")) is not int or not isinstance(line.get("kind"), str):
        raise ValueError("a 'step' or a 'kind' is missing")
    return line
