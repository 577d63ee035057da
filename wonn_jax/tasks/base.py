"""The contract of a task on boards, and what Maze and Sudoku share."""

import abc
import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import optax
from jax import Array

Batch = dict[str, Array]
"""`input` tokens `[B, H, W]`, `target` classes `[B, H, W]`, `valid` booleans `[B, H, W]` (cells
that count), `id` `[B]` number of the example in its split, −1 for a row of padding."""

Counts = dict[str, Array]


def row_weight(batch: Batch) -> Array:
    """1 for examples, 0 for rows of padding, `[B]` float32."""
    return (batch["id"] >= 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task turns logits and a batch into a loss and into counts that can be added up.

    Attributes:
      loss_weights: meaning and default are the task's.
    """

    loss_weights: tuple[float, ...] = ()

    name: ClassVar[str]
    tokens: ClassVar[int]
    classes: ClassVar[tuple[str, ...]]
    inject: ClassVar[str]
    normalise_transition: ClassVar[bool]
    weight_names: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def cell_weight(self, batch: Batch) -> Array:
        """Weight of every cell in the loss `[B, H, W]`, apart from `valid` and padding."""

    @abc.abstractmethod
    def counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch from which `summarise` makes metrics; they add over batches."""

    @abc.abstractmethod
    def summarise(self, counts: dict[str, float]) -> dict[str, float]:
        """Metrics from added-up counts; one division each."""

    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Weighted cross-entropy summed over the cells that count, a scalar."""
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"])
        return jnp.sum(jnp.where(counted(batch), entropy * self.cell_weight(batch), 0.0))

    def loss_count(self, batch: Batch) -> Array:
        """What `loss_sum` is divided by: the number of cells that count, a scalar."""
        return counted(batch).sum().astype(jnp.float32)

    def board_counts(self, logits: Array, batch: Batch) -> Counts:
        """Counts that every task on boards has."""
        right = logits.argmax(-1) == batch["target"]
        cells = counted(batch)
        return {
            "loss": self.loss_sum(logits, batch),
            "boards": row_weight(batch).sum(),
            "exact": ((right | ~cells).all((1, 2)) * row_weight(batch)).sum(),
            "cells": cells.sum(),
            "cells_right": (right & cells).sum(),
        }

    @staticmethod
    def board_metrics(counts: dict[str, float]) -> dict[str, float]:
        return {
            "loss": ratio(counts["loss"], counts["cells"]),
            "accuracy": ratio(counts["exact"], counts["boards"]),
            "cell_accuracy": ratio(counts["cells_right"], counts["cells"]),
        }


def counted(batch: Batch) -> Array:
    """Cells that count `[B, H, W]`: valid ones of examples that are no padding."""
    return batch["valid"] & (batch["id"] >= 0)[:, None, None]


def ratio(part: float, whole: float) -> float:
    """part / whole, and NaN (not an error) where there was nothing to count."""
    return float(part) / float(whole) if whole else float("nan")
