"""Mazes as lists of lists or of strings, in JSON or in the code of a program."""

import ast
import json
import re
from typing import Any

import numpy as np

from wonn_jax.tools.puzzles.drawings.grid import Grid, array_of, check_lengths

_NESTED = re.compile(r"""\[\s*[\[('"]|\{\s*[{']|\{\s*"[^"]*"\s*,""")
"""The beginning of a list of lists or of strings, in JSON, Python, JavaScript, C or Java."""
_ESCAPED = re.compile(r"""(["'])((?:(?!\1)[^\\\n]|\\.)*\\n(?:(?!\1)[^\\\n]|\\.)+)\1""")
"""A string of several lines."""
_PAIR_OF_CODES = re.compile(r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
"""A character beyond 16 bits, such as most emoji, as JSON may write it."""
_NAME = re.compile(r"""(\w+)["']?(?:\s|\[\w*\])*[:=]\s*[\w.]*\(?\s*$""")
_MAZE = re.compile(r"maze|grid|board|map|cell|wall|layout|matrix|field|level|world|input", re.I)


def literals(text: str) -> list[Any]:
    """The lists of lists or strings in a text of data or code, or drawings in its strings.

    Of lists with different names, such as a maze and its path, those are taken whose name is that
    of a maze, or of the first.
    """
    found: list[tuple[str, Any]] = []
    text = _PAIR_OF_CODES.sub(lambda codes: str(json.loads(f'"{codes[0]}"')), text)
    while begin := _NESTED.search(text):
        if re.search(r"^\s*[#X1.█]{3}", text[: begin.start()], flags=re.M):
            break
        code = _balanced(text[begin.start() :])
        if (nested := _literal(code)) is not None:
            found.append((_name(text[: begin.start()]), nested))
        text = text[begin.start() + len(code) :]
    return _of_one_name(found)


def escaped(text: str) -> list[str]:
    """The drawings in strings of several lines in a text of data or code."""
    found = []
    for string in _ESCAPED.finditer(text):
        try:
            found.append((_name(text[: string.start()]), json.loads(f'"{string[2]}"')))
        except ValueError:
            continue
    return _of_one_name(found)


def names_a_maze(name: str) -> bool:
    """Whether a variable of this name may hold a maze."""
    return bool(_MAZE.search(name))


def _name(before: str) -> str:
    """The name that a value has, by the text before it, without a number: 'maze' for 'maze2'."""
    found = _NAME.search(before)
    return found[1].rstrip("0123456789_") if found else ""


def _of_one_name(found: list[tuple[str, Any]]) -> list[Any]:
    names = [name for name, _ in found]
    chosen = next((name for name in names if names_a_maze(name)), names[0] if names else "")
    return [value for name, value in found if name == chosen]


def _literal(code: str) -> Any:
    """The value of a list in JSON, Python, JavaScript, C, Java or as NumPy prints it, or None."""
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
    check_lengths(cells, where)
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
