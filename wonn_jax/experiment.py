"""An experiment put together from its configuration: mesh, model, optimizer, compiled steps."""

import dataclasses
from typing import NamedTuple

import jax
import optax

from wonn_jax import sharding
from wonn_jax.config import Config, duration
from wonn_jax.data.pipeline import Source, steps_per_epoch
from wonn_jax.models import build
from wonn_jax.optim import make_optimizer, make_schedule
from wonn_jax.step import TrainState, init_state, make_eval_step, make_train_step


class Experiment:
    """Model, optimizer and compiled steps of an experiment, but no data and no state.

    Args:
      config: the experiment.
      examples: in the training split, from which epochs are counted; None where nothing is
        trained, and the learning rate does not matter.

    Attributes:
      epoch: steps of one epoch.
      total: steps of the whole run.
    """

    def __init__(self, config: Config, examples: int | None = None):
        self.mesh = sharding.make_mesh()
        # The result of an evaluation does not depend on its batch size.
        rows = -(-config.eval.batch_size // self.mesh.size) * self.mesh.size
        evaluation = dataclasses.replace(config.eval, batch_size=rows)
        self.config = dataclasses.replace(config, eval=evaluation)

        self.task, self.model = build(config, sharding.axis_name(self.mesh))
        self.epoch = self.total = 0
        schedule: optax.Schedule = optax.constant_schedule(config.optimizer.learning_rate)
        if examples is not None:
            t = config.train
            sharding.check_divisible("train.batch_size", t.batch_size, self.mesh, t.accumulate)
            self.epoch = steps_per_epoch(examples, t.batch_size, t.last_batch)
            self.total = duration(t.length).steps(self.epoch)
            schedule = make_schedule(config.optimizer, steps=self.total, steps_per_epoch=self.epoch)
        self.optimizer = make_optimizer(config.optimizer, schedule)
        self.train_step = make_train_step(
            self.model, self.task, self.optimizer, schedule, self.config, self.mesh
        )
        self.eval_step = make_eval_step(self.model, self.task, self.config, self.mesh)

    def initial_state(self) -> TrainState:
        """The state before the first update, on all devices."""
        create = jax.jit(
            lambda: init_state(self.model, self.task, self.optimizer, self.config),
            out_shardings=sharding.replicated(self.mesh),
        )
        return create()

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return jax.eval_shape(
            lambda: init_state(self.model, self.task, self.optimizer, self.config)
        )


class Data(NamedTuple):
    """The two splits."""

    train: Source
    test: Source

    @property
    def fingerprint(self) -> str:
        """Of both splits, in this order."""
        return f"{self.train.fingerprint}/{self.test.fingerprint}"


def device_line() -> str:
    """What it runs on."""
    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    return f"{len(devices)} × {kinds}{hosts} (jax {jax.__version__})"


def examples_of(experiment: Experiment) -> str:
    """What the examples are: 'boards of 30×30'."""
    shape = experiment.task.abstract_batch(experiment.config, 1)["input"].shape[1:3]
    return f"{experiment.task.examples} of {'×'.join(map(str, shape))}"


def data_line(source: Source, experiment: Experiment) -> str:
    config = experiment.config
    origin = config.data.path or ("generated" if config.task != "image" else config.data.name)
    kind = examples_of(experiment)
    return f"{len(source):,} {kind}, {origin}, fingerprint {source.fingerprint}"
