"""What an example of a task looks like: all that a network has to know of task and data."""

from typing import NamedTuple


class Boards(NamedTuple):
    """Boards of cells: integer tokens `[H, W]` in, a class for every cell out.

    height, width: cells.
    tokens: number of different input tokens, 0 to `tokens` − 1.
    classes: number of output classes.
    givens: whether token 0 means a blank cell, and all others are given by the puzzle.
    """

    height: int
    width: int
    tokens: int
    classes: int
    givens: bool = False


class Images(NamedTuple):
    """Square colour images: `[side, side, 3]`, normalised, in, one class out.

    side: pixels.
    classes: number of classes.
    """

    side: int
    classes: int


Examples = Boards | Images
