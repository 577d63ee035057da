"""The contract of a task: what a batch is, its loss, its metrics, how its examples are drawn."""

import abc
import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array, ShapeDtypeStruct

from wonn_jax.config import Component
from wonn_jax.data.base import Augmentation, DataSet

Batch = dict[str, Array]
"""`input` and `target` of every example; `id` `[B]`, its index in the split, −1 for padding; and
further arrays that a task needs."""

Counts = dict[str, Array]
"""Sums over the examples of a batch, by name."""


def row_weight(batch: Batch) -> Array:
    """1 for examples, 0 for rows of padding, `[B]` float32."""
    return (batch["id"] >= 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """Computes from logits and a batch the loss, and counts that add up over batches.

    Attributes:
      examples: what an example looks like.
    """

    examples: Any

    noun: ClassVar[str]  # what examples are called, in the plural
    draws_inputs: ClassVar[bool] = False  # whether `save_inputs` draws anything

    @abc.abstractmethod
    def abstract_batch(self, rows: int) -> dict[str, ShapeDtypeStruct]:
        """Shapes and dtypes of a batch as it comes from the data."""

    def prepare(self, batch: Batch, key: Array | None = None) -> Batch:
        """The batch as model and loss take it.

        It sees the global batch. In training, random changes use `key`; without a key, as in
        evaluation, nothing is random.
        """
        return batch

    @abc.abstractmethod
    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Loss summed over the batch, a scalar."""

    @abc.abstractmethod
    def loss_count(self, batch: Batch) -> Array:
        """The divisor of `loss_sum`, a scalar."""

    @abc.abstractmethod
    def training_counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch, cheap enough for every training step."""

    @abc.abstractmethod
    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Metrics from the total of `training_counts`, including 'loss' and 'accuracy'."""

    @abc.abstractmethod
    def counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch, from which `summarise` computes metrics."""

    @abc.abstractmethod
    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        """Whether the predicted classes are right: booleans `[B]` by the name of the metric."""

    @abc.abstractmethod
    def summarise(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Metrics from the total of `counts`, one division each."""

    def metric_names(self) -> list[str]:
        """Names of the metrics of `summarise`."""
        return list(self.summarise(collections.defaultdict(float)))

    @abc.abstractmethod
    def save_predictions(
        self,
        path: epath.Path,
        batch: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        """Draws examples and predictions as PNG.

        Args:
          path: PNG to write.
          batch: `n` examples, as they come from the data.
          predictions: predicted classes, shaped like the targets, by name of the weights.
          title: of the picture.
          class_names: names of the classes, if the data has any.
        """

    def save_inputs(  # noqa: B027, most tasks draw nothing, see `draws_inputs`
        self,
        path: epath.Path,
        batch: Mapping[str, Array],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        """Draws a prepared training batch as PNG, to show what augmentation does."""


@dataclasses.dataclass(frozen=True)
class TaskConfig(Component):
    """Settings of a task."""

    kind: ClassVar[str] = "task"

    def build(self, data: DataSet, augment: Augmentation) -> Task:
        """The task on this data set.

        Raises:
          ValueError: data or augmentation for another kind of task.
        """
        raise NotImplementedError

    def expect(self, field: str, found: Component, kind: type) -> Any:
        """`found`, if it is an instance of `kind`; raises a ValueError otherwise."""
        if not isinstance(found, kind):
            raise ValueError(
                f"config.{field}.name={found.name!r} does not go with config.task.name="
                f"{self.name!r}; a card picks components that fit each other."
            )
        return found


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN if `whole` is 0."""
    return float(part) / float(whole) if whole else float("nan")
