"""An experiment's configuration: a component of each kind, and the sections of the loop.

A file in `configs/`, a card, fills a `Config` and returns it as `card(config)`, of which the
command line overrides single fields; `freeze` turns the result back into a checked `Config`.
"""

import dataclasses

import ml_collections

from wonn_jax import data, models, tasks
from wonn_jax.common.checks import at_least
from wonn_jax.config import build, to_dict
from wonn_jax.data import Augmentation, DataSet, ImageAugmentation, NoAugmentation
from wonn_jax.models import ModelConfig
from wonn_jax.parallel.devices import DeviceConfig
from wonn_jax.parallel.mesh import MeshConfig
from wonn_jax.tasks import TaskConfig
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.checkpoint import CheckpointConfig
from wonn_jax.train.ema import EmaConfig
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.methods import MethodConfig, SupervisedConfig
from wonn_jax.train.metrics import LogConfig
from wonn_jax.train.optim import Adam, OptimizerConfig
from wonn_jax.train.profile import ProfileConfig

__all__ = ["Config", "card", "data", "freeze", "models", "tasks"]


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment. The first six are components, chosen among those registered."""

    task: TaskConfig
    data: DataSet
    model: ModelConfig
    augment: Augmentation = NoAugmentation()
    method: MethodConfig = SupervisedConfig()
    optimizer: OptimizerConfig = Adam()
    seed: int = 0  # of weights, order of examples and phases
    train: TrainConfig = TrainConfig()
    ema: EmaConfig = EmaConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    profile: ProfileConfig = ProfileConfig()
    devices: DeviceConfig = DeviceConfig()
    mesh: MeshConfig = MeshConfig()

    def check(self) -> None:
        """Raises a ValueError where components contradict each other."""
        at_least(0, "", self, "seed", most=2**32 - 1)  # JAX's keys hold no more
        task = self.task.build(self.data, self.augment)
        self.model.build(task.examples)
        self._check_oscillators()
        if not any(evaluator.in_training for evaluator in self.eval.evaluators):
            raise ValueError(
                f"config.eval.evaluators={tuple(e.name for e in self.eval.evaluators)} has none "
                "that runs in training; a card takes eval=EvalConfig(evaluators=PLAIN), say, with "
                "PLAIN or OSCILLATORS of wonn_jax.evaluators."
            )
        if isinstance(self.augment, ImageAugmentation):
            self.augment.check_batches(self.train.last_batch)
        if self.eval.checkpoint == "best" and not self.checkpoint.best:
            raise ValueError(
                "config.eval.checkpoint='best' needs config.checkpoint.best, a metric."
            )
        names = [name for e in self.eval.evaluators for name in e.metric_names(task)]
        self.checkpoint.check_metric([f"{w}_{name}" for w in ("raw", "ema") for name in names])

    def _check_oscillators(self) -> None:
        if self.model.oscillatory:
            for evaluator in self.eval.evaluators:
                evaluator.check_model(self.model)
            return
        if self.eval.steps:
            raise ValueError(
                f"config.eval.steps={self.eval.steps} is for oscillators, which config.model.name="
                f"{self.model.name!r} has none of: leave it out."
            )
        for evaluator in self.eval.evaluators:
            if evaluator.oscillatory:
                raise ValueError(
                    f"The evaluator {evaluator.name!r} is for oscillators, which config.model.name="
                    f"{self.model.name!r} has none of: leave it out of config.eval.evaluators."
                )


def card(config: Config) -> ml_collections.ConfigDict:
    """A configuration as the command line overrides it."""
    return ml_collections.ConfigDict(to_dict(config))


def freeze(config: ml_collections.ConfigDict) -> Config:
    """The checked, frozen form of a card.

    Raises:
      ValueError: unknown fields, wrong types, values out of range, contradictions.
    """
    return build(Config, config.to_dict())
