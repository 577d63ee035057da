"""A file of Sudokus in any of the forms of this package."""

import json
import re

import numpy as np

from wonn_jax.data.documents import Document
from wonn_jax.data.layouts import Part
from wonn_jax.data.sudoku_formats.arrays import is_array, read_arrays
from wonn_jax.data.sudoku_formats.boards import Found
from wonn_jax.data.sudoku_formats.collection import Collection
from wonn_jax.data.sudoku_formats.tables import read_table
from wonn_jax.data.sudoku_formats.text import read_lines
from wonn_jax.data.sudoku_formats.trees import read_trees


def read_part(part: Part) -> Collection:
    """The Sudokus of a file, or of two that belong together.

    Raises:
      OSError, ImportError: a file cannot be read.
      ValueError: it holds something else; the message names the line or array.
    """
    if part.labels is not None or is_array(part.inputs):
        return read_arrays(part.inputs, part.labels)
    return read_document(part.inputs)


def read_document(document: Document) -> Collection:
    """The Sudokus of a text.

    Raises:
      OSError: the file cannot be read.
      ValueError: it holds something else; the message names the line.
    """
    table = read_table(document)
    return read_text(document.text(), document.where) if table is None else table


def read_text(text: str, where: str) -> Collection:
    """The Sudokus of a text that is no table.

    Raises:
      ValueError: there are none, or not only whole ones.
    """
    try:
        found = read_trees(text) or _read_lines(text)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    boards = [[x.puzzle for x in found], [x.solution or [0] * 81 for x in found]]
    inputs, labels = np.array(boards, np.uint8).reshape(2, -1, 9, 9)
    return Collection(where, inputs, labels, "", np.array([x.line for x in found], np.int32))


def _read_lines(text: str) -> list[Found]:
    try:
        return read_lines(text)
    except ValueError as error:
        raise ValueError(f"{error}{_if_other(text)}") from error


def _if_other(text: str) -> str:
    """What to add for people whose text is a web page, or looks like JSON and is not."""
    if re.search(r"<(?:!doctype html|html|table|td)\b", text, re.IGNORECASE):
        return " It is a web page. Copy the Sudoku out of it, as text."
    if text.lstrip().startswith(("{", "[{", "[[")):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            return f" Nor is it JSON: {error}."
    return ""
