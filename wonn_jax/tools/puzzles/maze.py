"""Mazes: read in many notations, judged by breadth-first search, shown in a terminal."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from wonn_jax.data import maze
from wonn_jax.tasks.colours import CROSSING, MAZE_COLOURS, rgb
from wonn_jax.tasks.maze import FREE, GOAL, PATH, START, WALL
from wonn_jax.tasks.pictures import draw_maze
from wonn_jax.tools.puzzles.base import FRAMES, Puzzle, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class MazePuzzle(Puzzle):
    """Marks the shortest path from start to goal."""

    name: ClassVar[str] = "maze"
    painter: ClassVar[str] = "maze"

    def read(self, text: str, where: str) -> list[np.ndarray]:
        return read_mazes(text, where)

    def check_solvable(self, tokens: np.ndarray, name: str) -> None:
        found = search_maze(tokens)
        if found.moves < 0:
            open_cells, reached = int((tokens != WALL).sum()), int(found.reached.sum())
            raise ValueError(
                f"{name} has no solution: from the start, a breadth-first search reaches "
                f"{reached} of the {open_cells} open cells, and the goal is not among them."
            )

    def judge(self, tokens: np.ndarray, classes: np.ndarray) -> Verdict:
        found = judge_maze(tokens, marked_cells(tokens, classes))
        if found.shortest:
            text = (
                f"solved    a shortest path, {found.best} moves (checked by breadth-first search)"
            )
        elif found.valid:
            text = f"not the shortest path: {found.reason} (checked by breadth-first search)"
        else:
            text = f"not solved: {found.reason}; the shortest path has {found.best} moves"
        return Verdict(found.shortest, text)

    def show(self, tokens: np.ndarray, classes: np.ndarray, colour: bool) -> str:
        return show_maze(tokens, marked_cells(tokens, classes), colour)

    def draw(
        self, axes: Axes, tokens: np.ndarray, classes: np.ndarray | None, target: np.ndarray
    ) -> None:
        draw_maze(axes, classes, tokens, target)

    def draw_step(
        self,
        axes: Axes,
        tokens: np.ndarray,
        probabilities: np.ndarray,
        target: np.ndarray | None = None,
    ) -> None:
        axes.imshow(path_overlay(tokens, probabilities[..., PATH]), interpolation="nearest")

    def frames(
        self, tokens: np.ndarray, target: np.ndarray, probabilities: np.ndarray
    ) -> dict[str, Any]:
        """A frame is the probability of the path in every cell, 0 to 255."""
        path = np.rint(255 * probabilities[..., PATH]).astype(int)
        return {"tokens": tokens.tolist(), "frames": path.tolist()}

    def palette(self) -> dict[str, Any]:
        """`overlays`: the colour of the path on each token, null where none is shown."""
        overlays: list[tuple[int, int, int] | None] = [None] * (GOAL + 1)
        overlays[WALL], overlays[FREE] = rgb(CROSSING), rgb(MAZE_COLOURS["path"])
        return {"tokens": [rgb(c) for c in MAZE_COLOURS.values()], "overlays": overlays}


def marked_cells(tokens: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Cells predicted to be on the path, without start and goal: booleans `[H, W]`."""
    return (classes == PATH) & (tokens != START) & (tokens != GOAL)


def path_overlay(tokens: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The probability of the path `[H, W]` in colour over a maze, as RGB from 0 to 1 `[H, W, 3]`.

    Blue on free cells, purple on walls.
    """
    board = np.array([rgb(colour) for colour in MAZE_COLOURS.values()])[tokens] / 255
    for cells, colour in ((tokens == WALL, CROSSING), (tokens == FREE, MAZE_COLOURS["path"])):
        share = np.where(cells, path, 0.0)[..., None]
        board = (1 - share) * board + share * np.array(rgb(colour)) / 255
    return board


# --- Text -----------------------------------------------------------------------------------------

_MEANING = {
    **dict.fromkeys("#X█▓▒■⬛🧱1" + FRAMES, WALL),
    **dict.fromkeys(" .·_⬜□0o*•", FREE),
    **dict.fromkeys("SsAa@🟥", START),
    **dict.fromkeys("GgEeFfBb🟩", GOAL),
}
_NOTATION = (
    "walls # X 1 █ ■ ⬛ + - |, free cells . 0 _ □ ⬜ or a space, the start S, the goal G or E"
)


def read_mazes(text: str, where: str) -> list[np.ndarray]:
    """Reads mazes of any size, one or several with empty lines between them.

    Walls, free cells, start and goal may be written in many ways (`#`, `█`, `1`, emoji, lines as
    in `+--+` and box drawing); marks of a path count as free cells. Cells may be two characters
    wide, or have a space or comma between them; between thin walls they may be two or three wide.

    Args:
      text: the mazes.
      where: name of the text, for messages.

    Returns:
      Tokens `[H, W]` of each: 0 wall, 1 free, 2 start, 3 goal.

    Raises:
      ValueError: no maze, an unknown character, lines of different lengths, or a maze without
        exactly one start and one goal.
    """
    mazes: list[np.ndarray] = []
    lines: list[tuple[int, str]] = []
    for number, line in enumerate([*text.replace("\ufe0f", "").split("\n"), ""], 1):
        line = line.rstrip("\r").expandtabs()
        if line:
            lines.append((number, line))
        elif lines:
            mazes.append(_read_maze(lines, where))
            lines = []
    if not mazes:
        raise ValueError(f"{where} holds no maze. A maze has {_NOTATION}.")
    return mazes


def _read_maze(lines: list[tuple[int, str]], where: str) -> np.ndarray:
    """Tokens `[H, W]` of one maze from its numbered lines."""
    _check_lines(lines, where)
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


def _check_lines(lines: list[tuple[int, str]], where: str) -> None:
    """Raises a ValueError for unknown characters and lines of different lengths."""
    first, width = lines[0][0], len(lines[0][1])
    for number, line in lines:
        for column, character in enumerate(line, 1):
            if character not in _MEANING and character != ",":
                raise ValueError(
                    f"{where}, line {number}, column {column}: {character!r} is not a cell of a "
                    f"maze. A maze has {_NOTATION}."
                )
    for number, line in lines:
        if len(line) != width:
            raise ValueError(
                f"{where}, line {number} has {len(line)} characters, but line {first} has "
                f"{width}; all lines of a maze must have the same length (spaces at the end count: "
                "write free cells there as dots)."
            )


def _cells(lines: list[str]) -> list[str]:
    """One character for each cell, whatever the width of cells in the drawing."""
    width = len(lines[0])
    if any("," in line for line in lines):
        return [re.sub(r"\s*,\s*", "", line) for line in lines]
    if width > 2 and all(line[1::2].strip() == "" for line in lines) and width % 2:
        odd = [line[::2] for line in lines]
        if any(" " not in line for line in odd):  # a space between cells
            return odd
    if lines[0][0] in "+┌┏╔":  # thin walls: how far apart are their corners?
        upright = set(FRAMES) - set("-─━═")
        gap = math.gcd(
            width - 1, *(i for line in lines for i, c in enumerate(line) if c in upright)
        )
        if gap > 2:
            return [
                "".join(line[i] + _merge(line[i + 1 : i + gap]) for i in range(0, width - 1, gap))
                + line[-1]
                for line in lines
            ]
    pairs = [[line[i : i + 2] for i in range(0, width, 2)] for line in lines]
    # In a maze of single characters, and surely in an open one, pairs may match by chance. One of
    # double characters is wide and has walls.
    doubled = width % 2 == 0 and 2 * width > 3 * len(lines) and all(map(_is_cell, sum(pairs, [])))
    if doubled and any(_MEANING[c] == WALL for c in "".join(lines)):
        return ["".join(_merge(p) for p in row) for row in pairs]
    return lines


def _is_cell(pair: str) -> bool:
    """Whether two characters can be one cell: twice the same, or start or goal beside free."""
    first, second = (_MEANING[c] for c in pair)
    return pair[0] == pair[1] or FREE in (first, second) and max(first, second) > FREE


def _merge(cell: str) -> str:
    """The character that a cell of several stands for: start or goal if present, else a wall."""
    return min(cell, key=lambda c: (_MEANING[c] < START, _MEANING[c]))


# --- Search ---------------------------------------------------------------------------------------


class Search(NamedTuple):
    """Result of a breadth-first search from the start.

    moves: to the goal; −1 if it cannot be reached.
    reached: cells that can be reached, booleans `[H, W]`.
    """

    moves: int
    reached: np.ndarray


def search(open_cells: np.ndarray, start: np.ndarray, goal: np.ndarray) -> Search:
    """Breadth-first search through open cells, each `[H, W]` booleans; start and goal are open."""
    moves = maze.distances((open_cells | start | goal)[None], start[None])[0]
    return Search(int(moves[goal][0]), moves >= 0)


def search_maze(tokens: np.ndarray) -> Search:
    """`search` through the free cells of a maze `[H, W]`."""
    return search(tokens == FREE, tokens == START, tokens == GOAL)


class MazeVerdict(NamedTuple):
    """Result of `judge_maze`.

    valid: whether the marked cells join start and goal without going through a wall.
    shortest: whether they are a shortest path and no other cell is marked.
    moves: length of the shortest path within the marked cells, −1 if there is none.
    best: length of the shortest path in the maze, −1 if there is none.
    reason: for people.
    """

    valid: bool
    shortest: bool
    moves: int
    best: int
    reason: str


def judge_maze(tokens: np.ndarray, marked: np.ndarray) -> MazeVerdict:
    """Compares marked cells `[H, W]`, without start and goal, with a breadth-first search."""
    best = search_maze(tokens).moves
    crossing = np.argwhere(marked & (tokens == WALL))
    moves = search(marked & (tokens == FREE), tokens == START, tokens == GOAL).moves
    extra = int(marked.sum()) - (moves - 1)
    if len(crossing):
        row, column = crossing[0] + 1
        reason = f"it goes through a wall at row {row} column {column}"
        return MazeVerdict(False, False, moves, best, reason)
    if moves < 0:
        return MazeVerdict(False, False, moves, best, "it does not join start and goal")
    if moves > best:
        reason = f"it takes {moves} moves where {best} are enough"
    elif extra:
        others = "1 other cell is" if extra == 1 else f"{extra} other cells are"
        reason = f"it joins start and goal in {moves} moves, but {others} marked"
    else:
        reason = f"{moves} moves, the minimum"
    return MazeVerdict(True, moves == best and not extra, moves, best, reason)


# --- Terminal -------------------------------------------------------------------------------------

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
