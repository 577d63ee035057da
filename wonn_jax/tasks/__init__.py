"""Tasks: what a batch is, its loss and its metrics."""

from wonn_jax.tasks.base import Batch, Task
from wonn_jax.tasks.boards import BoardTask
from wonn_jax.tasks.image import ImageTask
from wonn_jax.tasks.maze import MazeTask
from wonn_jax.tasks.sudoku import SudokuTask

TASKS: dict[str, type[Task]] = {"maze": MazeTask, "sudoku": SudokuTask, "image": ImageTask}

__all__ = ["TASKS", "Batch", "BoardTask", "ImageTask", "MazeTask", "SudokuTask", "Task"]
