"""Mazes: read from drawings of many forms, judged by breadth-first search, shown in a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from wonn_jax.data import maze
from wonn_jax.data.documents import Document, documents, name_of
from wonn_jax.tasks.colours import CROSSING, MAZE_COLOURS, rgb
from wonn_jax.tasks.maze import FREE, GOAL, PATH, START, WALL
from wonn_jax.tasks.pictures import draw_maze
from wonn_jax.tools.puzzles.base import Loaded, Puzzle, Verdict
from wonn_jax.tools.puzzles.drawings import (
    UNMARKED,
    Marks,
    Reading,
    interpret,
    read_array,
    read_picture,
    read_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class MazePuzzle(Puzzle):
    """Marks the shortest path from start to goal."""

    name: ClassVar[str] = "maze"
    painter: ClassVar[str] = "maze"
    signs: ClassVar[tuple[str, ...]] = Marks._fields

    def read(self, text: str, where: str) -> list[np.ndarray]:
        return read_mazes(text, where)

    def load(self, file: str, **signs: str) -> Loaded:
        """The mazes of text, .npy arrays and pictures; `signs` as in `Marks`."""
        marks = Marks(**signs)
        readings = [x for document in documents(file) for x in _readings(document, marks)]
        count = Counter(reading.how for reading in readings)
        hows = [f"{n} × {how}" if len(count) > 1 else how for how, n in count.most_common(4)]
        more = [f"{len(count) - 4} other forms"] if len(count) > 4 else []
        origin = f"{len(readings)} of {name_of(file)}"
        lines = f"\n{'read as':10}".join([origin, *hows, *more])
        return Loaded([x.tokens for x in readings], lines, [x.name for x in readings])

    def check_solvable(self, tokens: np.ndarray, name: str) -> None:
        found = search_maze(tokens)
        if found.moves < 0:
            start, goal = (np.argwhere(tokens == token)[0] + 1 for token in (START, GOAL))
            raise ValueError(
                f"{name} has no solution: from the start (row {start[0]}, column {start[1]}), a "
                f"breadth-first search reaches {int(found.reached.sum())} of the "
                f"{int((tokens != WALL).sum())} open cells, and the goal (row {goal[0]}, column "
                f"{goal[1]}) is not among them."
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


# --- Reading --------------------------------------------------------------------------------------


def read_mazes(text: str, where: str, marks: Marks = UNMARKED) -> list[np.ndarray]:
    """Reads mazes of any size, one or several with empty lines between them.

    Walls, free cells, start and goal may be written in many ways, see `drawings`; marks of a path
    count as free cells.

    Args:
      text: the mazes.
      where: name of the text, for messages.
      marks: signs whose meaning is known.

    Returns:
      Tokens `[H, W]` of each: 0 wall, 1 free, 2 start, 3 goal.

    Raises:
      ValueError: no maze, an unknown character, lines of different lengths, or a maze without
        exactly one start and one goal.
    """
    return [reading.tokens for reading in read_text(text, where, marks)]


def _readings(document: Document, marks: Marks) -> list[Reading]:
    """The mazes of a file, which its first bytes or its name tell to be an array or a picture."""
    head = document.head()
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        grids = read_array(document.read(), document.where)
    elif head.startswith(_PICTURES) or document.where.lower().endswith(_SUFFIXES):
        grids = [read_picture(document.read(), document.where)]
    else:
        return read_text(document.text(), document.where, marks)
    return [interpret(grid, marks) for grid in grids]


_PICTURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"P4",
    b"P5",
    b"P6",
)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


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
