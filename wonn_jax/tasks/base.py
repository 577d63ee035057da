"""The contract of a task: what a batch is, its loss, its metrics."""

import abc
import dataclasses
from typing import ClassVar, Self

import jax.numpy as jnp
from jax import Array, ShapeDtypeStruct

from wonn_jax.config import Config

Batch = dict[str, Array]
"""`input` and `target` of every example, `id` `[B]`, its number in the split, −1 for a row of
padding, and what else a task needs."""

Counts = dict[str, Array]


def row_weight(batch: Batch) -> Array:
    """1 for examples, 0 for rows of padding, `[B]` float32."""
    return (batch["id"] >= 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A task turns logits and a batch into a loss and into counts that can be added up."""

    name: ClassVar[str]
    examples: ClassVar[str]  # what they are called, in the plural
    weight_names: ClassVar[tuple[str, ...]]  # what config.loss_weights weighs

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: Config) -> Self:
        """The task of an experiment."""

    @abc.abstractmethod
    def abstract_batch(self, config: Config, rows: int) -> dict[str, ShapeDtypeStruct]:
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
    def training_metrics(self, counts: dict[str, float]) -> dict[str, float]:
        """Metrics from added-up `training_counts`, 'loss' and 'accuracy' among them."""

    @abc.abstractmethod
    def counts(self, logits: Array, batch: Batch) -> Counts:
        """Sums over the batch from which `summarise` makes metrics; they add over batches."""

    @abc.abstractmethod
    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        """Whether predicted classes are right, `[B]` booleans by the name of the metric."""

    @abc.abstractmethod
    def summarise(self, counts: dict[str, float]) -> dict[str, float]:
        """Metrics from added-up counts; one division each."""


def ratio(part: float, whole: float) -> float:
    """part / whole, and NaN (not an error) where there was nothing to count."""
    return float(part) / float(whole) if whole else float("nan")
