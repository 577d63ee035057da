"""Where the cells of a picture are: their size, and the width of lines between them."""

from typing import NamedTuple

import numpy as np

MAX_CELLS = 500
"""On a side, in pictures with several pixels for each cell."""
_LINE = 12  # pixels, the widest line between cells
_SHARPNESS = ((0, 2, 0.999), (1, 4, 0.85))  # tolerance in pixels, smallest cell, share explained


class Axis(NamedTuple):
    """Cells along one side of a picture.

    starts, ends: of each cell, in pixels `[n]`.
    line: width of the lines between cells; 0 if there are none.
    sharpness: share of the edges between pixels that are exactly those of cells.
    """

    starts: np.ndarray
    ends: np.ndarray
    line: int
    sharpness: float

    @property
    def middles(self) -> np.ndarray:
        """The first pixel within each cell, away from its rim, and the one after the last."""
        rim = (self.ends - self.starts) // 5
        return np.stack([self.starts + rim, np.maximum(self.ends - rim, self.starts + 1)])

    @property
    def size(self) -> float:
        """From one cell to the next, in pixels."""
        return float((self.ends[-1] - self.starts[0] + self.line) / len(self.starts))


def axes_of(kinds: np.ndarray) -> tuple[Axis, Axis] | None:
    """The largest cells of which a picture of kinds of colours `[H, W]` can consist.

    The edges between colours must be those of cells, exactly or, in blurred or compressed
    pictures, but for a pixel and for some edges within cells. None if there are no such cells.
    """
    edges = ((kinds[1:] != kinds[:-1]).sum(1), (kinds[:, 1:] != kinds[:, :-1]).sum(0))
    for tolerance, least, share in _SHARPNESS:
        found = []
        for line in range(_LINE + 1):
            rows, columns = (_fit(side, line, tolerance, least, share) for side in edges)
            if rows and columns:
                found.append((rows, columns))
        for axes in sorted(found, key=_preference):
            if _is_made_of(kinds, *axes):
                return axes
    return None


def _is_made_of(kinds: np.ndarray, rows: Axis, columns: Axis) -> bool:
    """Whether cells have one colour each, but for two, and no edges between others of the same."""
    number = int(kinds.max()) + 1
    pure = np.sort(shares(kinds, number, rows.middles, columns.middles).max(0).ravel())[2:]
    borders = [
        np.unique([0, *axis.starts, *axis.ends, size])
        for axis, size in zip((rows, columns), kinds.shape, strict=True)
    ]
    whole = shares(kinds, number, *(np.stack([x[:-1], x[1:]]) for x in borders)).max(0)
    covered = np.diff(borders[0]) @ whole @ np.diff(borders[1]) / kinds.size
    if (pure.size and pure.mean() < 0.97) or covered < 0.92:
        return False
    if rows.line and min(rows.sharpness, columns.sharpness) < 0.7:
        return False
    middles = np.ix_((rows.starts + rows.ends) // 2, (columns.starts + columns.ends) // 2)
    cells = kinds[middles]
    return bool(rows.line) or _edges(kinds, 1, 1) < 1.6 * _edges(cells, rows.size, columns.size)


def _edges(kinds: np.ndarray, height: float, width: float) -> float:
    """The length of all edges between cells of other kinds, of this size."""
    across, upright = kinds[1:] != kinds[:-1], kinds[:, 1:] != kinds[:, :-1]
    return float(across.sum() * width + upright.sum() * height)


def _preference(axes: tuple[Axis, Axis]) -> tuple[int, float]:
    """Few cells and lines, then sharp ones."""
    rows, columns = axes
    parts = len(rows.starts) * len(columns.starts) * (4 if rows.line else 1)
    return parts, -rows.sharpness - columns.sharpness


def _fit(edges: np.ndarray, line: int, tolerance: int, least: int, share: float) -> Axis | None:
    """The fewest cells along a side that explain the edges between its pixels `[L - 1]`.

    The outer lines may be as wide as those inside, half as wide, or missing.
    """
    length, total = len(edges) + 1, edges.sum()
    outer = {(line, line), (line, 0), (0, line), (0, 0), (line // 2, line - line // 2)}
    for count in range(1, min(MAX_CELLS, length // least) + 1 if total else 0):
        fits = []
        for before, after in sorted(outer):
            size = (length - before - after + line) / count
            if size < max(least, 3 * line):
                continue
            starts = np.rint(before + size * np.arange(count)).astype(int)
            ends = np.rint(before + size * np.arange(1, count + 1)).astype(int) - line
            borders = np.zeros(length + 1, bool)
            borders[starts] = borders[ends] = True
            near = borders.copy()
            for shift in range(1, tolerance + 1):
                near[shift:] |= borders[:-shift]
                near[:-shift] |= borders[shift:]
            chance, found = near[1:-1].mean(), edges[near[1:-1]].sum() / total
            if chance < 1 and (found - chance) / (1 - chance) >= share:
                fits.append(Axis(starts, ends, line, edges[borders[1:-1]].sum() / total))
        if fits:
            return max(fits, key=lambda axis: axis.sharpness)
    return None


def shares(kinds: np.ndarray, number: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The share of each of a number of kinds in rectangles, `[number, n, m]`.

    Args:
      kinds: of the pixels `[H, W]`.
      number: of kinds.
      rows: first row and the one after the last of each rectangle `[2, n]`.
      columns: likewise `[2, m]`.
    """
    found = []
    for kind in range(number):
        sums = np.pad((kinds == kind).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        upper, lower = sums[rows[0]], sums[rows[1]]
        inside = lower[:, columns[1]] - lower[:, columns[0]]
        found.append(inside - upper[:, columns[1]] + upper[:, columns[0]])
    area = (rows[1] - rows[0])[:, None] * (columns[1] - columns[0])
    return np.stack(found) / np.maximum(area, 1)
