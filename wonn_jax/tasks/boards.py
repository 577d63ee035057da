"""What the tasks on boards have in common: a class for every cell."""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from jax import Array, ShapeDtypeStruct

from wonn_jax.common.examples import Boards
from wonn_jax.data.augment import NoAugmentation
from wonn_jax.data.base import Augmentation, BoardData, DataSet
from wonn_jax.tasks import pictures
from wonn_jax.tasks.base import Batch, Counts, Task, TaskConfig, ratio, row_weight


@dataclasses.dataclass(frozen=True)
class BoardTask(Task):
    """A batch has `input` tokens, `target` classes and `valid` booleans (cells that count), each
    `[B, H, W]`.

    Attributes:
      examples: size of the boards, tokens and classes.
      loss_weights: of classes or groups of cells, depending on the task.
    """

    examples: Boards
    loss_weights: tuple[float, ...]

    noun: ClassVar[str] = "boards"
    drawing: ClassVar[pictures.Drawing]

    def abstract_batch(self, rows: int) -> dict[str, ShapeDtypeStruct]:
        board = (rows, self.examples.height, self.examples.width)
        return {
            "input": ShapeDtypeStruct(board, jnp.int32),
            "target": ShapeDtypeStruct(board, jnp.int32),
            "valid": ShapeDtypeStruct(board, jnp.bool_),
            "id": ShapeDtypeStruct((rows,), jnp.int32),
        }

    @abc.abstractmethod
    def cell_weight(self, batch: Batch) -> Array:
        """Weight of every cell in the loss `[B, H, W]`, before `valid` and padding are applied."""

    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Weighted cross-entropy summed over the cells that count, a scalar."""
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["target"])
        return jnp.sum(jnp.where(counted(batch), entropy * self.cell_weight(batch), 0.0))

    def loss_count(self, batch: Batch) -> Array:
        """The divisor of `loss_sum`: the number of cells that count, a scalar."""
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

    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        return {
            "loss": ratio(counts["loss"], counts["cells"]),
            "accuracy": ratio(counts["exact"], counts["boards"]),
            "cell_accuracy": ratio(counts["cells_right"], counts["cells"]),
        }

    def save_predictions(
        self,
        path: epath.Path,
        batch: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        pictures.save_boards(
            path, self.drawing, batch["input"], batch["target"], predictions, title
        )


@dataclasses.dataclass(frozen=True)
class BoardTaskConfig(TaskConfig):
    """Settings of a task on boards."""

    loss_weights: tuple[float, ...] = ()

    tokens: ClassVar[int]
    classes: ClassVar[tuple[str, ...]]
    weight_names: ClassVar[tuple[str, ...]]
    data: ClassVar[type[BoardData]]
    task: ClassVar[type[BoardTask]]
    givens: ClassVar[bool] = False

    def check(self) -> None:
        weights = self.loss_weights
        if len(weights) != len(self.weight_names):
            raise ValueError(
                f"config.task.loss_weights={weights} has {len(weights)} weights; {self.name} takes "
                f"{len(self.weight_names)}, of {', '.join(self.weight_names)}."
            )
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise ValueError(f"config.task.loss_weights={weights} must not be negative.")

    def build(self, data: DataSet, augment: Augmentation) -> BoardTask:
        height, width = self.expect("data", data, self.data).shape
        self.expect("augment", augment, NoAugmentation)
        examples = Boards(height, width, self.tokens, len(self.classes), self.givens)
        return self.task(examples, self.loss_weights)


def counted(batch: Batch) -> Array:
    """Cells that count, booleans `[B, H, W]`: the valid ones of all rows but padding."""
    return batch["valid"] & (batch["id"] >= 0)[:, None, None]
