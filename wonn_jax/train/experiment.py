"""An experiment put together from its configuration: mesh, network, optimizer, training step."""

import ctypes
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from wonn_jax.common.checks import length
from wonn_jax.common.durations import LONGEST
from wonn_jax.data.pipeline import Source, eval_batches, steps_per_epoch
from wonn_jax.parallel import mesh as devices_of
from wonn_jax.parallel.mesh import GRID
from wonn_jax.tasks import Task
from wonn_jax.train import flops
from wonn_jax.train.batches import training_batches
from wonn_jax.train.card import Config
from wonn_jax.train.hardware import peak_flops
from wonn_jax.train.methods import Method
from wonn_jax.train.optim import freeze_some
from wonn_jax.train.state import (
    TrainState,
    Variables,
    init_state,
    init_variables,
    state_specs,
    variables_specs,
)
from wonn_jax.train.step import make_train_step


class CompiledStep:
    """A step that is compiled once, when it is first called or before, and never again.

    A batch of other shapes than the first is an error (TypeError, from JAX), where a jitted
    function would silently compile another program.

    Attributes:
      seconds: that compiling took; 0 before.
    """

    def __init__(self, function: jax.stages.Wrapped):
        self._function = function
        self._compiled: jax.stages.Compiled | None = None
        self.seconds = 0.0

    def compile(
        self, *args: Any, options: dict[str, bool | str] | None = None
    ) -> jax.stages.Compiled:
        """The compiled step.

        Args:
          *args: of the step, or their shapes and dtypes.
          options: of XLA, besides those of the step.
        """
        if self._compiled is None:
            began = time.monotonic()
            _return_freed_memory()
            self._compiled = self._function.lower(*args).compile(options)
            _return_freed_memory()
            self.seconds = time.monotonic() - began
        return self._compiled

    def __call__(self, *args: Any) -> Any:
        return self.compile(*args)(*args)


def _return_freed_memory() -> None:
    """Calls malloc_trim: the C library would keep a quarter of a GB that the compiler has freed."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


class Data(NamedTuple):
    """The two splits."""

    train: Source
    test: Source

    @property
    def fingerprint(self) -> str:
        """Of both splits, in this order."""
        return f"{self.train.fingerprint}/{self.test.fingerprint}"


class Experiment:
    """Network, method, optimizer and compiled training step, but no data and no state.

    Its parts are made when they are first asked for; `check` asks for all that can be wrong.

    Args:
      config: the experiment.
      examples: in the training split, from which epochs are counted; None where nothing is
        trained, and the learning rate does not matter.
      devices: to run on, or only to compile for; None for all there are.
    """

    def __init__(
        self,
        config: Config,
        examples: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.config = config
        self.examples = examples
        self.devices = devices

    def check(self) -> "Experiment":
        """Itself, if components, devices and steps fit each other.

        Nothing is compiled for that, and no array is made.

        Raises:
          ValueError: they do not; it says what to type.
        """
        model = self.config.model
        model.check_platform(devices_of.platform_of(self.mesh))
        model.check_split(self.task.examples, self.mesh.shape[GRID])
        devices_of.check_shares(self.abstract_variables["params"], self.mesh)
        if self.examples is not None:
            t = self.config.train
            devices_of.check_divisible("train.batch_size", t.batch_size, self.mesh, t.accumulate)
            self._check_length()
            self.config.profile.check_length(self.total)
            _ = self.schedule
        return self

    def _check_length(self) -> None:
        if self.total > LONGEST:
            raise ValueError(
                f"config.train.length={self.config.train.length!r} is {self.total:,} steps; at "
                f"most {LONGEST:,} are possible."
            )

    @functools.cached_property
    def mesh(self) -> Mesh:
        """All devices."""
        return devices_of.make_mesh(self.config.mesh, self.devices)

    @functools.cached_property
    def task(self) -> Task:
        """What is learned, on these data."""
        return self.config.task.build(self.config.data, self.config.augment)

    @functools.cached_property
    def model(self) -> Any:
        """The network as it runs on the mesh, inside `shard_map`."""
        placement = devices_of.placement(self.mesh)
        return self.config.model.build(self.task.examples, placement)

    @functools.cached_property
    def method(self) -> Method:
        """How the network is trained, on the mesh."""
        return self.config.method.build(self.model, self.task)

    @functools.cached_property
    def alone(self) -> Method:
        """The same method with the network on a single device."""
        return self.config.method.build(self.config.model.build(self.task.examples), self.task)

    @functools.cached_property
    def abstract_variables(self) -> Variables:
        """Shapes and dtypes of what the network is applied with."""
        seed = self.config.seed
        return jax.eval_shape(lambda: init_variables(self.alone, self.task, seed))

    @functools.cached_property
    def variables_specs(self) -> Variables:
        """How the variables are split over the mesh."""
        return variables_specs(self.abstract_variables, self.mesh)

    # --- Steps ------------------------------------------------------------------------------------

    @functools.cached_property
    def epoch(self) -> int:
        """Steps (updates) of one epoch; 0 if nothing is trained."""
        if self.examples is None:
            return 0
        t = self.config.train
        batches = steps_per_epoch(self.examples, t.batch_size, t.last_batch)
        return batches * self.method.updates_per_batch

    @functools.cached_property
    def total(self) -> int:
        """Steps of the whole run; 0 if nothing is trained."""
        if self.examples is None:
            return 0
        return length("train.length", self.config.train.length).steps(self.epoch)

    @functools.cached_property
    def schedule(self) -> optax.Schedule:
        """Learning rate over the steps; constant if nothing is trained."""
        optimizer = self.config.optimizer
        if self.examples is None:
            return optax.constant_schedule(optimizer.learning_rate)
        return optimizer.make_schedule(self.total, self.epoch)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer, on those parameters that the method trains."""
        labels = self.method.labels(self.abstract_variables["params"])
        return freeze_some(self.config.optimizer.build(self.schedule), labels)

    @functools.cached_property
    def train_step(self) -> "CompiledStep":
        """The training step, see `make_train_step`."""
        return CompiledStep(
            make_train_step(
                self.method,
                self.task,
                self.optimizer,
                self.schedule,
                self.state_specs,
                self.mesh,
                seed=self.config.seed,
                accumulate=self.config.train.accumulate,
                ema=self.config.ema,
            )
        )

    @property
    def evaluation_rows(self) -> int:
        """Rows of an evaluation batch: as many as asked for, rounded up to a share per device."""
        shares = devices_of.row_shares(self.mesh)
        return -(-self.config.eval.batch_size // shares) * shares

    def batches(
        self, source: Source, start: int, stop: int, *, workers: int | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """This host's rows of the batch of each of the updates `start` to `stop` − 1.

        Args:
          source: training examples.
          start, stop: updates.
          workers: processes that load; None as configured.
        """
        config, data = self.config, self.config.data
        return training_batches(
            source,
            config.train,
            data if workers is None else dataclasses.replace(data, workers=workers),
            self.mesh,
            seed=config.seed,
            start=start,
            stop=stop,
            updates=self.method.updates_per_batch,
        )

    def evaluation_batches(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
        """This host's rows of batches that hold each example to evaluate on once."""
        rows = self.evaluation_rows
        return eval_batches(
            source,
            batch_size=rows,
            examples=self.config.eval.examples,
            rows=devices_of.local_rows(self.mesh, rows),
            workers=self.config.data.workers,
            prefetch=self.config.data.prefetch,
        )

    # --- State ------------------------------------------------------------------------------------

    def _initial_state(self) -> TrainState:
        rows = self.config.train.batch_size
        return init_state(self.alone, self.task, self.optimizer, self.config.seed, rows)

    def initial_state(self) -> TrainState:
        """The state before the first update, on all devices."""
        return jax.jit(self._initial_state, out_shardings=self.state_shardings)()

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return jax.eval_shape(self._initial_state)

    @functools.cached_property
    def state_specs(self) -> TrainState:
        """How the arrays of the state are split over the mesh."""
        return state_specs(self.abstract_state(), self.mesh)

    @functools.cached_property
    def state_shardings(self) -> TrainState:
        """Where the arrays of the state live."""
        return devices_of.shardings(self.state_specs, self.mesh)

    # --- Costs ------------------------------------------------------------------------------------

    @functools.cached_property
    def forward_flops(self) -> int:
        """Floating-point operations of the network on one example, forward."""
        config = self.config
        model = config.model.plain().build(self.task.examples)
        return flops.forward_operations(config.method.build(model, self.task), self.task)

    @property
    def training_flops(self) -> int:
        """The same of a training step: forward and backward, without recomputation."""
        return flops.TRAINING * self.forward_flops

    @functools.cached_property
    def peak_flops(self) -> float | None:
        """What all devices together do at most, FLOP/s; None where that is not known."""
        kind = self.mesh.devices.flat[0].device_kind
        one = self.config.log.peak_flops or peak_flops(kind, self.config.model.precision)
        return one * self.mesh.size if one else None
