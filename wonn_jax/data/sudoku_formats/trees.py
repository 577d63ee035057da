"""Sudokus in JSON, JSON Lines and Python literals: lists, strings, objects that name them."""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wonn_jax.data.sudoku_formats.boards import Cells, Found
from wonn_jax.data.sudoku_formats.characters import BLANKS, plain, wrong_character
from wonn_jax.data.sudoku_formats.lines import ANSWER
from wonn_jax.data.sudoku_formats.text import read_lines

PUZZLE = re.compile(
    r"^_?(?:puzzles?|quiz(?:zes)?|questions?|problems?|sudokus?|boards?|grids?|inputs?|initial|"
    r"starts?|starting|givens?|clues?|missions?|unsolved)(?![a-z])",
    re.IGNORECASE,
)
"""Names of what is to be solved, at the beginning of 'puzzle', 'board' or 'startValues'."""

# How JSON with names, or with strings of many cells, begins.
_JSON = re.compile(r"""\s*(?:(?:\[\s*)*\{\s*\w*["']|\[[\[\s\d,]*"[^"\n]{27,}")""")
_SIGNS = "123456789" + BLANKS + "-"
_LEAST, _SHARE = 27, 0.9  # number and share of cells in what must be a damaged Sudoku
_REQUIRED = "Required: 81, row by row, with . or 0 for blanks. Correct or remove this Sudoku."


def read_trees(text: str) -> list[Found]:
    """The Sudokus in a text that is JSON, a JSON object in each line, or a literal of Python.

    Returns:
      None of them if the text is something else, or holds no Sudoku.

    Raises:
      ValueError: what looks like a Sudoku is none; the message goes on after the file's name.
    """
    faults: list[str] = []
    found = _find_among(_parsed(text), faults)
    if faults and not found:
        try:
            return read_lines(text)  # cells may be broken into strings or lists anywhere
        except ValueError:
            pass
    if faults:
        raise ValueError(faults[0])
    return found


class _Node(NamedTuple):
    """A value in a tree; where that begins, a line from 1 (0: unknown); what leads to the value."""

    value: Any
    line: int = 0
    path: str = ""

    @property
    def place(self) -> str:
        """It in messages, after the file's name."""
        return (f", line {self.line}" if self.line else "") + (f", {self.path}" * bool(self.path))

    @property
    def children(self) -> list["_Node"]:
        """What is in a list or an object; nothing for other values."""
        if isinstance(self.value, Mapping):
            dot = "." * bool(self.path)
            return [self._child(x, f"{dot}{key}") for key, x in self.value.items()]
        if isinstance(self.value, list | tuple):
            return [self._child(x, f"[{k}]") for k, x in enumerate(self.value)]
        return []

    def _child(self, value: Any, step: str) -> "_Node":
        return _Node(value, self.line, self.path + step)


def _parsed(text: str) -> list[_Node]:
    """The trees of a text; none if it is something else."""
    if text.lstrip()[:1] not in tuple("[{(\"'b"):
        return []
    try:
        return [_Node(json.loads(text))]
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return [_Node(ast.literal_eval(text.strip()))]
    except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError):
        pass
    if "\n{" not in text:
        _check_json(text)
    nodes: list[_Node] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            nodes += [_Node(json.loads(line), number)] if line.strip() else []
        except (json.JSONDecodeError, RecursionError) as error:
            if not any(isinstance(node.value, dict) for node in nodes):
                return []
            raise ValueError(
                f", line {number} is not JSON, unlike those before it: {error}. Required: an "
                "object in each line. Correct or remove the line."
            ) from error
    return nodes


def _check_json(text: str) -> None:
    """Raises a ValueError if a text is JSON but for a mistake, or its end."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if not _JSON.match(text) and error.pos < len(text.rstrip()) - 1:
            return
        raise ValueError(
            f", line {error.lineno} is not JSON: {error}. Required: JSON to the end of the file. "
            "Correct it, or copy the file again."
        ) from error


# --- Search ---------------------------------------------------------------------------------------


def _find(node: _Node, faults: list[str]) -> list[Found]:
    """The Sudokus in a tree.

    Args:
      node: its root.
      faults: where to add what looks like a Sudoku and is none.
    """
    cells = _try_board(node, faults)
    if cells:
        return [Found(node.line, cells)]
    if isinstance(node.value, Mapping):
        return _find_named(node, faults)
    return _find_among(node.children, faults)


def _find_among(nodes: Sequence[_Node], faults: list[str]) -> list[Found]:
    """The Sudokus in the elements of a list; a puzzle and a complete one are a pair."""
    found = [_find(node, faults) for node in nodes]
    joined = [x for some in found for x in some]
    if len(joined) == 2 and len(nodes) < 10 and not any(_holds_more(node) for node in nodes):
        puzzles = [x for x in joined if not all(x.puzzle)]
        answers = [x for x in joined if all(x.puzzle)]
        if len(puzzles) == 1:
            return [puzzles[0]._replace(solution=answers[0].puzzle)]
    for node, some in zip(nodes, found, strict=True):
        if joined and not some and isinstance(node.value, Mapping):
            faults += _missing_puzzle(node)
    return joined


def _holds_more(node: _Node) -> bool:
    """Whether a value is a list or object of something else than cells."""
    return bool(node.children) and not _try_board(node, [])


def _find_named(node: _Node, faults: list[str]) -> list[Found]:
    """The Sudokus in an object: its puzzle with its solution, or whatever it holds."""
    children = dict(zip(map(str, node.value), node.children, strict=True))
    boards = {name: cells for name, x in children.items() if (cells := _try_board(x, faults))}
    answers = [name for name in children if ANSWER.search(name)]
    puzzles = [name for name in children if PUZZLE.search(name) and name not in answers]
    if not boards:
        return _find_in_columns(children, puzzles, answers, faults)
    answer = next((boards[name] for name in answers if name in boards), None)
    chosen = [name for name in puzzles if name in boards][:1]
    chosen = chosen or [name for name in boards if name not in answers]
    if not chosen and puzzles:
        faults += _missing_puzzle(node)
    for name in (x for x in answers if x not in boards):
        text = children[name].value
        if isinstance(text, str) and len(text) > 3 and not set(text) - set(_SIGNS):
            faults.append(f"{children[name].place} has {len(text)} cells. {_REQUIRED}")
    chosen = chosen or [name for name in answers if name in boards]
    return [Found(node.line, boards[x], answer if len(chosen) == 1 else None) for x in chosen]


def _find_in_columns(
    children: Mapping[str, _Node], puzzles: list[str], answers: list[str], faults: list[str]
) -> list[Found]:
    """The Sudokus in the lists of an object, of which one may have the solutions of another."""
    found = {name: _find(node, faults) for name, node in children.items()}
    puzzles = puzzles or [name for name in children if name not in answers]
    inputs, labels = ([x for x in names if found[x]] for names in (puzzles, answers))
    if len(inputs) != 1 or len(labels) != 1 or any(x.solution for x in found[inputs[0]]):
        return [x for some in found.values() for x in some]
    pair = found[inputs[0]], found[labels[0]]
    if len(pair[0]) != len(pair[1]):
        faults.append(
            f"{children[labels[0]].place} has {len(pair[1])} Sudoku{'s' * (len(pair[1]) != 1)}, "
            f"{inputs[0]} {len(pair[0])}. Required: the solutions of the same Sudokus, in the same "
            "order. Correct the lists."
        )
        return pair[0]
    return [x._replace(solution=y.puzzle) for x, y in zip(*pair, strict=True)]


def _missing_puzzle(node: _Node) -> list[str]:
    """A fault, if an object names a puzzle that is none."""
    for key, child in zip(node.value, node.children, strict=True):
        if PUZZLE.search(str(key)) and not ANSWER.search(str(key)):
            return [f"{child.place} is {child.value!r:.40}. {_REQUIRED}"]
    return []


# --- Boards ---------------------------------------------------------------------------------------


class _NoSudoku(ValueError):
    """What looks like a Sudoku is none."""


def _try_board(node: _Node, faults: list[str]) -> Cells | None:
    """The cells of a value, see `_board`; None if it is none, or damaged."""
    try:
        return _board(node.value)
    except _NoSudoku as error:
        faults.append(f"{node.place}{error}")
        return None


def _board(tree: Any) -> Cells | None:
    """The cells of a string of 81, a list of 81, or nine lists or strings of nine.

    Raises:
      _NoSudoku: it is nearly that.
    """
    if isinstance(tree, bytes):
        tree = tree.decode("latin-1")
    if isinstance(tree, str):
        return _board_of_string(plain(tree))
    if not isinstance(tree, list | tuple):
        return None
    if len(tree) >= _LEAST and all(map(_is_cell, tree)):
        return _board_of_list(tree)
    if len(tree) > 99:
        return None
    rows = [list(x) if isinstance(x, str) and len(x) > 1 else x for x in tree]
    if all(isinstance(x, list | tuple) and all(map(_is_cell, x)) for x in rows):
        return _board_of_rows(rows)
    return None


def _board_of_string(text: str) -> Cells | None:
    if len(text) == 81 and not set(text) - set(_SIGNS + " "):
        return [int(c) if c.isdecimal() else 0 for c in text]
    if len(text) > 2000 or not re.search(r"[1-9]", text):
        return None
    if len(text) > 81:  # a grid, with ends of lines
        try:
            found = read_lines(text)
            return found[0].puzzle if len(found) == 1 else None
        except ValueError as error:
            if _is_nearly(text) and "\n" in text.strip():
                raise _NoSudoku(f"{error}") from error
    if not _is_nearly(text):
        return None
    if len(text) == 81:
        wrong = next(k for k, c in enumerate(text) if c not in _SIGNS)
        raise _NoSudoku(wrong_character(wrong + 1, text[wrong], "character"))
    cells = "".join(text.split()) if "\n" in text.strip() else text
    raise _NoSudoku(f" has {len(cells)} cells. {_REQUIRED}")


def _is_nearly(text: str) -> bool:
    """Whether a text has many cells, and little else."""
    characters = re.sub(r"[\s|+]", "", text)
    cells = sum(c in _SIGNS for c in characters)
    return cells >= _LEAST and cells >= _SHARE * len(characters)


def _board_of_list(tree: Sequence[Any]) -> Cells | None:
    """The cells of a list of single cells."""
    cells = list(map(_digit, tree))
    if sum(x in range(10) for x in cells) < _SHARE * len(cells):
        return None
    if len(cells) != 81:
        raise _NoSudoku(f" has {len(cells)} cells. {_REQUIRED}")
    return _checked(tree, cells)


def _board_of_rows(rows: Sequence[Sequence[Any]]) -> Cells | None:
    """The cells of a list of rows."""
    widths = [len(x) for x in rows]
    flat = [x for row in rows for x in row]
    cells = list(map(_digit, flat))
    close = widths.count(9) > 1 or (len(rows) == 9 and all(w in (8, 10) for w in widths))
    if not close or sum(x in range(10) for x in cells) < _SHARE * len(cells):
        return None
    if len(rows) != 9 or set(widths) != {9}:
        sizes = ", ".join(map(str, widths[:11])) + (", …" if len(rows) > 11 else "")
        raise _NoSudoku(
            f": a Sudoku has rows of {sizes} cells. Required: nine rows of nine, with 0 or null "
            "for blanks. Correct or remove this Sudoku."
        )
    return _checked(flat, cells)


def _checked(values: Sequence[Any], cells: Cells) -> Cells:
    """The 81 cells, if the values that they come from are right."""
    for k, cell in enumerate(cells):
        if cell not in range(10):
            raise _NoSudoku(
                f": row {k // 9 + 1}, column {k % 9 + 1} of a Sudoku is {values[k]!r}. Required: "
                'a digit, or 0, "." or null if blank. Correct the cell.'
            )
    return cells


def _is_cell(value: Any) -> bool:
    """Whether a value is of a type that a cell can have."""
    if isinstance(value, dict):  # as in `_digit`
        return not value or ("value" in value and _is_cell(value["value"]))
    short = isinstance(value, str) and len(value.strip()) < 5
    return value is None or isinstance(value, int | float) or short


def _digit(cell: Any) -> int:
    """The digit of a cell, 0 if it is blank; another number if it is neither."""
    if isinstance(cell, dict):  # {"value": 5, "given": true}
        cell = cell.get("value") if cell.get("given", True) else None
    if isinstance(cell, str):
        cell = plain(cell.strip())
        if cell in ("", "-", *BLANKS) or cell.lower() in ("nan", "none", "null"):
            return 0
        return int(cell) if cell.isdecimal() else -2
    if cell is None or cell is False or (isinstance(cell, float) and math.isnan(cell)):
        return 0
    if not isinstance(cell, int | float) or cell is True or not math.isfinite(cell):
        return -2
    return 0 if cell == -1 else int(cell) if cell == int(cell) else -2
