"""Sudoku: fill in the blanks; loss and metrics of the WONN paper (arXiv 2605.20922)."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from wonn_jax.config import register
from wonn_jax.data.sudoku import Sudokus
from wonn_jax.tasks.base import Batch, Counts, ratio
from wonn_jax.tasks.boards import BoardTask, BoardTaskConfig, counted
from wonn_jax.tasks.pictures import SUDOKU_DRAWING, Drawing

GROUPS = ("given", "blank")


@dataclasses.dataclass(frozen=True)
class SudokuTask(BoardTask):
    """`loss_weights`: the weight of given cells and of blank ones."""

    drawing: ClassVar[Drawing] = SUDOKU_DRAWING

    def cell_weight(self, batch: Batch) -> Array:
        given, blank = self.loss_weights
        return jnp.where(batch["input"] > 0, given, blank)

    def counts(self, logits: Array, batch: Batch) -> Counts:
        counts = self.training_counts(logits, batch)
        right, cells = logits.argmax(-1) == batch["target"], counted(batch)
        given = cells & (batch["input"] > 0)
        blank = cells & (batch["input"] == 0)
        for name, group in (("given", given), ("blank", blank)):
            counts[f"{name}_cells"] = group.sum()
            counts[f"{name}_right"] = (group & right).sum()
        return counts

    def summarise(self, counts: Mapping[str, float]) -> dict[str, float]:
        metrics = self.training_metrics(counts)
        for name in GROUPS:
            metrics[f"accuracy_{name}"] = ratio(counts[f"{name}_right"], counts[f"{name}_cells"])
        return metrics


@register("sudoku")
@dataclasses.dataclass(frozen=True)
class SudokuConfig(BoardTaskConfig):
    """Settings of Sudoku; the weights are of given and of blank cells."""

    loss_weights: tuple[float, ...] = (1.0, 1.0)

    tokens: ClassVar[int] = 10
    classes: ClassVar[tuple[str, ...]] = tuple("123456789")
    weight_names: ClassVar[tuple[str, ...]] = GROUPS
    data: ClassVar[type[Sudokus]] = Sudokus
    task: ClassVar[type[SudokuTask]] = SudokuTask
    givens: ClassVar[bool] = True
