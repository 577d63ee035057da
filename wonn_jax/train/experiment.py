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
from jax.sharding import PartitionSpec as P

from wonn_jax.checks import length
from wonn_jax.data.pipeline import Source, steps_per_epoch
from wonn_jax.dist import mesh as devices_of
from wonn_jax.dist.mesh import FSDP, GRID
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

    def compile(self, *args: Any) -> jax.stages.Compiled:
        """The compiled step; `args` are arrays, or their shapes and dtypes."""
        if self._compiled is None:
            began = time.monotonic()
            _return_freed_memory()
            self._compiled = self._function.lower(*args).compile()
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

    Args:
      config: the experiment.
      examples: in the training split, from which epochs are counted; None where nothing is
        trained, and the learning rate does not matter.
      devices: to run on, or only to compile for; None for all there are.

    Attributes:
      asked: the configuration as it was given.
      config: the same with a batch of evaluation that splits over the devices.
      mesh: of the devices.
      task: of the data.
      method: how the network is trained; on the mesh, inside `shard_map`.
      alone: the same method with the network on a single device.
      model: the network of `method`.
      epoch: steps (updates) of one epoch.
      total: steps of the whole run.

    Raises:
      ValueError: components that do not fit together, or do not fit the devices or the steps.
    """

    def __init__(
        self,
        config: Config,
        examples: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.asked = config
        self.mesh = devices_of.make_mesh(config.mesh, devices)
        # The result of an evaluation does not depend on its batch size.
        shares = devices_of.row_shares(self.mesh)
        rows = -(-config.eval.batch_size // shares) * shares
        evaluation = dataclasses.replace(config.eval, batch_size=rows)
        self.config = dataclasses.replace(config, eval=evaluation)

        self.task: Task = config.task.build(config.data, config.augment)
        # Before anything is compiled, or generated.
        config.model.check_platform(devices_of.platform_of(self.mesh))
        config.model.check_split(self.task.examples, self.mesh.shape[GRID])
        placement = devices_of.placement(self.mesh)
        self.model = config.model.build(self.task.examples, placement)
        self.method: Method = config.method.build(self.model, self.task)
        self.alone: Method = config.method.build(config.model.build(self.task.examples), self.task)
        variables = jax.eval_shape(lambda: init_variables(self.alone, self.task, config.seed))
        self._check_fsdp(variables["params"])
        self.variables_specs: Variables = variables_specs(variables, self.mesh)
        schedule = self._plan(examples)
        self.optimizer = freeze_some(
            config.optimizer.build(schedule), self.method.labels(variables["params"])
        )
        self.train_step = CompiledStep(
            make_train_step(
                self.method,
                self.task,
                self.optimizer,
                schedule,
                state_specs(self.abstract_state(), self.mesh),
                self.mesh,
                seed=config.seed,
                accumulate=config.train.accumulate,
                ema=config.ema,
            )
        )

    def _plan(self, examples: int | None) -> optax.Schedule:
        """Counts the steps; the schedule of the learning rate over them."""
        config = self.config
        self.epoch = self.total = 0
        if examples is None:
            return optax.constant_schedule(config.optimizer.learning_rate)
        t = config.train
        devices_of.check_divisible("train.batch_size", t.batch_size, self.mesh, t.accumulate)
        batches = steps_per_epoch(examples, t.batch_size, t.last_batch)
        self.epoch = batches * self.method.updates_per_batch
        self.total = length("train.length", t.length).steps(self.epoch)
        config.profile.check_length(self.total)
        return config.optimizer.make_schedule(self.total, self.epoch)

    def _check_fsdp(self, params: Any) -> None:
        """Raises a ValueError if nothing can be split over `fsdp`."""
        parts = self.mesh.shape[FSDP]
        if parts == 1:
            return
        arrays = jax.tree.leaves(params)
        if all(devices_of.parameter_spec(x.shape, self.mesh) == P() for x in arrays):
            longest = max(max(x.shape, default=1) for x in arrays)
            fits = [n for n in range(1, parts) if longest % n == 0 and self.mesh.size % n == 0]
            raise ValueError(
                f"config.mesh.fsdp={parts} divides no axis of any parameter (the longest has "
                f"{longest}), so nothing would be split: --config.mesh.fsdp={max(fits)}, and "
                "--config.mesh.data=-1 for what is left."
            )

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

    def _initial_state(self) -> TrainState:
        config = self.config
        rows = config.train.batch_size
        return init_state(self.alone, self.task, self.optimizer, config.seed, rows)

    def initial_state(self) -> TrainState:
        """The state before the first update, on all devices."""
        return jax.jit(self._initial_state, out_shardings=self.state_shardings)()

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return jax.eval_shape(self._initial_state)

    @functools.cached_property
    def state_shardings(self) -> TrainState:
        """Where the arrays of the state live."""
        return devices_of.shardings(state_specs(self.abstract_state(), self.mesh), self.mesh)

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
