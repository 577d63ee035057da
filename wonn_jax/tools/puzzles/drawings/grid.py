"""A maze as a grid of symbols, before these have a meaning."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from wonn_jax.tools.puzzles.drawings.ends import Ends


@dataclasses.dataclass
class Grid:
    """One symbol for each cell of a maze.

    Attributes:
      symbols: strings `[H, W]`.
      where: name of the text, for messages.
      lines: numbers of its lines there; none if it has no lines.
      how: what was found about the form of the drawing, for people.
      pictorial: whether it was a picture, whose symbols are ours.
      thin: whether the walls between cells are rows and columns of their own.
      ends: start and goal given beside it; see `counted`.
      notes: what was left out around it, for people.
    """

    symbols: np.ndarray
    where: str
    lines: tuple[int, ...] = ()
    how: str = ""
    pictorial: bool = False
    thin: bool = False
    ends: Ends = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The maze, for messages."""
        return f"{self.where}: the maze {self.begins}" if self.lines else self.where

    @property
    def begins(self) -> str:
        return f"that begins in line {self.lines[0]}" if self.lines else "there"

    @property
    def counted(self) -> np.ndarray:
        """The cells that coordinates count, as numbers `[H, W]` of all; not walls between them."""
        cells = np.arange(self.symbols.size).reshape(self.symbols.shape)
        return cells[1::2, 1::2] if self.thin else cells

    def name_of(self, place: tuple[int, ...]) -> str:
        """Where a cell stands, for messages."""
        row, column = place
        if self.lines and not self.how:
            return f"{self.where}, line {self.lines[row]}, column {column + 1}"
        begin = f", the maze {self.begins}" if self.lines else ""
        return f"{self.where}{begin}, row {row + 1}, column {column + 1} of its cells"


def array_of(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Symbols `[H, W]` from rows of one length."""
    return np.array([list(row) for row in rows], dtype=object)


def outermost(shape: tuple[int, ...]) -> np.ndarray:
    """Which cells have no neighbour on some side: booleans `[H, W]`."""
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def check_lengths(
    rows: Sequence[Sequence[str]], where: str, lines: Sequence[int] = (), note: str = ""
) -> None:
    """Raises a ValueError that names the first row of another length than row 1."""
    unit = "cells" if note or not lines else "characters"
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            place = f"line {lines[number]}" if lines else f"row {number + 1}"
            begin = f"line {lines[0]}" if lines else "row 1"
            raise ValueError(
                f"{where}, {place} has {len(row)} {unit}, but {begin} has {len(rows[0])}{note}; "
                "all rows of a maze must have the same length."
                + (" Spaces at the end count: write free cells as dots." if unit != "cells" else "")
            )
