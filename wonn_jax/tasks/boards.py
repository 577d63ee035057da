"""What the tasks on boards share: a class for every cell."""

import abc
import dataclasses
from typing import ClassVar, Self

import jax.numpy as jnp
import optax
from jax import Array, ShapeDtypeStruct

from wonn_jax.config import Config
from wonn_jax.tasks.base import Batch, Counts, Task, ratio, row_weight


@dataclasses.dataclass(frozen=True)
class BoardTask(Task):
    """A batch has `input` tokens, `target` classes and `valid` booleans (cells that count), each
    `[B, H, W]`.

    Attributes:
      loss_weights: meaning and default are the task's.
    """

    loss_weights: tuple[float, ...] = ()

    examples: ClassVar[str] = "boards"
    tokens: ClassVar[int]
    classes: ClassVar[tuple[str, ...]]
    inject: ClassVar[str]

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(config.loss_weights) if config.loss_weights else cls()

    def abstract_batch(self, config: Config, rows: int) -> dict[str, ShapeDtypeStruct]:
        board = (rows, config.data.height, config.data.width)
        return {
            "input": ShapeDtypeStruct(board, jnp.int32),
            "target": ShapeDtypeStruct(board, jnp.int32),
            "valid": ShapeDtypeStruct(board, jnp.bool_),
            "id": ShapeDtypeStruct((rows,), jnp.int32),
        }

    @abc.abstractmethod
    def cell_weight(self, batch: Batch) -> Array:
        """Weight of every cell in the loss `[B, H, W]`, apart from `valid` and padding."""

    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Weighted cross-entropy summed over the cells that count, a scalar."""
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"])
        return jnp.sum(jnp.where(counted(batch), entropy * self.cell_weight(batch), 0.0))

    def loss_count(self, batch: Batch) -> Array:
        """What `loss_sum` is divided by: the number of cells that count, a scalar."""
        return counted(batch).sum().astype(jnp.float32)

    def training_counts(self, logits: Array, batch: Batch) -> Counts:
        right = logits.argmax(-1) == batch["target"]
        cells = counted(batch)
        return {
            "loss": self.loss_sum(logits, batch),
            "boards": row_weight(batch).sum(),
            "exact": ((right | ~cells).all((1, 2)) * row_weight(batch)).sum(),
            "cells": cells.sum(),
            "cells_right": (right & cells).sum(),
        }

    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        right = (predicted == batch["target"]) | ~counted(batch)
        return {"accuracy": right.all((1, 2))}

    def training_metrics(self, counts: dict[str, float]) -> dict[str, float]:
        return {
            "loss": ratio(counts["loss"], counts["cells"]),
            "accuracy": ratio(counts["exact"], counts["boards"]),
            "cell_accuracy": ratio(counts["cells_right"], counts["cells"]),
        }


def counted(batch: Batch) -> Array:
    """Cells that count `[B, H, W]`: valid ones of examples that are no padding."""
    return batch["valid"] & (batch["id"] >= 0)[:, None, None]
