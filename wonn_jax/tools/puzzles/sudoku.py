"""Sudokus: read from many forms, judged by a search for completions, shown in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from wonn_jax.data import sudoku
from wonn_jax.data.layouts import parts_of
from wonn_jax.data.sudoku_formats import Collection, read_part, read_text
from wonn_jax.tasks.pictures import draw_digits, draw_sudoku
from wonn_jax.tools.puzzles.base import Loaded, Puzzle, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SudokuPuzzle(Puzzle):
    """Fills in the blank cells. A token is a digit, 0 if blank; a class is a digit minus 1."""

    name: ClassVar[str] = "sudoku"
    painter: ClassVar[str] = "digits"

    def read(self, text: str, where: str) -> list[np.ndarray]:
        return read_sudokus(text, where)

    def load(self, file: str, **signs: str) -> Loaded:
        """The Sudokus of a file, of standard input ('-'), or of a folder or archive.

        Those forms are understood that are data sets too (see `data.sudoku_formats`); of one with
        a test split, the boards of the test. Solutions beside the puzzles are checked.
        """
        found = [read_part(part) for part in parts_of(file)[0]]
        boards = [board for collection in found for board in _checked(collection)]
        origins = [_origin(x) for x in found]
        if len(found) > 4:
            origins = [f"{len(boards)} of {len(found)} files in {file}"]
        names = [collection.name(i) for collection in found for i in range(len(collection))]
        return Loaded(boards, "; ".join(origins), names)

    def check_solvable(self, tokens: np.ndarray, name: str) -> None:
        if count_completions(tokens) == 0:
            raise ValueError(
                f"{name} has no solution: a search finds no completion of its given digits. "
                "Required: a Sudoku with a solution. Compare its digits with where it comes from."
            )

    def judge(self, tokens: np.ndarray, classes: np.ndarray) -> Verdict:
        found = judge_sudoku(tokens, completed(tokens, classes))
        if not found.correct:
            return Verdict(False, f"not solved: {found.reason}")
        number = "the only one" if found.completions == 1 else "one of several"
        return Verdict(True, f"solved    a correct completion, {number} (checked by search)")

    def show(self, tokens: np.ndarray, classes: np.ndarray, colour: bool) -> str:
        return show_sudoku(tokens, completed(tokens, classes), colour)

    def draw(
        self, axes: Axes, tokens: np.ndarray, classes: np.ndarray | None, target: np.ndarray
    ) -> None:
        draw_sudoku(axes, classes, tokens, target)

    def draw_step(
        self,
        axes: Axes,
        tokens: np.ndarray,
        probabilities: np.ndarray,
        target: np.ndarray | None = None,
    ) -> None:
        """See `Puzzle.draw_step`. Without a target, digits that break a rule are red."""
        digits = completed(tokens, probabilities.argmax(-1))
        # A digit that no other contradicts is compared with itself: it is not red.
        correct = np.where(sudoku.repeated(digits), 0, digits) if target is None else target + 1
        draw_digits(axes, digits, tokens > 0, correct)

    def frames(
        self, tokens: np.ndarray, target: np.ndarray, probabilities: np.ndarray
    ) -> dict[str, Any]:
        """A frame is the digit of every cell."""
        return {
            "tokens": tokens.tolist(),
            "target": (target + 1).tolist(),
            "frames": completed(tokens, probabilities.argmax(-1)).tolist(),
        }


def completed(given: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The given digits, and in blank cells those of the predicted classes `[..., 9, 9]`."""
    return np.where(given > 0, given, classes + 1)


# --- Text -----------------------------------------------------------------------------------------


def read_sudokus(text: str, where: str) -> list[np.ndarray]:
    """Reads Sudokus: 81 characters a line, or nine lines of nine, with or without a frame.

    Many notations are understood: see `data.sudoku_formats.text`.

    Args:
      text: the Sudokus.
      where: name of the text, for messages.

    Returns:
      Digits `[9, 9]` of each, 0 for blanks.

    Raises:
      ValueError: the number of cells is not a multiple of 81, an unknown character, given digits
        that contradict each other, or a wrong solution beside a Sudoku.
    """
    return _checked(read_text(text, where))


def _checked(found: Collection) -> list[np.ndarray]:
    """The boards of a collection, whose givens and solutions are right."""
    wrong = sudoku.contradictory(found.inputs)
    if wrong.any():
        first = int(np.argmax(wrong))
        conflict = _conflict(found.inputs[first])
        raise ValueError(
            f"{found.name(first)} contradicts itself: {conflict}. Required: every digit at most "
            "once in a row, column and box. Correct or remove this Sudoku."
        )
    sudoku.check(found)
    return list(found.inputs.astype(np.int32))


def _origin(found: Collection) -> str:
    """How many Sudokus came from where, for people."""
    solved = int(found.solved.sum())
    notes = [found.how] if found.how else []
    notes += [f"{solved} with solutions, which are correct"] if solved else []
    return f"{len(found)} of {found.where}" + (f" ({'; '.join(notes)})" if notes else "")


def _conflict(board: np.ndarray) -> str:
    """Describes the first digit that occurs twice in a row, column or box; '' if none does."""
    for kind in ("row", "column", "box"):
        for unit in range(9):
            for digit in range(1, 10):
                places = [
                    (r, c)
                    for r, c in np.argwhere(board == digit)
                    if {"row": r, "column": c, "box": r // 3 * 3 + c // 3}[kind] == unit
                ]
                if len(places) > 1:
                    at = " and ".join(f"row {r + 1} column {c + 1}" for r, c in places[:2])
                    return f"{digit} occurs {len(places)} times in {kind} {unit + 1} ({at})"
    return ""


# --- Search ---------------------------------------------------------------------------------------


class SudokuVerdict(NamedTuple):
    """Result of `judge_sudoku`.

    correct: whether the board is a completion of its given digits.
    completions: of the given digits: 0, 1, or 2 for two or more.
    reason: for people.
    """

    correct: bool
    completions: int
    reason: str


def count_completions(given: np.ndarray) -> int:
    """Completions of the given digits `[9, 9]` (0 blank): 0, 1, or 2 for two or more."""
    return int(sudoku.solutions(given[None].astype(np.uint8), limit=2)[0])


def judge_sudoku(given: np.ndarray, digits: np.ndarray) -> SudokuVerdict:
    """Compares digits `[9, 9]` with the given ones `[9, 9]`, the rules, and a search."""
    fault = _conflict(digits)
    if ((given > 0) & (digits != given)).any():
        fault = "a given digit was changed"
    elif not fault and (digits == 0).any():
        fault = "some cells are blank"
    reason = fault or "all rows, columns and boxes are correct"
    return SudokuVerdict(not fault, count_completions(given), reason)


# --- Terminal -------------------------------------------------------------------------------------

_RED, _BOLD, _BLUE = "31", "1", "34"


def show_sudoku(given: np.ndarray, digits: np.ndarray, colour: bool) -> str:
    """A framed board; in colour, given digits are bold, filled-in ones blue, conflicts red."""
    lines, wrong = [], sudoku.repeated(digits)
    for row in range(9):
        if row % 3 == 0:
            lines.append("├───────┼───────┼───────┤" if row else "┌───────┬───────┬───────┐")
        text = ""
        for column in range(9):
            text += "│ " if column % 3 == 0 else ""
            digit = str(digits[row, column] or ".")
            if colour:
                style = _RED if wrong[row, column] else _BOLD if given[row, column] else _BLUE
                digit = f"\x1b[{style}m{digit}\x1b[0m"
            text += digit + " "
        lines.append(text + "│")
    return "\n".join([*lines, "└───────┴───────┴───────┘"])
