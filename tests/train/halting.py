"""A second method with its network and card: segments of a network that says when it is done.

One update is one segment: the network reads the board and its own state, and gives an answer and
whether to halt. The carry has, for each row, the state and the example it works on; a row that has
halted takes the example of the batch in its place. Every batch is there for two updates.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import Array

from wonn_jax.common.checks import at_least
from wonn_jax.common.examples import Examples
from wonn_jax.common.rng import example_keys
from wonn_jax.config import register
from wonn_jax.data import Mazes
from wonn_jax.evaluators import PLAIN
from wonn_jax.models.base import ModelConfig
from wonn_jax.parallel.placement import ALONE, Placement
from wonn_jax.tasks import Batch, MazeConfig, Task
from wonn_jax.tasks.base import ratio, row_weight
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.checkpoint import CheckpointConfig
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.methods import Loss, MethodConfig, Prediction, StepKeys
from wonn_jax.train.metrics import LogConfig
from wonn_jax.train.optim import Adam


class Recurrent(nn.Module):
    """One segment: tokens `[B, H, W]`, state `[B, H, W, C]` → logits, state, halt `[B]`."""

    tokens: int
    classes: int
    width: int

    @nn.compact
    def __call__(self, tokens: Array, state: Array) -> tuple[Array, Array, Array]:
        x = nn.Embed(self.tokens, self.width, name="tokens")(tokens) + state
        for i in range(2):
            x = x + nn.relu(nn.Conv(self.width, (3, 3), name=f"conv_{i}")(nn.LayerNorm()(x)))
        state = nn.LayerNorm(name="state")(x)
        logits = nn.Dense(self.classes, name="logits")(state)
        return logits, state, nn.Dense(1, name="halt")(state.mean((1, 2)))[:, 0]


@register("test recurrent")
@dataclasses.dataclass(frozen=True)
class RecurrentConfig(ModelConfig):
    width: int = 8

    def build(self, examples: Examples, placement: Placement = ALONE) -> Recurrent:
        boards = self.boards(examples)
        return Recurrent(boards.tokens, boards.classes, self.width)


@dataclasses.dataclass(frozen=True)
class Halting:
    model: Recurrent
    task: Task
    segments: int
    explore: float
    updates_per_batch: ClassVar[int] = 2

    def init(self, key: Array, batch: Batch) -> tuple[Any, dict[str, Any]]:
        return self.model.init(key, batch["input"], self._state(batch))["params"], {}

    def init_carry(self, batch: Batch) -> Any:
        rows = len(batch["id"])
        return {
            "state": self._state(batch),
            "segment": jnp.zeros(rows, jnp.int32),
            "halted": jnp.ones(rows, bool),  # all of them take the rows of the first batch
            "example": batch,
        }

    def _state(self, batch: Batch) -> Array:
        return jnp.zeros((*batch["input"].shape, self.model.width))

    def take(self, carry: Any, batch: Batch) -> tuple[Batch, Array, Array]:
        """The example, state and segment of each row, new ones where it has halted."""

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(carry["halted"].reshape(-1, *[1] * (old.ndim - 1)), new, old)

        example = jax.tree.map(choose, batch, carry["example"])
        return example, choose(0, carry["state"]), choose(0, carry["segment"])

    def loss_count(self, carry: Any, batch: Batch) -> Array:
        return self.task.loss_count(self.take(carry, batch)[0])

    def loss(
        self, params: Any, model_state: dict[str, Any], carry: Any, batch: Batch, keys: StepKeys
    ) -> Loss:
        example, state, segment = self.take(carry, batch)
        logits, state, halt = self.model.apply({"params": params}, example["input"], state)
        right = self.task.verdicts(logits.argmax(-1), example)["accuracy"]
        weight = row_weight(example)
        doubt = optax.sigmoid_binary_cross_entropy(halt, right.astype(halt.dtype))
        total = self.task.loss_sum(logits, example) + (doubt * weight).sum()
        # Some rows go on for two segments at least, whatever the network says.
        draws = jax.vmap(jax.random.uniform)(example_keys(keys.shared("halting"), example["id"]))
        go_on = (draws < self.explore) & (segment == 0)
        halted = ((halt > 0) & ~go_on) | (segment + 1 >= self.segments) | (weight == 0)
        carry = {
            "state": jax.lax.stop_gradient(state),
            "segment": segment + 1,
            "halted": halted,
            "example": example,
        }
        counts = self.task.training_counts(logits, example) | {"halted": (halted * weight).sum()}
        return total, (model_state, carry, counts)

    def predict(self, variables: dict[str, Any], batch: Batch, key: Array) -> Prediction:
        state, running, taken = self._state(batch), batch["id"] == batch["id"], 0 * batch["id"]
        answer: Array | float = 0.0
        for _ in range(self.segments):
            logits, state, halt = self.model.apply(variables, batch["input"], state)
            answer = jnp.where(running[:, None, None, None], logits, answer)
            taken = taken + running
            running = running & (halt <= 0)
        return Prediction(jnp.asarray(answer), {"segments": taken.astype(jnp.float32)})

    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        halted = ratio(counts["halted"], counts["boards"])
        return self.task.training_metrics(counts) | {"halted": halted}

    def labels(self, params: Any) -> Any:
        return None


@register("test halting")
@dataclasses.dataclass(frozen=True)
class HaltingConfig(MethodConfig):
    segments: int = 3  # of an example, at most
    explore: float = 0.3  # probability that a row goes on after its first segment

    def check(self) -> None:
        at_least(1, "method", self, "segments")

    def build(self, model: Any, task: Task) -> Halting:
        return Halting(model, task, self.segments, self.explore)


def get_config(path: str = "") -> ml_collections.ConfigDict:
    config = Config(
        task=MazeConfig(),
        data=Mazes(path=path, height=5, width=5),
        model=RecurrentConfig(),
        method=HaltingConfig(),
        optimizer=Adam(learning_rate=1e-2),
        train=TrainConfig(length="30 steps", batch_size=16),
        eval=EvalConfig(every="10 steps", batch_size=16, pictures=0, evaluators=PLAIN),
        checkpoint=CheckpointConfig(every="3 steps"),
        log=LogConfig(every="1 steps", tensorboard=False),
    )
    return card(config)
