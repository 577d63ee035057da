"""Mazes as pictures: one pixel for each cell, or one block of pixels."""

import math

import numpy as np

from wonn_jax.data.decoding import decode
from wonn_jax.tools.puzzles.drawings.grid import Grid

MAX_PIXELS = 64_000_000


def read_picture(data: bytes, where: str) -> Grid:
    """The maze of a picture: dark walls, light free cells, start and goal in colour.

    Raises:
      ValueError: not a picture, or one without cells of one size.
    """
    try:
        image = decode(data)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has {image.width}×{image.height} pixels, too many for a maze")
    except ValueError as error:
        raise ValueError(f"{where} is not a picture that can be read ({error}).") from error
    return grid_of_pixels(np.asarray(image), where)


def grid_of_pixels(pixels: np.ndarray, where: str) -> Grid:
    """The symbols of colours `[H, W, 3]` from 0 to 255; see `read_picture`.

    The green coloured cell is the start and the red one the goal; of other colours, the first in
    reading order is the start. Coloured areas of several cells, such as a path, are free.

    Raises:
      ValueError: no cells of one size.
    """
    kinds = _kinds(pixels[..., :3].astype(int))
    kinds = _without_margin(kinds)
    side = _side(kinds)
    if side > 1:  # the colour of a cell is that of its middle
        kinds = kinds[side // 2 :: side, side // 2 :: side]
    elif blurred := _blurred(kinds):
        side, kinds = blurred
    symbols = np.where(kinds == 0, "#", ".").astype(object)
    coloured = np.argwhere(kinds > 1)
    hues = {tuple(place): int(kinds[tuple(place)]) for place in coloured}
    alone = [p for p in hues if list(hues.values()).count(hues[p]) == 1]
    if len(alone) == 2:
        first, second = sorted(alone)
        if hues[second] == _GREEN or (hues[first] == _RED and hues[second] != _GREEN):
            first, second = second, first
        symbols[first], symbols[second] = "S", "G"
    size = "a pixel" if side == 1 else f"{side}×{side} pixels"
    return Grid(symbols, where, how=f"a picture, {size} for each cell", pictorial=True)


_RED, _GREEN = 2, 4


def _kinds(pixels: np.ndarray) -> np.ndarray:
    """0 dark, 1 light, 2 to 7 the hues from red on, in sixths of the circle, `[H, W]`."""
    high, low = pixels.max(-1), pixels.min(-1)
    grey = (high + low) // 2 > 127
    colourful = (high - low) > 60
    red, green, blue = (pixels[..., i] for i in range(3))
    hue = np.degrees(np.arctan2(math.sqrt(3) * (green - blue), 2.0 * red - green - blue)) % 360
    sixth = 2 + ((hue + 30) // 60).astype(int) % 6
    return np.where(colourful, sixth, grey.astype(int))


def _without_margin(kinds: np.ndarray) -> np.ndarray:
    """The part within the outer wall, if a light margin is around it."""
    rows, columns = (np.flatnonzero((kinds != 1).any(axis)) for axis in (1, 0))
    if not len(rows):
        return kinds
    inner = kinds[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    return inner if (edge == 0).mean() > 0.6 else kinds


def _blurred(kinds: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Side and kinds of the cells of a scaled or compressed picture: the largest that fit it."""
    height, width = kinds.shape
    for side in range(min(height, width) // 2, 4, -1):
        rows, columns = round(height / side), round(width / side)
        if max(abs(height / rows - side), abs(width / columns - side)) > 0.5:
            continue
        places = [
            (np.arange(size) + 0.5) * count / size
            for size, count in ((height, rows), (width, columns))
        ]
        middles = [
            (np.arange(count) * size + size // 2) // count
            for size, count in ((height, rows), (width, columns))
        ]
        cells = kinds[np.ix_(*middles)]
        same = cells[np.ix_(*(place.astype(int) for place in places))] == kinds
        inner = np.ix_(*(abs(place % 1 - 0.5) < 0.25 for place in places))
        if same.mean() > 0.93 and same[inner].mean() > 0.995:  # only edges of cells may differ
            return side, cells
    return None


def _side(kinds: np.ndarray) -> int:
    """Pixels on a side of each cell: the common divisor of all runs of one colour."""
    height, width = kinds.shape
    rows = np.flatnonzero((kinds[1:] != kinds[:-1]).any(1)) + 1
    columns = np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(0)) + 1
    return math.gcd(height, width, *rows.tolist(), *columns.tolist())
