"""A maze as a grid of symbols, before these have a meaning."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass
class Grid:
    """One symbol for each cell of a maze.

    Attributes:
      symbols: strings `[H, W]`.
      where: name of the text, for messages.
      line: number of its first line there; 0 if it has no lines.
      how: what was found about the form of the drawing, for people.
      pictorial: whether it was a picture, whose symbols are ours.
      notes: what was left out around it, for people.
    """

    symbols: np.ndarray
    where: str
    line: int = 0
    how: str = ""
    pictorial: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The maze, for messages."""
        return f"{self.where}: the maze {self.begins}" if self.line else self.where

    @property
    def begins(self) -> str:
        return f"that begins in line {self.line}" if self.line else "there"

    def name_of(self, place: tuple[int, ...]) -> str:
        """Where a cell stands, for messages."""
        row, column = place
        if self.line and not self.how:
            return f"{self.where}, line {self.line + row}, column {column + 1}"
        begin = f", the maze {self.begins}" if self.line else ""
        return f"{self.where}{begin}, row {row + 1}, column {column + 1} of its cells"


def array_of(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Symbols `[H, W]` from rows of one length."""
    return np.array([list(row) for row in rows], dtype=object)


def outermost(shape: tuple[int, ...]) -> np.ndarray:
    """Which cells have no neighbour on some side: booleans `[H, W]`."""
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def check_lengths(rows: Sequence[Sequence[str]], where: str, first: int, note: str = "") -> None:
    """Raises a ValueError that names the first row of another length than row 1."""
    unit = "cells" if note or not first else "characters"
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            place = f"line {first + number}" if first else f"row {number + 1}"
            begin = f"line {first}" if first else "row 1"
            raise ValueError(
                f"{where}, {place} has {len(row)} {unit}, but {begin} has {len(rows[0])}{note}; "
                "all rows of a maze must have the same length."
                + (" Spaces at the end count: write free cells as dots." if unit != "cells" else "")
            )
