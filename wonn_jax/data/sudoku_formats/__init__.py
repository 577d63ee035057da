"""Sudokus as people have them: from files of any usual form to digits `[N, 9, 9]`.

part = layouts.parts_of("sudoku-extreme", "test")[0][0]
found = read_part(part)             # a Collection: inputs, labels, and how messages name a Sudoku
"""

from wonn_jax.data.sudoku_formats.collection import Collection
from wonn_jax.data.sudoku_formats.files import read_part, read_text

__all__ = ["Collection", "read_part", "read_text"]
