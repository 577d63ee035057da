"""Sudokus that the lines of a text make, with the solutions that it gives for them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from wonn_jax.data.sudoku_formats.lines import ANSWER, Damaged, Line, wrong_size

Cells = list[int]
"""The 81 cells of a Sudoku, row by row, 0 for a blank."""

_UNITS = [
    {("row", k // 9, 0), ("column", k % 9, 0), ("box", k // 27, k % 9 // 3)} for k in range(81)
]
"""Row, column and box of each cell."""


class Found(NamedTuple):
    """A Sudoku in a text.

    line: where it begins, counted from 1; 0 if that is not known.
    puzzle: its cells.
    solution: those of the solution that the text gives for it, if it gives one.
    """

    line: int
    puzzle: Cells
    solution: Cells | None = None


def assemble(lines: list[Line], bars: bool = False) -> list[Found]:
    """The Sudokus that rows, and lines with whole Sudokus, make.

    Args:
      lines: from `parse`.
      bars: whether frames of dashes stand between boxes only, and are rows of blanks elsewhere.

    Raises:
      ValueError: there are none, or a line or Sudoku is not whole.
    """
    boards = Boards()
    rows: list[tuple[int, int, tuple[str, ...]]] = []  # line, number of frames before, cells
    frames = 0
    for line in [*_unnumbered(lines), Line(0, "title")]:
        if line.kind == "frame":
            if bars and len(rows) % 3:
                raise ValueError
            frames += 1
            continue
        size = len(line.cells)
        if size in (9, 10, 18):
            rows.append((line.number, frames, line.cells))
            continue
        if size % 81:
            raise ValueError(wrong_size(line.number, size))
        boards.add_rows(rows, line.number)
        rows = []
        if line.kind == "title":
            boards.answers = bool(ANSWER.search(line.text))
        else:
            boards.add_line(line)
    return boards.finish()


def _unnumbered(lines: list[Line]) -> list[Line]:
    """Lines without the numbers of the rows of a table, or separators at the ends of all rows."""
    wide = [x for x in lines if len(x.cells) in (82, 163)]
    if not wide or len(wide) < sum(x.kind == "cells" for x in lines):
        return lines
    first = wide[0].cells[0]
    numbers = [str(int(first) + k) for k in range(len(wide))] if first in ("0", "1") else []
    if [x.cells[0] for x in wide] == numbers:
        part = slice(1, None)
    elif all(x.cells[-1] == "" for x in wide):
        part = slice(None, -1)
    else:
        return lines
    return [x._replace(cells=x.cells[part]) if x.cells else x for x in lines]


class Boards:
    """Sudokus as they are found, in order."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.answers = False  # whether a title has announced solutions
        self._marked: list[bool] = []  # which of them have pencil marks

    def add(self, lines: Sequence[int], cells: Sequence[str], answers: bool = False) -> None:
        """A Sudoku, or the solution of one before.

        Args:
          lines: that of each row, or the only one.
          cells: what stands in them.
          answers: whether it may be a solution, even if no title says so.
        """
        _check_marks(lines, cells)
        values = [value_of(cell) for cell in cells]
        solving = (answers or self.answers) and self.found
        if solving and not all(values):
            self._check_no_solution(lines[0], values)
        if solving and all(values):
            open_ = [k for k, x in enumerate(self.found) if x.solution is None] or [-1]
            fits = [k for k in open_ if _extends(self.found[k].puzzle, values)]
            chosen = (fits or open_[-1:])[0]
            self.found[chosen] = self.found[chosen]._replace(solution=values)
        else:
            self.found.append(Found(lines[0], values))
            self._marked.append(any(map(_is_marked, cells)))

    def _check_no_solution(self, line: int, values: Cells) -> None:
        """Raises a ValueError if a board has most digits of a solution of the last one."""
        puzzle, open_ = self.found[-1].puzzle, values.count(0)
        agrees = all(0 in pair or pair[0] == pair[1] for pair in zip(puzzle, values, strict=True))
        if agrees and open_ < min(27, puzzle.count(0)):
            raise Damaged(
                f", line {line}: the solution has {open_} blank cell{'s' * (open_ > 1)}. Required: "
                "a digit in every cell. Complete or remove it."
            )

    def add_line(self, line: Line) -> None:
        """One or several whole Sudokus in a line; a complete one may solve the one before."""
        cells = line.cells
        boards = [cells[k : k + 81] for k in range(0, len(cells), 81)]
        values = [[value_of(x) for x in board] for board in boards]
        if len(boards) == 2 and all(values[0]) and not all(values[1]):
            boards, values = boards[::-1], values[::-1]
        self.add([line.number], boards[0])
        for k in range(1, len(boards)):
            solved = all(values[k]) and _extends(values[k - 1], values[k])
            self.add([line.number], boards[k], answers=solved or len(boards) == 2)

    def add_rows(self, rows: list[tuple[int, int, tuple[str, ...]]], end: int) -> None:
        """Rows of nine cells each; of eighteen, if two Sudokus stand side by side.

        Args:
          rows: line, number of frames before it, and cells of each.
          end: the line after them; 0 for the end of the text.
        """
        rows = _merged(_unlabelled(rows))
        usual = 18 if all(len(x[2]) == 18 for x in rows) else 9
        if wrong := next((x for x in rows if len(x[2]) != usual), None):
            raise ValueError(wrong_size(wrong[0], len(wrong[2])))
        if len(rows) % 9:
            first, number = rows[len(rows) // 9 * 9][0], len(rows) % 9
            last = f" before line {end}, which is none" if end else ", and there is no more"
            raise ValueError(
                f": the Sudoku that begins in line {first} has {number} row{'s' * (number > 1)} of "
                f"nine cells{last}. Required: nine rows. Add those that are missing, or put # "
                "before lines that are no rows."
            )
        for k in range(0, len(rows), 9):
            lines = [line for line, _, _ in rows[k : k + 9]]
            left = [x for row in rows[k : k + 9] for x in row[2][:9]]
            right = [x for row in rows[k : k + 9] for x in row[2][9:]]
            values = [[value_of(x) for x in side] for side in (left, right)]
            if right and not all(map(is_consistent, values)):
                raise ValueError(wrong_size(lines[0], 18))  # perhaps two rows of one Sudoku
            self.add(lines, left)
            if right:
                self.add(lines, right, answers=_extends(*values))

    def finish(self) -> list[Found]:
        """All of them; pencil marks of a Sudoku that stands before them are left out."""
        if not self.found:
            raise ValueError(
                " holds 0 cells. Required: 81 for each Sudoku, in one line or in nine lines of "
                "nine, with . or 0 for blanks. Give a file with a Sudoku."
            )
        kept: list[Found] = []
        for board, marked in zip(self.found, self._marked, strict=True):
            if marked:  # programs copy the Sudoku, then how far it is solved, then the marks
                while len(kept) > 1 and _extends(kept[-2].puzzle, kept[-1].puzzle):
                    kept.pop()
                if kept and _extends(kept[-1].puzzle, board.puzzle):
                    continue
            kept.append(board)
        return kept


def _is_marked(cell: str) -> bool:
    """Whether a cell has more than one digit or sign, and is no number such as 5.0."""
    return len(cell) > 1 and cell[1] != "."


def _check_marks(lines: Sequence[int], cells: Sequence[str]) -> None:
    """Raises a ValueError if cells of several digits are not the pencil marks of all open cells.

    Args:
      lines: that of each row of nine cells, or that of all cells.
      cells: what stands in them.
    """
    marks = {k: x for k, cell in enumerate(cells) if _is_marked(x := cell.removeprefix("u"))}
    if not marks:
        return
    values = [value_of(x) for x in cells]
    wrong = [k for k, x in marks.items() if not _is_possible(x, k, values)]
    open_ = [k for k, x in enumerate(cells) if not value_of(x)]
    if not wrong and len(marks) > 3 and all(_is_marked(cells[k]) for k in open_):
        return  # with fewer of them, one would have a single mark
    first = [*wrong, *marks][0]
    line, number = (lines[first // 9], first % 9) if len(lines) > 1 else (lines[0], first)
    raise ValueError(
        f", line {line}: cell {number + 1} is {cells[first]!r}. Required: one digit in each cell, "
        "and . or 0 if blank; or the pencil marks of all open cells, in ascending order, as in 359."
        " Correct the cell, or separate digits that belong to different cells."
    )


def _is_possible(marks: str, cell: int, values: Cells) -> bool:
    """Whether pencil marks ascend, and one of them at least is possible there."""
    if not all(a < b for a, b in itertools.pairwise(marks)):
        return False
    taken = {str(values[k]) for k in range(81) if k != cell and _UNITS[k] & _UNITS[cell]}
    return not set(marks) <= taken


def value_of(cell: str) -> int:
    """The digit of a cell; 0 if it is blank, has several pencil marks, or a player filled it in."""
    digit = cell.partition(".")[0]
    return int(digit) if len(digit) == 1 and digit.isdecimal() else 0


def _extends(puzzle: Cells, board: Cells) -> bool:
    """Whether a board has all digits of a puzzle."""
    return all(a in (0, b) for a, b in zip(puzzle, board, strict=True))


def is_consistent(board: Cells) -> bool:
    """Whether no digit is twice in a row, column or box."""
    seen = [(unit, x) for x, units in zip(board, _UNITS, strict=True) if x for unit in units]
    return len(set(seen)) == len(seen)


def _unlabelled(
    rows: list[tuple[int, int, tuple[str, ...]]],
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Rows without a line of column labels, labels of rows, and separators at the ends."""
    labels = [tuple(map(str, range(a, a + 9))) for a in (0, 1)]
    if len(rows) % 9:
        rows = [x for x in rows if x[2][-9:] not in labels]
    while len(rows) % 9 and rows and not any(rows[-1][2]):  # what spreadsheets add
        rows = rows[:-1]
    if len(rows) % 9:
        rows = [x for x in rows if any(x[2])]
    wide = [x[2] for x in rows if len(x[2]) == 10]
    if len(wide) == len(rows) and all(
        tuple(x[0] for x in wide[k : k + 9]) in labels for k in range(0, len(wide), 9)
    ):
        return [(line, frame, cells[1:]) for line, frame, cells in rows]
    if len(wide) >= len(rows) * 8 / 9 and not any(x[9] for x in wide):  # all but the last row
        return [(line, frame, cells[:9]) for line, frame, cells in rows]
    return rows


def _merged(
    rows: list[tuple[int, int, tuple[str, ...]]],
) -> list[tuple[int, int, tuple[str, ...]]]:
    """One row for each three lines, of which the middle one has the digits, in large drawings."""
    if len(rows) % 3 or not all(rows[k][1] == rows[k + 2][1] for k in range(0, len(rows), 3)):
        return rows
    outer = [row for k in (0, 2) for row in rows[k::3] if any(row[2])]
    if len(rows) > 9 and outer and len(outer) < len(rows) // 9:
        raise Damaged(
            f", line {outer[0][0]} has digits, unlike the others above and below cells. Required: "
            "digits in the middle line of each row. Correct the line."
        )
    return rows if outer or not any(any(row[2]) for row in rows[1::3]) else rows[1::3]
