"""Puzzles as people write them, by the name of their task.

PUZZLES["maze"].read("S..\\n.#.\\n..G\\n", "maze.txt")        # [tokens [3, 3]]
"""

from wonn_jax.tools.puzzles.base import Loaded, Puzzle, Verdict
from wonn_jax.tools.puzzles.maze import MazePuzzle
from wonn_jax.tools.puzzles.sudoku import SudokuPuzzle

PUZZLES: dict[str, Puzzle] = {puzzle.name: puzzle for puzzle in (MazePuzzle(), SudokuPuzzle())}

__all__ = ["PUZZLES", "Loaded", "MazePuzzle", "Puzzle", "SudokuPuzzle", "Verdict"]
