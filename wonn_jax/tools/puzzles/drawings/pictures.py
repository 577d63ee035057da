"""Mazes as pictures: one pixel for each cell, or one block of pixels."""

import math
import re
from collections import Counter

import numpy as np

from wonn_jax.data.decoding import decode
from wonn_jax.tools.puzzles.drawings.grid import Grid
from wonn_jax.tools.puzzles.drawings.raster import Axis, axes_of, shares

MAX_PIXELS = 64_000_000
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
"""Sixths of the circle of colours."""


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
    reading order is the start. The symbols of other cells are names of colours, or those of walls
    and free cells where walls are lines between cells.
    """
    kinds = _without_margin(_kinds(pixels[..., :3].astype(int)))
    found = axes_of(kinds)
    if found is None:
        return _grid(kinds, where, "a pixel for each cell")
    rows, columns = found
    cells = _inner(kinds, rows, columns)
    size = f"{rows.size:.3g}×{columns.size:.3g} pixels for each cell"
    if not rows.line:
        return _grid(cells, where, size)
    if (walls := _walls(kinds, cells, rows, columns, where)) is None:
        return _grid(cells, where, f"{size}, lines between cells left out")
    return _grid(walls, where, f"{size}, walls are lines between cells", thin=True)


_DARK, _LIGHT, _RED, _GREEN, _LINE, _OPEN = 0, 1, 2, 4, 8, 9
_NAMES = ("dark", "light", *HUES, "#", ".")


def _grid(kinds: np.ndarray, where: str, how: str, thin: bool = False) -> Grid:
    symbols = np.array(_NAMES, object)[kinds]
    hues = Counter(kinds[(kinds > _LIGHT) & (kinds < _LINE)].tolist())
    alone = [tuple(x) for x in np.argwhere(np.isin(kinds, [k for k, n in hues.items() if n == 1]))]
    if len(alone) == 2:
        first, second = alone
        if kinds[second] == _GREEN or (kinds[first] == _RED and kinds[second] != _GREEN):
            first, second = second, first
        symbols[first], symbols[second] = "S", "G"
    return Grid(symbols, where, how=f"a picture, {how}", pictorial=True, thin=thin)


def _kinds(pixels: np.ndarray) -> np.ndarray:
    """0 dark, 1 light, 2 to 7 the hues from red on, in sixths of the circle, `[H, W]`."""
    high, low = pixels.max(-1), pixels.min(-1)
    level = (high + low) // 2
    colourful = (high - low) > 80
    light = level > _threshold(level[~colourful])
    red, green, blue = (pixels[..., i] for i in range(3))
    hue = np.degrees(np.arctan2(math.sqrt(3) * (green - blue), 2.0 * red - green - blue)) % 360
    sixth = 2 + ((hue + 30) // 60).astype(int) % 6
    return np.where(colourful, sixth, light.astype(int))


def _threshold(levels: np.ndarray) -> float:
    """Between dark and light greys, by Otsu's method; the middle if all are much the same."""
    count = np.bincount(levels.ravel(), minlength=256).astype(float)
    if not levels.size:
        return 127.0
    below, value = count.cumsum(), (count * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (value / below - (value[-1] - value) / above) ** 2
    if np.isnan(apart).all():
        return 127.0
    best = int(np.flatnonzero(apart == np.nanmax(apart)).mean())
    dark, light = levels[levels <= best], levels[levels > best]
    return float(best) if light.mean() - dark.mean() > 80 else 127.0


def _without_margin(kinds: np.ndarray) -> np.ndarray:
    """The part within a dark outer wall with two openings at most, if all around it is light."""
    dark = kinds == _DARK
    rows, columns = (np.flatnonzero(dark.any(axis)) for axis in (1, 0))
    if not len(rows):
        return kinds
    box = dark[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    full = [np.flatnonzero(box.mean(axis) > 0.5) for axis in (1, 0)]
    if not (len(full[0]) and len(full[1])):
        return kinds
    (top, bottom), (left, right) = ((x[0], x[-1] + 1) for x in full)
    inside = (
        slice(rows[0] + top, rows[0] + bottom),
        slice(columns[0] + left, columns[0] + right),
    )
    around = np.ones(kinds.shape, bool)
    around[inside] = False
    inner = kinds[inside]
    edge = [inner[0], inner[:, -1], inner[-1], inner[:, 0]]
    gaps = sum(len(re.findall("0{2,}", "".join("01"[int(k == _DARK)] for k in x))) for x in edge)
    if (
        around.any()
        and gaps <= 2
        and (kinds[around] == _LIGHT).mean() > 0.99
        and (inner != _DARK).any()
    ):
        return inner
    return kinds


def _inner(kinds: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """The kind of the middle of each cell: a colour that is on much of it, else the usual one."""
    share = shares(kinds, _LINE, rows.middles, columns.middles)
    share[2:] *= np.where(share[2:] > 0.25, 4, 1)
    return share.argmax(0)


def _walls(
    kinds: np.ndarray, cells: np.ndarray, rows: Axis, columns: Axis, where: str
) -> np.ndarray | None:
    """Cells and the lines between them `[2n + 1, 2m + 1]`; None if the lines are whole.

    The walls are of the other kind than most cells. A line through the whole picture, or none,
    would part the maze or join all.

    Raises:
      ValueError: only a few lines have gaps, or some are broken; in scaled pictures, one is whole
        or missing, as if it had been lost.
    """
    segments = [
        _segments(axis, size) for axis, size in zip((rows, columns), kinds.shape, strict=True)
    ]
    usual = np.bincount(cells.ravel()).argmax()
    between = shares(kinds, _LINE, *segments)
    amount = between[:, 2:-1:2, 1::2].sum((1, 2)) + between[:, 1::2, 2:-1:2].sum((1, 2))
    amount[usual] = -1
    wall = amount.argmax()
    mask = kinds == wall
    sharpness = min(rows.sharpness, columns.sharpness)
    mask = mask if sharpness == 1 else _widened(mask)
    drawn_share = shares(mask.astype(int), 2, *segments)[1]
    drawn = drawn_share >= 0.5
    free = cells != wall
    lines = [
        line[open_].mean()
        for drawn_, free_ in ((drawn, free), (drawn.T, free.T))
        for line, open_ in zip(drawn_[2:-1:2, 1::2], free_[1:] & free_[:-1], strict=True)
        if open_.any()
    ]
    broken = np.mean([0.03 < share < 0.97 for share in lines]) if lines else 0.0
    if not broken:
        return None
    sides = np.concatenate([drawn_share[::2, 1::2].ravel(), drawn_share[1::2, ::2].ravel()])
    scaled = sharpness < 0.9 or rows.size % 1 or columns.size % 1
    if broken < (1 if scaled else 0.3) or ((sides > 0.2) & (sides < 0.8)).any():
        raise ValueError(
            f"{where}: it is not clear which lines between its cells are walls: some are broken or "
            "faint. Save the picture larger, without compression (PNG)."
        )
    board = np.where(drawn, _LINE, _OPEN)
    board[1::2, 1::2] = np.select([cells == usual, cells == wall], [_OPEN, _LINE], cells)
    board[::2, ::2] = _LINE
    for axis in (0, 1):  # an outer wall that is not in the picture
        for end in (0, -1):
            if segments[axis][0, end] == segments[axis][1, end]:
                np.moveaxis(board, axis, 0)[end] = _LINE
    return board


def _segments(axis: Axis, length: int) -> np.ndarray:
    """First pixels, and those after the last, of lines and cells by turns `[2, 2n + 1]`."""
    found = np.empty((2, 2 * len(axis.starts) + 1), int)
    found[0, ::2] = np.append(axis.starts - axis.line, axis.ends[-1])
    found[1, ::2] = np.append(axis.starts, axis.ends[-1] + axis.line)
    found[:, 1::2] = axis.middles
    return found.clip(0, length)


def _widened(mask: np.ndarray) -> np.ndarray:
    """A mask `[H, W]` with the pixels beside those in it."""
    padded = np.pad(mask, 1)
    upright = padded[:-2] | padded[1:-1] | padded[2:]
    return upright[:, :-2] | upright[:, 1:-1] | upright[:, 2:]
