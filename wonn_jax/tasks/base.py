"""The contract of a task: what a batch is, its loss, its metrics, how its examples are drawn."""

import abc
import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct

from wonn_jax.config import Component
from wonn_jax.data.base import Augmentation, DataSet

Batch = dict[str, Array]
"""`input` and `target` of every example, `id` `[B]`, its number in the split, −1 for a row of
padding, and what else a task needs."""

Counts = dict[str, Array]


def row_weight(batch: Batch) -> Array:
    """1 for examples, 0 for rows of padding, `[B]` float32."""
    return (batch["id"] >= 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """Turns logits and a batch into a loss, and into counts that can be added up.

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
        """The batch as model and loss take it; random changes of training draw from `key`.

        Sees the global batch. Without a key, as in evaluation, nothing is drawn.
        """
        return batch

    @abc.abstractmethod
    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Loss summed over the batch, a scalar."""

    @abc.abstractmethod
    def loss_count(self, batch: Batch) -> Array:
        """What `loss_sum` is divided by, a scalar."""

    @abc.abstractmethod
    def training_counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch that are worth computing at every step; they add over batches."""

    @abc.abstractmethod
    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Metrics from added-up `training_counts`, 'loss' and 'accuracy' among them."""

    @abc.abstractmethod
    def counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch from which `summarise` makes metrics; they add over batches."""

    @abc.abstractmethod
    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        """Whether predicted classes are right, `[B]` booleans by the name of the metric."""

    @abc.abstractmethod
    def summarise(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Metrics from added-up counts; one division each."""

    def metric_names(self) -> list[str]:
        """Names of the metrics that `summarise` gives."""
        return list(self.summarise(collections.defaultdict(float)))

    @abc.abstractmethod
    def save_predictions(
        self,
        path: Path,
        batch: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        """Draws examples and what is predicted for them as PNG.

        Args:
          path: PNG to write.
          batch: `n` examples, as the data gives them.
          predictions: predicted classes by name of the weights, the shape of the targets.
          title: of the picture.
          class_names: names of the classes, where the data has some.
        """

    def save_inputs(  # noqa: B027, most tasks have nothing to draw, see `draws_inputs`
        self, path: Path, batch: Mapping[str, Array], title: str, class_names: Sequence[str] = ()
    ) -> None:
        """Draws a prepared training batch as PNG, where augmentation is worth looking at."""


@dataclasses.dataclass(frozen=True)
class TaskConfig(Component):
    """Settings of a task."""

    kind: ClassVar[str] = "task"

    def build(self, data: DataSet, augment: Augmentation) -> Task:
        """The task on these data.

        Raises:
          ValueError: data or augmentation of another kind of task.
        """
        raise NotImplementedError

    def expect(self, field: str, found: Component, kind: type) -> Any:
        """`found`, if it is of `kind`; else raises a ValueError."""
        if not isinstance(found, kind):
            raise ValueError(
                f"config.{field}.name={found.name!r} does not go with config.task.name="
                f"{self.name!r}; a card picks components that fit each other."
            )
        return found


def ratio(part: float, whole: float) -> float:
    """part / whole, and NaN (not an error) where there was nothing to count."""
    return float(part) / float(whole) if whole else float("nan")
