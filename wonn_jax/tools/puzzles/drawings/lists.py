"""Mazes as lists of lists or of strings, in JSON or in the code of a program."""

import ast
import re
from typing import Any

import numpy as np

from wonn_jax.tools.puzzles.drawings.grid import Grid, array_of, check_lengths

_NESTED = re.compile(r"""\[\s*[\[{('"]|\{\s*[{']|\{\s*"[^"]*"\s*,""")
"""The beginning of a list of lists or of strings, in JSON, Python, JavaScript, C or Java."""


def literal(text: str) -> Any:
    """The first list of lists or strings in a text of data or code; None if there is none."""
    begin = _NESTED.search(text)
    if not begin or re.search(r"^\s*[#X1.█]{3}", text[: begin.start()], flags=re.M):
        return None
    code = _balanced(text[begin.start() :])
    code = re.sub(r"//.*|#[^'\"\]]*$", "", code, flags=re.M)
    brackets = str.maketrans("{}()", "[][]")
    strings = r"('[^']*'|\"[^\"]*\")"
    code = "".join(
        part if i % 2 else re.sub(r"\b(true|false|null)\b", _python_word, part.translate(brackets))
        for i, part in enumerate(re.split(strings, code))
    )
    spaced = re.sub(r"(?<=[\w.'\"])\s+(?=[-\w'\"])", ", ", code)  # as NumPy prints rows
    for candidate in (code, re.sub(r"\]\s*\[", "], [", spaced)):
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _python_word(word: re.Match[str]) -> str:
    return {"true": "True", "false": "False", "null": "None"}[word[0]]


def _balanced(text: str) -> str:
    """A text up to the bracket that closes its first one."""
    depth = 0
    for found in re.finditer(r"""'[^']*'|"[^"]*"|[\[{(]|[\]})]""", text):
        depth += (found[0] in "[{(") - (found[0] in "]})")
        if not depth:
            return text[: found.end()]
    return text


def grids_of(nested: Any, where: str) -> list[Grid]:
    """The mazes of a nested list: one `[H][W]` or `[H]` strings, or several of these.

    Raises:
      ValueError: another form, or rows of different lengths.
    """
    if _depth(nested) == 3:
        return [grid for one in nested for grid in grids_of(one, where)]
    rows = [list(row) if isinstance(row, (list, tuple, str)) else [row] for row in nested]
    if not rows or _depth(nested) > 2 or (_depth(nested) == 1 and not isinstance(nested[0], str)):
        raise ValueError(
            f"{where} holds a list that is no maze; write a list of rows, each a list of cells or "
            "a string."
        )
    cells = [[_symbol(cell) for cell in row] for row in rows]
    check_lengths(cells, where, 0)
    return [Grid(array_of(cells), where, how="a list of rows")]


def _depth(nested: Any) -> int:
    return 1 + max(map(_depth, nested), default=0) if isinstance(nested, (list, tuple)) else 0


def _symbol(cell: Any) -> str:
    """A cell of a list as one symbol: 1 and True are '1', '' and None a space."""
    if cell is None or cell == "":
        return " "
    if isinstance(cell, (bool, np.bool_)):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip() or " "
