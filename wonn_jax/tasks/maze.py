"""Maze-hard: mark the shortest path from start to goal.

Loss weights and exact match are those of the WONN paper (arXiv 2605.20922). The share of valid
shortest paths is added here, since every maze of the benchmark has several.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.config import register
from wonn_jax.data.maze import Mazes
from wonn_jax.tasks.base import Batch, Counts, ratio, row_weight
from wonn_jax.tasks.boards import BoardTask, BoardTaskConfig, counted
from wonn_jax.tasks.pictures import MAZE_DRAWING, Drawing

WALL, FREE, START, GOAL, PATH = range(5)


CLASSES = ("wall", "free", "start", "goal", "path")


@dataclasses.dataclass(frozen=True)
class MazeTask(BoardTask):
    """`loss_weights`: the weight of each class."""

    drawing: ClassVar[Drawing] = MAZE_DRAWING

    def cell_weight(self, batch: Batch) -> Array:
        return jnp.asarray(self.loss_weights, jnp.float32)[batch["target"]]

    def counts(self, logits: Array, batch: Batch) -> Counts:
        predicted, target, cells = logits.argmax(-1), batch["target"], counted(batch)
        counts = self.training_counts(logits, batch)
        for number, name in enumerate(CLASSES):
            of_class = cells & (target == number)
            counts[f"{name}_cells"] = of_class.sum()
            counts[f"{name}_right"] = (of_class & (predicted == number)).sum()
        marked = cells & (predicted == PATH)
        counts["path_marked"] = marked.sum()
        found = is_shortest_path(marked, batch["input"], batch["valid"])
        counts["valid_paths"] = (found * row_weight(batch)).sum()
        return counts

    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        marked = counted(batch) & (predicted == PATH)
        found = is_shortest_path(marked, batch["input"], batch["valid"])
        return {**super().verdicts(predicted, batch), "valid_path": found}

    def summarise(self, counts: Mapping[str, float]) -> dict[str, float]:
        metrics = self.training_metrics(counts)
        metrics["valid_path"] = ratio(counts["valid_paths"], counts["boards"])
        for name in CLASSES:
            metrics[f"accuracy_{name}"] = ratio(counts[f"{name}_right"], counts[f"{name}_cells"])
        hits = counts["path_right"]
        metrics["path_precision"] = ratio(hits, counts["path_marked"])
        metrics["path_recall"] = metrics["accuracy_path"]
        metrics["path_f1"] = ratio(2 * hits, counts["path_marked"] + counts["path_cells"])
        return metrics


@register("maze")
@dataclasses.dataclass(frozen=True)
class MazeConfig(BoardTaskConfig):
    """Settings of Maze-hard; the weights are of the classes."""

    loss_weights: tuple[float, ...] = (1.0, 5.0, 2.0, 2.0, 5.0)

    tokens: ClassVar[int] = 4
    classes: ClassVar[tuple[str, ...]] = CLASSES
    weight_names: ClassVar[tuple[str, ...]] = CLASSES
    data: ClassVar[type[Mazes]] = Mazes
    task: ClassVar[type[MazeTask]] = MazeTask


def distance(start: Array, goal: Array, open_: Array) -> Array:
    """Length of the shortest path from start to goal through open cells, in moves.

    Args:
      start, goal, open_: booleans `[B, H, W]`.

    Returns:
      `[B]`; −1 if there is no path.
    """
    cells = open_ | start | goal

    def grow(carry):
        moves, reached, result, _ = carry
        wider = reached
        for axis in (1, 2):
            for shift in (1, -1):
                wider = wider | _shifted(reached, axis, shift)
        wider = wider & cells
        arrived = (wider & goal).any((1, 2)) & (result < 0)
        return moves + 1, wider, jnp.where(arrived, moves + 1, result), (wider != reached).any()

    unknown = jnp.where((start & goal).any((1, 2)), 0, -1)
    changed = (start | True).any()
    return jax.lax.while_loop(
        lambda carry: carry[3], grow, (jnp.zeros_like(unknown[0]), start, unknown, changed)
    )[2]


def _shifted(x: Array, axis: int, shift: int) -> Array:
    """`x` shifted by one cell, with False at the edge."""
    edge = jax.lax.slice_in_dim(jnp.zeros_like(x), 0, 1, axis=axis)
    size = x.shape[axis]
    if shift > 0:
        return jnp.concatenate([edge, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
    return jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), edge], axis)


def is_shortest_path(marked: Array, tokens: Array, valid: Array) -> Array:
    """Whether the marked cells, with start and goal, are exactly a shortest path.

    It need not be the labelled path. A shortest path of D moves has D − 1 cells between start and
    goal; so D − 1 marked free cells that connect the two are exactly such a path.

    Args:
      marked: predicted path cells `[B, H, W]`, booleans, without start and goal.
      tokens: input tokens `[B, H, W]`.
      valid: booleans `[B, H, W]`, False for padding, which has the token of a free cell but is not
        part of the maze.

    Returns:
      `[B]` booleans.
    """
    start, goal, free = tokens == START, tokens == GOAL, (tokens == FREE) & valid
    shortest = distance(start, goal, free)
    joined = distance(start, goal, marked & free)
    exact_size = marked.sum((1, 2)) == shortest - 1
    return (shortest > 0) & (joined == shortest) & exact_size & ~(marked & ~free).any((1, 2))
