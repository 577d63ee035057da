"""Mazes and Sudokus as people write them: read, judged by a search, shown in a terminal."""

import math
import re
from typing import NamedTuple

import numpy as np

from wonn_jax.data import maze, sudoku
from wonn_jax.tasks.colours import CROSSING, MAZE_COLOURS, rgb
from wonn_jax.tasks.maze import FREE, GOAL, PATH, START, WALL

_LINES = "+-|─│┌┐└┘├┤┬┴┼━┃┏┓┗┛┣┫┳┻╋═║╔╗╚╝╠╣╦╩╬"
_MEANING = {
    **dict.fromkeys("#X█▓▒■⬛🧱1" + _LINES, WALL),
    **dict.fromkeys(" .·_⬜□0o*•", FREE),
    **dict.fromkeys("SsAa@🟥", START),
    **dict.fromkeys("GgEeFfBb🟩", GOAL),
}
_KNOWN = "walls # X 1 █ ■ ⬛ + - |, free cells . 0 _ □ ⬜ or a space, the start S, the goal G or E"


def read_mazes(text: str, where: str) -> list[np.ndarray]:
    """Mazes of any size from text, one or several with empty lines between them.

    Walls, free cells, start and goal are known by many characters (`#`, `█`, `1`, emoji, lines as
    in `+--+` and box drawing); marks of a path are free cells. Cells may be two characters wide,
    or have a space or comma between them; between thin lines they may be two or three wide.

    Args:
      text: of a file.
      where: its name, for messages.

    Returns:
      Tokens `[H, W]` of each: 0 wall, 1 free, 2 start, 3 goal.

    Raises:
      ValueError: no maze, unknown characters, ragged lines, not one start and one goal.
    """
    mazes: list[np.ndarray] = []
    lines: list[tuple[int, str]] = []
    for number, line in enumerate([*text.replace("\ufe0f", "").split("\n"), ""], 1):
        line = line.rstrip("\r").expandtabs()
        if line:
            lines.append((number, line))
        elif lines:
            mazes.append(_maze(lines, where))
            lines = []
    if not mazes:
        raise ValueError(f"{where} holds no maze: {_KNOWN}.")
    return mazes


def _maze(lines: list[tuple[int, str]], where: str) -> np.ndarray:
    for number, line in lines:
        for column, character in enumerate(line, 1):
            if character not in _MEANING and character != ",":
                raise ValueError(
                    f"{where}, line {number}, column {column}: {character!r} is no part of a "
                    f"maze, which has {_KNOWN}."
                )
    width = len(lines[0][1])
    for number, line in lines:
        if len(line) != width:
            raise ValueError(
                f"{where}, line {number} has {len(line)} characters, but line {lines[0][0]} has "
                f"{width}; all lines of a maze must be equally long (spaces at their ends count: "
                "write free cells there as dots)."
            )
    rows = _cells([line for _, line in lines])
    tokens = np.array([[_MEANING[c] for c in row] for row in rows], np.int32)
    for token, name in ((START, "start (S)"), (GOAL, "goal (G)")):
        places = np.argwhere(tokens == token)
        if len(places) != 1:
            found = ", ".join(f"row {r + 1} column {c + 1}" for r, c in places[:4])
            raise ValueError(
                f"{where}: the maze that begins in line {lines[0][0]} has "
                f"{len(places) or 'no'} {name}{': ' + found if found else ''}; it must have one."
            )
    return tokens


def _cells(lines: list[str]) -> list[str]:
    """One character for each cell, whatever the width of cells in the drawing."""
    width = len(lines[0])
    if any("," in line for line in lines):
        return [re.sub(r"\s*,\s*", "", line) for line in lines]
    if width > 2 and all(line[1::2].strip() == "" for line in lines) and width % 2:
        odd = [line[::2] for line in lines]
        if any(" " not in line for line in odd):  # a space between cells
            return odd
    if lines[0][0] in "+┌┏╔":  # thin lines: how far apart are their corners?
        upright = set(_LINES) - set("-─━═")
        gap = math.gcd(
            width - 1, *(i for line in lines for i, c in enumerate(line) if c in upright)
        )
        if gap > 2:
            return [
                "".join(line[i] + _middle(line[i + 1 : i + gap]) for i in range(0, width - 1, gap))
                + line[-1]
                for line in lines
            ]
    pairs = [[line[i : i + 2] for i in range(0, width, 2)] for line in lines]
    # A plain maze may read in pairs by chance, an open one does: a doubled one is wide, with walls.
    doubled = width % 2 == 0 and 2 * width > 3 * len(lines) and all(map(_pair, sum(pairs, [])))
    if doubled and any(_MEANING[c] == WALL for c in "".join(lines)):
        return ["".join(_middle(p) for p in row) for row in pairs]
    return lines


def _pair(pair: str) -> bool:
    first, second = (_MEANING[c] for c in pair)
    return pair[0] == pair[1] or FREE in (first, second) and max(first, second) > FREE


def _middle(cell: str) -> str:
    """Of a cell drawn some characters wide, the one that says most: start or goal, else a wall."""
    return min(cell, key=lambda c: (_MEANING[c] < START, _MEANING[c]))


def read_sudokus(text: str, where: str) -> list[np.ndarray]:
    """Sudokus from text: 81 characters a line, or nine lines of nine, framed or not.

    Blanks are `.`, `0`, `_`, `*` or `x`; lines that begin with `#` are comments.

    Returns:
      Digits `[9, 9]` of each, 0 for blanks.

    Raises:
      ValueError: no boards of 81 cells, unknown characters, givens that contradict each other.
    """
    cells: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        for column, character in enumerate(line, 1):
            if character in "123456789":
                cells.append(int(character))
            elif character in ".0_*xX":
                cells.append(0)
            elif not (character.isspace() or character in _LINES + ",;"):
                raise ValueError(
                    f"{where}, line {number}, column {column}: {character!r} is no cell of a "
                    "Sudoku, which are digits, and . 0 _ * or x for blanks."
                )
    if not cells or len(cells) % 81:
        raise ValueError(
            f"{where} holds {len(cells)} cells; a Sudoku has 81: one line of 81, or nine lines of "
            "nine, with . or 0 for blanks."
        )
    boards = list(np.array(cells, np.int32).reshape(-1, 9, 9))
    for number, board in enumerate(boards, 1):
        if fault := _fault(board):
            raise ValueError(f"{where}, Sudoku {number} contradicts itself: {fault}.")
    return boards


def _fault(board: np.ndarray) -> str:
    """The first digit that stands twice in a row, column or box; '' if none."""
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
                    return f"{len(places)} times {digit} in {kind} {unit + 1} ({at})"
    return ""


# --- What a search says ---------------------------------------------------------------------------


class Search(NamedTuple):
    """Breadth-first search from the start.

    moves: to the goal; −1 if it is out of reach.
    reached: cells within reach `[H, W]`.
    """

    moves: int
    reached: np.ndarray


def search(open_cells: np.ndarray, start: np.ndarray, goal: np.ndarray) -> Search:
    """The shortest way through open cells, each `[H, W]` booleans; start and goal are open."""
    moves = maze.distances((open_cells | start | goal)[None], start[None])[0]
    return Search(int(moves[goal][0]), moves >= 0)


def search_maze(tokens: np.ndarray) -> Search:
    """`search` of a maze."""
    return search(tokens == FREE, tokens == START, tokens == GOAL)


class MazeVerdict(NamedTuple):
    """Whether marked cells join start and goal, and are a shortest path and nothing else.

    moves: of the shortest way within them; best: of the maze; −1 for none.
    """

    valid: bool
    shortest: bool
    moves: int
    best: int
    reason: str


def judge_maze(tokens: np.ndarray, marked: np.ndarray) -> MazeVerdict:
    """What a search says of marked cells `[H, W]`, without start and goal."""
    best = search_maze(tokens).moves
    crossing = np.argwhere(marked & (tokens == WALL))
    moves = search(marked & (tokens == FREE), tokens == START, tokens == GOAL).moves
    beside = int(marked.sum()) - (moves - 1)
    if len(crossing):
        row, column = crossing[0] + 1
        reason = f"it goes through a wall, at row {row} column {column}"
        return MazeVerdict(False, False, moves, best, reason)
    if moves < 0:
        return MazeVerdict(False, False, moves, best, "it does not join start and goal")
    if moves > best:
        reason = f"it takes {moves} moves where {best} are enough"
    elif beside:
        reason = f"it joins start and goal in {moves} moves, with {beside} cells beside the path"
    else:
        reason = f"{moves} moves, as few as there can be"
    return MazeVerdict(True, moves == best and not beside, moves, best, reason)


class SudokuVerdict(NamedTuple):
    """Whether a board is a completion of its givens; completions: 0, 1, or 2 for several."""

    correct: bool
    completions: int
    reason: str


def judge_sudoku(given: np.ndarray, digits: np.ndarray) -> SudokuVerdict:
    """Whether digits `[9, 9]` complete the givens `[9, 9]`, and how many completions there are."""
    completions = int(sudoku.solutions(given[None].astype(np.uint8), limit=2)[0])
    fault = _fault(digits)
    if ((given > 0) & (digits != given)).any():
        fault = "a given digit was changed"
    elif not fault and (digits == 0).any():
        fault = "cells are blank"
    return SudokuVerdict(not fault, completions, fault or "all rows, columns and boxes are right")


# --- In a terminal --------------------------------------------------------------------------------

_CROSSING = PATH + 1
_PLAIN = ("##", "  ", "S ", "G ", "··", "!!")
_BACKGROUND = [rgb(colour) for colour in (*MAZE_COLOURS.values(), CROSSING)]


def show_maze(tokens: np.ndarray, marked: np.ndarray, colour: bool) -> str:
    """A maze and its marked cells, two characters a cell; '!!' is a path through a wall."""
    look = np.where(marked & (tokens == FREE), PATH, tokens)
    look = np.where(marked & (tokens == WALL), _CROSSING, look)

    def cell(kind: int) -> str:
        if not colour:
            return _PLAIN[kind]
        letters = _PLAIN[kind] if kind in (START, GOAL) else "  "
        red, green, blue = _BACKGROUND[kind]
        return f"\x1b[48;2;{red};{green};{blue};38;2;255;255;255m{letters}"

    end = "\x1b[0m" if colour else ""
    return "\n".join("".join(cell(kind) for kind in row) + end for row in look)


def show_sudoku(given: np.ndarray, digits: np.ndarray, colour: bool) -> str:
    """A framed board; with colour givens are bold, filled cells blue, contradictions red."""
    lines, wrong = [], sudoku.repeated(digits)
    for row in range(9):
        if row % 3 == 0:
            lines.append("├───────┼───────┼───────┤" if row else "┌───────┬───────┬───────┐")
        text = ""
        for column in range(9):
            text += "│ " if column % 3 == 0 else ""
            digit = str(digits[row, column] or ".")
            if colour:
                style = "31" if wrong[row, column] else "1" if given[row, column] else "34"
                digit = f"\x1b[{style}m{digit}\x1b[0m"
            text += digit + " "
        lines.append(text + "│")
    return "\n".join([*lines, "└───────┴───────┴───────┘"])
