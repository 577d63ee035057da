"""What a file of Sudokus holds, and how messages name a Sudoku of it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Collection:
    """The Sudokus of a file, in its order.

    Attributes:
      where: name of the file.
      inputs: digits, 0 for a blank, uint8 `[N, 9, 9]`.
      labels: digits of the solutions, uint8 `[N, 9, 9]`; all 0 where a text gives none, and None
        where an array has none.
      how: what in the file they are: 'columns quizzes and solutions'.
      lines: in which each of them begins, counted from 1 (0: unknown), integers `[N]`; None in
        arrays.
      first: number of Sudokus of the file before these.
    """

    where: str
    inputs: np.ndarray
    labels: np.ndarray | None = None
    how: str = ""
    lines: np.ndarray | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> "Collection":
        """Those from `part.start` to `part.stop` − 1."""
        start, stop, _ = part.indices(len(self))
        return dataclasses.replace(
            self,
            inputs=self.inputs[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            lines=None if self.lines is None else self.lines[start:stop],
            first=self.first + start,
        )

    def name(self, index: int) -> str:
        """A Sudoku in messages: 'a.npy: board 3' (from 0), 'a.csv, line 7: the Sudoku'."""
        if self.lines is None:
            return f"{self.where}: board {self.first + index}"
        if self.lines[index]:
            return f"{self.where}, line {self.lines[index]}: the Sudoku"
        return f"{self.where}: Sudoku {self.first + index + 1}"

    @property
    def solved(self) -> np.ndarray:
        """Which of them have a solution in the file, bool `[N]`."""
        if self.labels is None or self.lines is None:
            return np.full(len(self), self.labels is not None)
        return np.any(self.labels, axis=(1, 2))

    def check_cells(self, right: np.ndarray, found: str, required: str) -> None:
        """Raises a ValueError that names the first Sudoku and cell where `right` is False.

        Args:
          right: bool `[N, 9, 9]`.
          found: what is in such a cell.
          required: what should be there.
        """
        if not right.all():
            board, row, column = np.argwhere(~right)[0]
            base = self.base
            raise ValueError(
                f"{self.name(board)} has {found} in row {row + base}, column {column + base} "
                f"(counted from {base}). Required: {required}. {self.advice(board)}"
            )

    @property
    def base(self) -> int:
        """Number of the first row and column in messages: people count from 1, arrays from 0."""
        return 0 if self.lines is None else 1

    def advice(self, index: int) -> str:
        """What to do about a wrong Sudoku."""
        number = self.first + index
        look = f"Look at inputs[{number}] and labels[{number}]; r" if self.lines is None else "R"
        return f"{look}emove or repair the board."
