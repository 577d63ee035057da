"""Tasks: what a batch is, its loss and its metrics."""

from wonn_jax.tasks.base import Batch, Task
from wonn_jax.tasks.maze import MazeTask
from wonn_jax.tasks.sudoku import SudokuTask

TASKS: dict[str, type[Task]] = {"maze": MazeTask, "sudoku": SudokuTask}

__all__ = ["TASKS", "Batch", "MazeTask", "SudokuTask", "Task"]
