"""Mazes in NumPy files."""

import io
import zipfile

import numpy as np

from wonn_jax.tasks.maze import GOAL
from wonn_jax.tools.puzzles.drawings.ends import end_named, shared
from wonn_jax.tools.puzzles.drawings.grid import Grid, outermost
from wonn_jax.tools.puzzles.drawings.lists import grids_of, names_a_maze
from wonn_jax.tools.puzzles.drawings.pictures import grid_of_pixels

HRM = " #.SG."
"""Symbols of the tokens 1 to 4 of published Maze-hard files; 5 is the path in the labels."""


def read_array(data: bytes, where: str) -> list[Grid]:
    """The mazes of an .npy or .npz file.

    Args:
      data: of the file. Integers, booleans or whole floating-point numbers `[H, W]` or
        `[N, H, W]`, 0 and 1 with 2 and 3 for start and goal; colours `[H, W, 3 or 4]`, channels
        last or first, one or N, from 0 to 255 or from 0 to 1; one-hot planes of wall, free,
        start and goal; the published layout `[N, H·H]` with 1 wall, 2 free, 3 start, 4 goal; or
        strings `[H]`. In an archive, arrays such as `start` and `goal` may give rows and columns.
      where: name of the file, for messages.

    Raises:
      ValueError: not such an array.
    """
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        found = loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where} is not an array of NumPy that can be read ({error}).") from error
    return _archive(found, where) if isinstance(found, dict) else _grids(found, where)


def _archive(arrays: dict[str, np.ndarray], where: str) -> list[Grid]:
    """The mazes of the array of an archive that holds them, and their ends."""
    ends = {name: end for name in arrays if (end := end_named(name)) and arrays[name].ndim}
    boards = {name: array for name, array in arrays.items() if name not in ends and array.ndim > 1}
    named = [name for name in boards if names_a_maze(name)] if len(boards) > 1 else list(boards)
    if "connection_list" in boards and boards["connection_list"].shape[:-2] == (2,):
        joined = _joined(boards["connection_list"].astype(bool))
        grids = [Grid(joined, where, how="cells joined to those below and right", thin=True)]
    elif len(named) == 1:
        grids = _grids(boards[named[0]], where)
    else:
        raise ValueError(
            f"{where} is an archive of the arrays {', '.join(arrays)}; save the one with the maze "
            "alone with numpy.save, or call it maze."
        )
    places = {
        end: [(int(row), int(column)) for row, column in arrays[name].reshape(-1, 2)]
        for name, end in ends.items()
        if arrays[name].size % 2 == 0
    }
    for grid, own in zip(grids, shared(places, len(grids), where), strict=True):
        grid.ends = own
    return grids


def _joined(connected: np.ndarray) -> np.ndarray:
    """The symbols of cells joined to those below `[0]` and to the right `[1]`, `[2, H, W]`."""
    _, height, width = connected.shape
    symbols = np.full((2 * height + 1, 2 * width + 1), "#", object)
    symbols[1::2, 1::2] = "."
    symbols[2::2, 1::2][connected[0]] = "."
    symbols[1::2, 2::2][connected[1]] = "."
    return symbols


def _grids(array: np.ndarray, where: str) -> list[Grid]:
    if array.dtype.kind in "US":
        rows = array.astype(str).tolist()
        return grids_of(rows, where)
    array = _integers(array, where)
    if array.ndim == 2:
        return _boards(_published(array), where)
    layouts = []  # the axis of channels is the shorter one, if there is one
    for axis in sorted((-3, -1), key=lambda axis: array.shape[axis]):
        last = np.moveaxis(array, axis, -1)
        layouts.append((last.reshape(-1, *last.shape[-3:]), axis == -3))
    if layouts[0][0].shape[-1] == 1:
        return _boards(layouts[0][0][..., 0], where)
    for boards, _ in layouts:
        planes = [_of_planes(board, name) for board, name in _named(boards, where)]
        if len(found := [grid for grid in planes if grid]) == len(boards):
            return found
    for boards, first in layouts:
        if boards.shape[-1] in (3, 4) and _coloured(boards, first):
            scaled = ((255 if boards.max() <= 1 else 1) * boards).astype(np.uint8)
            return [grid_of_pixels(pixels, name) for pixels, name in _named(scaled, where)]
    if array.ndim == 4:
        raise ValueError(
            f"{where} is an array of shape {array.shape}, in which no axis holds colours, or "
            "planes of which two mark one cell each; mazes are integers [H, W] or [N, H, W], "
            "colours [H, W, 3] or planes [4, H, W]."
        )
    return _boards(array, where)


def _integers(array: np.ndarray, where: str) -> np.ndarray:
    """Booleans and whole numbers as integers, and colours from 0 to 1 as such from 0 to 255."""
    if array.dtype.kind not in "iubf" or array.ndim not in (2, 3, 4) or not array.size:
        raise ValueError(
            f"{where} is an array of {array.dtype} of shape {array.shape}; mazes are integers "
            "[H, W] or [N, H, W], or colours [H, W, 3]."
        )
    if array.dtype.kind == "f" and not (whole := array == np.rint(array)).all():
        if array.ndim == 2 or not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"{where} holds {array[~whole][0]}; cells are integers.")
        array = np.rint(255 * array)
    return array.astype(np.int64)


def _published(array: np.ndarray) -> np.ndarray:
    """The boards `[N, H, H]` of the published layout; one `[1, H, W]` for another array."""
    side = int(array.shape[-1] ** 0.5)
    flat = side * side == array.shape[-1] and array.min() >= 1 and array.max() <= 5
    square = array.shape[0] == array.shape[-1] and side <= 5
    return array.reshape(-1, side, side) if flat and not square else array[None]


def _named(boards: np.ndarray, where: str) -> list[tuple[np.ndarray, str]]:
    several = len(boards) > 1
    return [(x, f"{where}, maze {i}" if several else where) for i, x in enumerate(boards, 1)]


def _boards(boards: np.ndarray, where: str) -> list[Grid]:
    return [_grid(board, name) for board, name in _named(boards, where)]


def _coloured(pixels: np.ndarray, first: bool) -> bool:
    """Whether the last axis of `[N, H, W, 3 or 4]` is colours, rather than planes or mazes.

    Numbers to 1, and channels that come first, must be those of grey cells and a few colours.
    """
    if pixels.max() > GOAL and not first and min(pixels.shape[1:3]) > 4:
        return True
    if GOAL >= pixels.max() > 1:
        return False
    colours = pixels[..., :3].reshape(-1, 3)
    grey = (colours == colours[:, :1]).all(-1)
    others = len(np.unique(colours[~grey], axis=0))
    return bool((colours[grey] == pixels.max()).any() and 1 <= others <= 3)


def _of_planes(planes: np.ndarray, where: str) -> Grid | None:
    """The symbols of planes `[H, W, C]`: two mark start and goal, one or two walls and free cells.

    None for another array.
    """
    if planes.min() < 0 or planes.max() > 1:
        return None
    count = planes.sum((0, 1))
    start_goal, others = np.flatnonzero(count == 1), np.flatnonzero(count > 1)
    if len(start_goal) != 2 or len(others) not in (1, 2):
        return None
    first = planes[..., others[0]] == 1
    marked = (planes[..., start_goal] == 1).any(-1)
    if len(others) == 2 and ((first == (planes[..., others[1]] == 1)) & ~marked).any():
        return None
    free = first[marked].all()
    symbols = np.where(first ^ free, "1", "0").astype(object)
    for plane, letter in zip(start_goal, "SG", strict=True):
        symbols[planes[..., plane] == 1] = letter
    how = f"plane {others[0]} {'free' if free else 'walls'}, then start, then goal, from 0"
    return Grid(symbols, where, how=how)


def _grid(board: np.ndarray, where: str) -> Grid:
    """The symbols of an array `[H, W]`."""
    values = set(np.unique(board).tolist())
    if values <= {0, 255} and 255 in values:
        edge = board[outermost(board.shape)]
        if (edge == 255).sum() >= edge.size - 2 and (board == 0).any():
            symbols = np.where(board == 255, "#", ".").astype(object)
            return Grid(symbols, where, how="255 wall, 0 free, by the outer wall")
        symbols = np.where(board == 255, ".", "#").astype(object)
        return Grid(symbols, where, how="0 black, 255 white")
    if values <= {1, 2, 3, 4, 5} and {3, 4} <= values:
        return Grid(np.array(list(HRM), object)[board.astype(int)], where, how="tokens 1 to 4")
    if values <= {0, 1, 2, 3} and {2, 3} <= values:
        return _from_tokens(board.astype(int), where)
    symbols = np.vectorize(lambda value: str(int(value)), otypes=[object])(board)
    return Grid(symbols, where, how="an array of numbers")


def _from_tokens(board: np.ndarray, where: str) -> Grid:
    """0, 1, 2 start, 3 goal: which of 0 and 1 is the wall is told by the outermost cells."""
    around = set(board[outermost(board.shape) & (board < 2)].tolist())
    if around == {0} and (board[1:-1, 1:-1] == 1).any():
        symbols = np.array(list("#.SG"), object)[board]
        return Grid(symbols, where, how="0 wall, 1 free, 2 start, 3 goal, by the outer wall")
    return Grid(np.array(list("01SG"), object)[board], where, how="0, 1, 2 start, 3 goal")
