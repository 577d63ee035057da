"""Ways in which any file may be damaged, as strategies."""

import io
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from experiments.faults.inputs.base import Content

TEXTS = st.sampled_from(
    [
        b"",
        b"\0" * 64,
        b"\xff\xfe\xff",
        b"hello\n",
        b"<html>404 Not Found</html>\n",
        b"{",
        b"PK\x03\x04",
    ]
)
"""What stands where something else should: left by a full disk, a failed download, an editor."""


@st.composite
def cut(draw: st.DrawFn, content: bytes) -> bytes:
    """All but the end of a file."""
    return content[: draw(st.integers(0, len(content) - 1))]


def whole_or_gone() -> st.SearchStrategy[Content]:
    """Something that is no such file: another content, nothing, a folder, a link to nowhere."""
    others: list[Content] = [None, ("folder",), ("link", "nowhere")]
    return TEXTS | st.sampled_from(others)


def npy(array: Any) -> bytes:
    """An `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(arrays: dict[str, Any]) -> bytes:
    """An `.npz` file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


ODD_ARRAYS: dict[str, Any] = {
    "a number": np.float64(3),
    "no rows": np.zeros((0, 25), np.uint8),
    "a row of another length": np.ones((40, 24), np.uint8),
    "four dimensions": np.ones((40, 5, 5, 3), np.uint8),
    "text": np.array([["#.", "S"]]),
    "complex numbers": np.ones((40, 25), complex),
    "NaN": np.full((40, 25), np.nan),
    "negative numbers": np.full((40, 25), -1),
    "huge numbers": np.full((40, 25), 2.0**40),
    "objects": np.array([None, {"a": 1}], object),
    "dates": np.zeros((40, 25), "datetime64[s]"),
    "records": np.zeros(40, [("a", "i4"), ("b", "f8")]),
}
"""Arrays that hold neither boards nor pictures nor weights."""


def lying_npy() -> bytes:
    """An `.npy` file whose head promises far more than there is."""
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 25), }"
    head = head.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"\0" * 100
