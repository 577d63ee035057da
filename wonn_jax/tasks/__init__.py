"""Tasks: what a batch is, its loss, its metrics, and how its examples are drawn."""

from wonn_jax.tasks.base import Batch, Task, TaskConfig
from wonn_jax.tasks.boards import BoardTask
from wonn_jax.tasks.image import ImageConfig, ImageTask
from wonn_jax.tasks.maze import MazeConfig, MazeTask
from wonn_jax.tasks.sudoku import SudokuConfig, SudokuTask

__all__ = [
    "Batch",
    "BoardTask",
    "ImageConfig",
    "ImageTask",
    "MazeConfig",
    "MazeTask",
    "SudokuConfig",
    "SudokuTask",
    "Task",
    "TaskConfig",
]
