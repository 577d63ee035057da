"""Mazes as people draw them: text, tables, lists, arrays and pictures.

Reading has two steps. What holds one symbol for each cell is found first, by the form of the
drawing (`text`, with a file for each of its forms; `arrays`; `pictures`). Then the symbols are
given their meaning, by what stands on the whole board and beside it (`symbols`).
"""

from wonn_jax.tools.puzzles.drawings.arrays import read_array
from wonn_jax.tools.puzzles.drawings.pictures import read_picture
from wonn_jax.tools.puzzles.drawings.symbols import UNMARKED, Marks, Reading, interpret
from wonn_jax.tools.puzzles.drawings.text import read_text

__all__ = [
    "UNMARKED",
    "Marks",
    "Reading",
    "interpret",
    "read_array",
    "read_picture",
    "read_text",
]
