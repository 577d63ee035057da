"""Mazes in NumPy files."""

import io

import numpy as np

from wonn_jax.tasks.maze import GOAL
from wonn_jax.tools.puzzles.drawings.grid import Grid, outermost
from wonn_jax.tools.puzzles.drawings.lists import grids_of
from wonn_jax.tools.puzzles.drawings.pictures import grid_of_pixels

HRM = " #.SG."
"""Symbols of the tokens 1 to 4 of published Maze-hard files; 5 is the path in the labels."""


def read_array(data: bytes, where: str) -> list[Grid]:
    """The mazes of an .npy file.

    Args:
      data: of the file. Integers or booleans `[H, W]` or `[N, H, W]`, 0 and 1 with 2 and 3 for
        start and goal; colours `[H, W, 3 or 4]` or `[N, H, W, 3 or 4]` from 0 to 255; the
        published layout `[N, H·H]` with 1 wall, 2 free, 3 start, 4 goal; or strings `[H]`.
      where: name of the file, for messages.

    Raises:
      ValueError: not such an array.
    """
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"{where} is not an array of NumPy that can be read ({error}).") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{where} is an archive of arrays; save one array with numpy.save.")
    if array.ndim == 4 and array.shape[-1] in (3, 4) and array.dtype.kind in "iu":
        return [
            grid_of_pixels(pixels.astype(np.uint8), f"{where}, maze {number}")
            for number, pixels in enumerate(array, 1)
        ]
    if array.ndim == 1 and array.dtype.kind in "US":
        return grids_of(array.astype(str).tolist(), where)
    if (
        array.dtype.kind in "iub"
        and array.ndim == 3
        and array.shape[-1] in (3, 4)
        and array.max(initial=0) > GOAL
    ):
        return [grid_of_pixels(array.astype(np.uint8), where)]
    if array.dtype.kind not in "iubfU" or array.ndim not in (2, 3) or not array.size:
        raise ValueError(
            f"{where} is an array of {array.dtype} of shape {array.shape}; mazes are integers "
            "[H, W] or [N, H, W], or colours [H, W, 3]."
        )
    side = int(array.shape[-1] ** 0.5)
    flat = array.ndim == 2 and array.dtype.kind in "iu" and array.min() >= 1 and array.max() <= 5
    if flat and side * side == array.shape[-1] and (array.shape[0] != array.shape[-1] or side > 5):
        array = array.reshape(-1, side, side)
    boards = array if array.ndim == 3 else array[None]
    grids = []
    for number, board in enumerate(boards, 1):
        name = f"{where}, maze {number}" if len(boards) > 1 else where
        grids.append(_grid(board, name))
    return grids


def _grid(board: np.ndarray, where: str) -> Grid:
    """The symbols of an array `[H, W]`."""
    if board.dtype.kind == "U":
        return Grid(board.astype(object), where, how="an array of characters")
    values = set(np.unique(board).tolist())
    if values <= {0, 255} and 255 in values:
        edge = board[outermost(board.shape)]
        if (edge == 255).sum() >= edge.size - 2 and (board == 0).any():
            symbols = np.where(board == 255, "#", ".").astype(object)
            return Grid(symbols, where, how="255 wall, 0 free, by the outer wall")
        symbols = np.where(board == 255, ".", "#").astype(object)
        return Grid(symbols, where, how="0 black, 255 white")
    if not all(float(value).is_integer() for value in values):
        raise ValueError(f"{where} holds {next(v for v in values if v % 1)}; cells are integers.")
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
