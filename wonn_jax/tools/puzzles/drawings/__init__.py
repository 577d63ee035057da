"""Mazes as people draw them: text, tables, lists, arrays and pictures.

Reading has two steps. What holds one symbol for each cell is found first, by the form of the
drawing (`cells`: frames, separators, cells of several characters; `arrays`; `pictures`). Then the
symbols are given their meaning, by what stands on the whole board (`symbols`).
"""

from wonn_jax.tools.puzzles.drawings.arrays import read_array
from wonn_jax.tools.puzzles.drawings.cells import read_grids
from wonn_jax.tools.puzzles.drawings.grid import Grid
from wonn_jax.tools.puzzles.drawings.pictures import read_picture
from wonn_jax.tools.puzzles.drawings.symbols import UNMARKED, Marks, Reading, interpret

__all__ = [
    "UNMARKED",
    "Grid",
    "Marks",
    "Reading",
    "interpret",
    "read_array",
    "read_grids",
    "read_picture",
]
