"""Sudokus in JSON, JSON Lines and Python literals: lists, strings, objects that name them."""

import ast
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from wonn_jax.data.sudoku_formats.text import ANSWER, BLANKS, Cells, Found, read_lines

PUZZLE = re.compile(
    r"^_?(?:puzzles?|quiz(?:zes)?|questions?|problems?|sudokus?|boards?|grids?|inputs?|initial|"
    r"starts?|starting|givens?|clues?|missions?|unsolved)(?![a-z])",
    re.IGNORECASE,
)
"""Names of what is to be solved, at the beginning of 'puzzle', 'board' or 'startValues'."""


def read_trees(text: str) -> list[Found]:
    """The Sudokus in a text that is JSON, a JSON object in each line, or a literal of Python.

    Returns:
      None of them if the text is something else, or holds no Sudoku.

    Raises:
      ValueError: what looks like a Sudoku is none; the message goes on after the file's name.
    """
    text = text.strip()
    if text[:1] not in tuple("[{(\"'b"):
        return []
    try:
        return list(_find(json.loads(text), 0))
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return list(_find(ast.literal_eval(text), 0))
    except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError) as error:
        if isinstance(error, _NoSudoku):
            raise
    found: list[Found] = []
    try:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                found += _find(json.loads(line), number)
    except json.JSONDecodeError:
        return []
    return found


class _NoSudoku(ValueError):
    """What looks like a Sudoku is none."""


def _find(tree: Any, line: int) -> Iterator[Found]:
    """The Sudokus in a tree of lists and objects that begins in a line."""
    cells = _board(tree)
    if cells:
        yield Found(line, cells)
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _find(branch, line)
    elif isinstance(tree, dict):
        boards = {str(name): cells for name, x in tree.items() if (cells := _board(x))}
        answers = [name for name in boards if ANSWER.search(name)]
        named = [name for name in boards if PUZZLE.search(name) and name not in answers]
        others = named[:1] or [name for name in boards if name not in answers]
        answer = boards[answers[0]] if answers else None
        for name in others or answers:
            yield Found(line, boards[name], answer if len(others) == 1 else None)
        if not boards:
            for branch in tree.values():
                yield from _find(branch, line)


def _board(tree: Any) -> Cells | None:
    """The cells of a string of 81, a list of 81, or nine lists or strings of nine."""
    if isinstance(tree, bytes):
        tree = tree.decode("latin-1")
    if isinstance(tree, str):
        if len(tree) == 81 and all(c.isdigit() or c in BLANKS + "- " for c in tree):
            return [_digit(c) for c in tree]
        if 81 < len(tree) < 2000 and re.search(r"\d", tree):  # a grid, with ends of lines
            try:
                found = read_lines(tree)
            except ValueError:
                return None
            return found[0].puzzle if len(found) == 1 else None
        return None
    if not isinstance(tree, list | tuple):
        return None
    rows = [list(x) if isinstance(x, str) and len(x) > 1 else x for x in tree]
    if len(rows) == 81 and all(map(_is_cell, rows)):
        rows = [rows[k : k + 9] for k in range(0, 81, 9)]
    if not rows or not all(isinstance(x, list | tuple) and all(map(_is_cell, x)) for x in rows):
        return None
    widths = [len(x) for x in rows]
    if widths.count(9) < 2 or len(rows) > 10:
        return None
    if len(rows) != 9 or set(widths) != {9}:
        raise _NoSudoku(
            f": a Sudoku has rows of {', '.join(map(str, widths))} cells. Required: nine rows of "
            "nine."
        )
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            if _digit(cell) not in range(10):
                raise _NoSudoku(
                    f": row {number}, column {column} of a Sudoku is {cell!r}. Required: a digit, "
                    'or 0, "." or null if blank.'
                )
    return [_digit(x) for row in rows for x in row]


def _is_cell(value: Any) -> bool:
    """Whether a value is of a type that a cell can have."""
    return (
        value is None
        or isinstance(value, int | float | dict)
        or (isinstance(value, str) and len(value.strip()) < 5)
    )


def _digit(cell: Any) -> int:
    """The digit of a cell, 0 if it is blank; another number if it is neither."""
    if isinstance(cell, dict):  # {"value": 5, "given": true}
        cell = cell.get("value") if cell.get("given", True) else None
    if isinstance(cell, str):
        cell = cell.strip()
        if cell in ("", "-", *BLANKS) or cell.lower() in ("nan", "none", "null"):
            return 0
        return int(cell) if cell.isdigit() else -2
    if cell is None or cell in (False, -1) or (isinstance(cell, float) and math.isnan(cell)):
        return 0
    return int(cell) if math.isfinite(cell) and cell == int(cell) else -2
