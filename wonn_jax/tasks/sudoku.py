"""Sudoku: fill in the blanks; loss and metrics of the WONN paper (arXiv 2605.20922)."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from wonn_jax.tasks.base import Batch, Counts, ratio
from wonn_jax.tasks.boards import BoardTask, counted


@dataclasses.dataclass(frozen=True)
class SudokuTask(BoardTask):
    """`loss_weights`: the weight of given cells and of blank ones."""

    loss_weights: tuple[float, ...] = (1.0, 1.0)

    name: ClassVar[str] = "sudoku"
    tokens: ClassVar[int] = 10
    classes: ClassVar[tuple[str, ...]] = tuple("123456789")
    inject: ClassVar[str] = "given"
    weight_names: ClassVar[tuple[str, ...]] = ("given", "blank")

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

    def summarise(self, counts: dict[str, float]) -> dict[str, float]:
        metrics = self.training_metrics(counts)
        for name in self.weight_names:
            metrics[f"accuracy_{name}"] = ratio(counts[f"{name}_right"], counts[f"{name}_cells"])
        return metrics
