"""The cells of a maze drawn as text: one symbol for each, whatever form the drawing has."""

import math
import re

from wonn_jax.tools.puzzles.base import FRAMES
from wonn_jax.tools.puzzles.drawings.floors import open_floors
from wonn_jax.tools.puzzles.drawings.grid import Grid, array_of, check_lengths
from wonn_jax.tools.puzzles.drawings.halves import HALVES, upper_and_lower
from wonn_jax.tools.puzzles.drawings.lines import (
    Line,
    unlabelled,
    without_labels,
    without_size,
)

ACROSS = set("-─━═=")
UPRIGHT = set("|│┃║")
CORNERS = set(FRAMES) - ACROSS - UPRIGHT
_RULES = CORNERS | ACROSS | UPRIGHT | set(": ")
PICTORIAL = set("█▓▒░■□⬛⬜🧱")
"""Symbols that are drawn twice where a character is half as wide as it is high."""


def read_drawing(group: list[Line], where: str) -> Grid:
    """One maze from lines with nothing but a maze, its size and labels.

    Raises:
      ValueError: rows of different lengths.
    """
    group, size = without_size(group)
    group, labelled = without_labels(group)
    numbers = tuple(line.number for line in group)
    grid = _read([line.text for line in group], where, numbers)
    grid.notes += [size] if size else []
    grid.notes += ["without labels of rows and columns"] if labelled else []
    return grid


def _read(lines: list[str], where: str, numbers: tuple[int, ...]) -> Grid:
    """One maze from its lines and their numbers."""
    if HALVES & set("".join(lines)):
        rows = upper_and_lower(lines, where)
        return Grid(array_of(rows), where, numbers, "half blocks, each two cells")
    for separator, name in (("\t", "tabs"), (",", "commas"), (";", "semicolons")):
        if any(separator in line.strip() for line in lines):
            closed = separator != "\t" and all(line.endswith(separator) for line in lines)
            cells = [_split(line.removesuffix(separator * closed), separator) for line in lines]
            return _tabular(cells, where, numbers, f"cells between {name}")
    if (floors := open_floors(lines)) is not None:
        return Grid(array_of(floors[0]), where, numbers, floors[1], thin=True)
    if (table := _table(lines)) is not None:
        return _tabular(table, where, numbers[-len(table) :], "cells between bars")
    if (apart := _apart(lines)) is not None:
        return Grid(array_of(apart), where, numbers, "spaces between cells")
    lines, padded = _even(lines, where, numbers)
    if "_" in "".join(lines) and UPRIGHT & set("".join(lines)) and "#" not in "".join(lines):
        raise ValueError(
            f"{where}: the maze that begins in line {numbers[0]} has both _ and bars; with a first "
            "line of _ alone, the upper walls, they are floors and walls. Otherwise draw walls "
            "between cells as +---+, or each cell as one character, # or a dot."
        )
    rows, how, thin = _cells(lines, where, numbers[0])
    notes = [how] if how else []
    if padded:
        notes.append(f"{padded} lines filled up with spaces" if padded > 1 else "a line filled up")
    return Grid(array_of(rows), where, numbers, "; ".join(notes), thin=thin)


def _tabular(cells: list[list[str]], where: str, numbers: tuple[int, ...], how: str) -> Grid:
    """One maze from the cells of a table, perhaps with labels of its rows and columns."""
    check_lengths(cells, where, numbers, f" ({how})")
    kept = unlabelled(cells)
    notes = [] if kept == cells else ["without labels of rows and columns"]
    rows = [[_plain(cell) for cell in row] for row in kept]
    return Grid(array_of(rows), where, numbers[-len(rows) :], how, notes=notes)


def _plain(cell: str) -> str:
    """A number without the zeros after its point: '1' for '1.0' and '1.000e+00'."""
    if re.fullmatch(r"-?\d+\.\d*(?:e[+-]?\d+)?", cell) and float(cell).is_integer():
        return str(int(float(cell)))
    return {"True": "1", "true": "1", "TRUE": "1", "False": "0", "false": "0", "FALSE": "0"}.get(
        cell, cell
    )


def _split(line: str, separator: str) -> list[str]:
    cells = line.strip("\n").split(separator)
    return [cell.strip().strip("\"'") or " " for cell in cells]


def _table(lines: list[str]) -> list[list[str]] | None:
    """The cells of a table with bars between all columns; None if it is no table.

    Rules are whole and have corners where the bars are: otherwise the bars are walls.
    """
    plain = [line.rstrip() for line in lines]
    ruled = [line for line in plain if set(line) <= _RULES and set(line) & ACROSS]
    rows = [line for line in plain if line not in ruled]
    bars = [[i for i, c in enumerate(row) if c in UPRIGHT] for row in rows]
    if not rows or not bars[0] or any(len(b) != len(bars[0]) for b in bars):
        return None
    closed = all(row.strip()[0] in UPRIGHT and row[-1] in UPRIGHT for row in rows)
    if len(bars[0]) < (3 if closed else 1) or not (closed or _alternate(rows)):
        return None
    for line in ruled:
        joints = [i for i, c in enumerate(line) if c in CORNERS | UPRIGHT]
        markdown = set(line) <= set("|-: ") and len(joints) == len(bars[0])
        if not markdown and (" " in line.strip() or any(joints != b for b in bars)):
            return None
    if closed and not ruled and any(b != bars[0] for b in bars):
        return None
    cells = [re.split("[|│┃║]", row.strip()) for row in rows]
    cells = [[c.strip() or " " for c in (row[1:-1] if closed else row)] for row in cells]
    if any(len(_plain(cell)) > 1 for row in unlabelled(cells) for cell in row):
        return None
    filled = all(cell != " " for row in cells[1:] for cell in row)
    headed = filled and set("".join(cells[0])) == {" "} and len(cells) > 1
    return cells[headed:]  # without the empty header that Markdown requires


def _alternate(rows: list[str]) -> bool:
    """Whether every second character of all rows is a bar, and no other."""
    return all(set(row[1::2]) <= UPRIGHT and not UPRIGHT & set(row[::2]) for row in rows)


def _even(lines: list[str], where: str, numbers: tuple[int, ...]) -> tuple[list[str], int]:
    """Lines of one length: without their indentation, with spaces that an editor cut off."""
    indent = min(len(line) - len(line.lstrip(" ")) for line in lines)
    if indent and all(line[indent : indent + 1] not in ("", " ") for line in lines):
        lines = [line[indent:] for line in lines]
    width = max(map(len, lines))
    short = [line for line in lines if len(line) < width]
    spaces = any(" " in line.strip(" ") for line in lines)
    if short and spaces and not set(".·0") & set("".join(lines)):
        return [line.ljust(width) for line in lines], len(short)
    stripped = [line.rstrip(" ") for line in lines]
    if short and len({*map(len, stripped)}) == 1:
        return stripped, 0
    check_lengths(lines, where, numbers)
    return lines, 0


def _cells(lines: list[str], where: str, first: int) -> tuple[list[str], str, bool]:
    """One character for each cell, what was found about their form, and whether walls are thin."""
    height, width = len(lines), len(lines[0])
    if width % 2 and width > 2 and height > 1 and _spaced(lines):
        return [line[::2] for line in lines], "a space between cells", False
    if width % 2 and width > 4 and height > 2 and not "".join(x[1::2] for x in lines).strip():
        raise ValueError(
            f"{where}: the maze that begins in line {first} has a space in every second column, "
            "which may stand between cells or for free cells. Write free cells as dots."
        )
    if (gap := _thin_walls(lines)) > 2:
        rows = [
            "".join(line[i] + _merge(line[i + 1 : i + gap]) for i in range(0, width - 1, gap))
            + line[-1]
            for line in lines
        ]
        return rows, f"cells {gap - 1} characters wide between walls of lines", True
    if _framed(lines):
        if (apart := _apart([line[1:-1] for line in lines[1:-1]])) is not None:
            flat = lines[0][1] * (len(apart[0]) + 2)
            side = lines[1][0]
            boxed = [flat, *(side + row + side for row in apart), flat]
            return boxed, "a frame around cells with spaces between them", False
        return lines, "a frame around one character for each cell", False
    if _doubled(lines):
        pairs = [[line[i : i + 2] for i in range(0, width, 2)] for line in lines]
        return ["".join(map(_merge, row)) for row in pairs], "two characters for each cell", False
    return lines, "", False


def _spaced(lines: list[str]) -> bool:
    """Whether there is a space between all cells, rather than columns of free cells."""
    if any(line[1::2].strip(" ") for line in lines):
        return False
    cells = [line[::2] for line in lines]
    return any(" " not in row for row in cells)


def _apart(lines: list[str]) -> list[str] | None:
    """Cells with spaces between them, on a board where free cells are drawn; None for others."""
    rows = [[_plain(word) for word in line.split()] for line in lines]
    symbols = {symbol for row in rows for symbol in row}
    drawn = symbols & set(".·0_⬜□OoF🌿") and max(map(len, symbols)) == 1
    even = len({*map(len, rows)}) == 1 and len(rows[0]) > 1
    return ["".join(row) for row in rows] if drawn and even else None


def _framed(lines: list[str]) -> bool:
    """Whether lines with corners enclose the board."""
    top, bottom = lines[0], lines[-1]
    across = set(top[1:-1]) | set(bottom[1:-1])
    sides = {line[0] for line in lines[1:-1]} | {line[-1] for line in lines[1:-1]}
    corners = {top[0], top[-1], bottom[0], bottom[-1]}
    return bool(
        len(lines) > 2
        and across
        and across <= ACROSS
        and sides
        and sides <= UPRIGHT
        and corners <= set(FRAMES)
    )


def _thin_walls(lines: list[str]) -> int:
    """The distance of the corners of a maze whose walls are lines; 0 if there are no such walls.

    A frame alone, without lines or corners inside, says nothing about the width of cells.
    """
    top, width = lines[0], len(lines[0])
    inside = "".join(line[1:-1] for line in lines[1:-1])
    if not (top[0] in CORNERS and len(lines) % 2 and len(lines) > 2):
        return 0
    if not (set(FRAMES) & set(inside) or CORNERS & set(top[1:-1] + lines[-1][1:-1])):
        return 0
    if set("#█X") & set(inside):
        return 0
    upright = CORNERS | UPRIGHT
    return math.gcd(width - 1, *(i for line in lines for i, c in enumerate(line) if c in upright))


def _doubled(lines: list[str]) -> bool:
    """Whether each cell is two characters wide.

    Pairs may match by chance in a maze of single characters, such as an open one. One of double
    characters has side walls twice as thick as those above and below, or is drawn with blocks.
    """
    width = len(lines[0])
    if width % 2 or not all(
        _is_cell(line[i : i + 2]) for line in lines for i in range(0, width, 2)
    ):
        return False
    symbols = set("".join(lines))
    if symbols & PICTORIAL:
        return True
    wall = lines[0][0]
    enclosed = all(line[:2] == line[-2:] == 2 * wall for line in lines)
    flat = lines[0] == lines[-1] == width * wall
    thick = len(lines) > 2 and lines[1] != lines[0] and lines[-2] != lines[-1]
    return enclosed and flat and thick and wall not in " ."


def _is_cell(pair: str) -> bool:
    """Whether two characters can be one cell: twice the same, or a letter beside a free one."""
    first, second = sorted(pair)
    return first == second or (first in " .·" and (second.isalpha() or second in "@^$"))


def _merge(cell: str) -> str:
    """The character that a cell of several stands for: a letter if there is one, else a wall."""
    marks = [c for c in cell if c.isalpha() or c in "@^$*•"]
    if len(set(marks)) > 1 and len({c for c in marks if c not in "oO*•"}) > 1:
        return cell  # two marks in one cell: no symbol has this meaning
    lines = [c for c in cell if c in FRAMES or c in PICTORIAL or c == "#"]
    return (marks or lines or list(cell.strip()) or list(cell))[0]
