"""How a network is trained: what one update computes, and what the network says afterwards.

The loop knows steps, batches and files; a method knows what an update is. Most networks are
trained by `Supervised`: one batch, one loss, one gradient. A method may hand a carry from one
update to the next, whose rows stand beside those of a batch, are split over devices as these are,
and are saved with the state.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.config import Component, register
from wonn_jax.models import Model, Oscillatory, Output
from wonn_jax.tasks import Batch, Task
from wonn_jax.tasks.base import Counts, row_weight

Loss = tuple[Array, tuple[dict[str, Any], Any, Counts]]


class Prediction(NamedTuple):
    """What a network says of a batch.

    logits: `[B, ..., classes]`.
    values: named numbers of each example `[B]`, such as the energy or the steps it took.
    """

    logits: Array
    values: dict[str, Array]


class StepKeys(NamedTuple):
    """Random keys of one update by the name of the stream.

    seed, step: of the experiment and the update.
    part: number of the micro-batch.
    """

    seed: int
    step: Array
    part: Array | int = 0

    def shared(self, stream: str) -> Array:
        """The same for all micro-batches: for draws that depend on the number of the example."""
        return stream_key(self.seed, stream, self.step)

    def of_part(self, stream: str) -> Array:
        """Another one in each micro-batch: for draws that depend on the row."""
        return jax.random.fold_in(self.shared(stream), self.part)


class Method(Protocol):
    """What the loop asks of a way to train.

    Everything is a pure function of arrays; `loss` and `predict` run inside `shard_map` on a
    device's rows of the batch.
    """

    @property
    def updates_per_batch(self) -> int:
        """Consecutive updates that get the same batch."""
        ...

    def init(self, key: Array, batch: Batch) -> tuple[Any, dict[str, Any]]:
        """Fresh parameters, and the other collections of the network by name ({} for none)."""
        ...

    def init_carry(self, batch: Batch) -> Any:
        """The carry before the first update, rows like those of `batch`; () for none."""
        ...

    def loss_count(self, carry: Any, batch: Batch) -> Array:
        """What the sum of the losses is divided by, added up over the whole batch."""
        ...

    def loss(
        self, params: Any, model_state: dict[str, Any], carry: Any, batch: Batch, keys: StepKeys
    ) -> Loss:
        """The sum of the losses; then the collections, the carry, and counts that add up."""
        ...

    def predict(self, variables: dict[str, Any], batch: Batch, key: Array) -> Prediction:
        """What the network says of a batch, at inference."""
        ...

    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Metrics from the added-up counts of `loss`; 'loss' and 'accuracy' among them."""
        ...

    def labels(self, params: Any) -> Any:
        """For each parameter 'train' or 'freeze'; None to train all."""
        ...


@dataclasses.dataclass(frozen=True)
class MethodConfig(Component):
    """Settings of a method."""

    kind: ClassVar[str] = "method"

    def build(self, model: Any, task: Task) -> Method:
        """The method for a network and a task.

        Raises:
          ValueError: a network that cannot be trained so.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Supervised:
    """One loss on the answers to a batch.

    Randomness: initial phases from the stream 'phases' ('evaluation phases' at inference, by the
    key that `predict` is given), one draw per example; in training, streams of the network:
    'dropout'.
    """

    model: Model | Oscillatory
    task: Task

    @property
    def updates_per_batch(self) -> int:
        return 1

    def init(self, key: Array, batch: Batch) -> tuple[Any, dict[str, Any]]:
        inputs = batch["input"]
        start = []
        if isinstance(self.model, Oscillatory):
            start = [jnp.zeros((len(inputs), *self.model.phase_shape(inputs.shape[1:])))]
        variables = dict(self.model.init(key, inputs, *start))
        return variables.pop("params"), variables

    def init_carry(self, batch: Batch) -> Any:
        return ()

    def loss_count(self, carry: Any, batch: Batch) -> Array:
        return self.task.loss_count(batch)

    def loss(
        self, params: Any, model_state: dict[str, Any], carry: Any, batch: Batch, keys: StepKeys
    ) -> Loss:
        output: Output
        output, updates = self.model.apply(
            {"params": params, **model_state},
            batch["input"],
            *self.start(batch, keys.shared("phases")),
            weight=row_weight(batch),
            train=True,
            mutable=list(model_state),
            rngs={"dropout": keys.of_part("dropout")},
        )
        counts = self.task.training_counts(output.logits, batch)
        return self.task.loss_sum(output.logits, batch), (dict(updates), carry, counts)

    def predict(self, variables: dict[str, Any], batch: Batch, key: Array) -> Prediction:
        if not isinstance(self.model, Oscillatory):
            return Prediction(self.model.apply(variables, batch["input"]).logits, {})
        start = self.start(batch, key)
        output: Any = self.model.apply(variables, batch["input"], *start, energies=True)
        return Prediction(output.logits, {"energy": output.layers[-1].energies[-1]})

    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        return self.task.training_metrics(counts)

    def labels(self, params: Any) -> Any:
        return None

    def start(self, batch: Batch, key: Array) -> list[Array]:
        """Initial phases `[B, …]`, rad, of each example by its number; nothing without them."""
        if not isinstance(self.model, Oscillatory):
            return []
        keys = example_keys(key, batch["id"])
        return [self.model.initial_phases(keys, batch["input"].shape[1:])]


@register("supervised")
@dataclasses.dataclass(frozen=True)
class SupervisedConfig(MethodConfig):
    """Settings of `Supervised`: none."""

    def build(self, model: Any, task: Task) -> Supervised:
        return Supervised(model, task)
