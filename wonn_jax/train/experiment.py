"""An experiment put together from its configuration: mesh, model, optimizer, compiled steps."""

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
from jax.sharding import PartitionSpec as P

from wonn_jax.config import Config, check_attention, check_grid, duration
from wonn_jax.data.pipeline import Source, eval_batches, steps_per_epoch
from wonn_jax.dist import mesh as sharding
from wonn_jax.models import build
from wonn_jax.train import flops
from wonn_jax.train.hardware import peak_flops
from wonn_jax.train.optim import make_optimizer, make_schedule
from wonn_jax.train.step import (
    TrainState,
    init_state,
    init_variables,
    make_eval_step,
    make_train_step,
    state_specs,
)


class CompiledStep:
    """A step that is compiled once, when it is first called or before, and never again.

    A batch of other shapes than the first is an error (TypeError, from JAX), where a jitted
    function would silently compile another program.

    Attributes:
      seconds: what compiling took; 0 before.
    """

    def __init__(self, function: jax.stages.Wrapped):
        self._function = function
        self._compiled: jax.stages.Compiled | None = None
        self.seconds = 0.0

    def compile(self, *args: Any) -> jax.stages.Compiled:
        """The compiled step, now; `args` are arrays or their shapes and dtypes."""
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
    """Has the C library give back what a compiler has freed: a quarter of a GB it would keep."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


class Experiment:
    """Model, optimizer and compiled steps of an experiment, but no data and no state.

    Args:
      config: the experiment.
      examples: in the training split, from which epochs are counted; None where nothing is
        trained, and the learning rate does not matter.
      devices: to run on, or only to compile for; None for all there are.

    Attributes:
      epoch: steps of one epoch.
      total: steps of the whole run.

    Raises:
      ValueError: what does not fit together, or into the number of devices or steps.
    """

    def __init__(
        self,
        config: Config,
        examples: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.mesh = sharding.make_mesh(config.mesh, devices)
        # The result of an evaluation does not depend on its batch size.
        shares = sharding.row_shares(self.mesh)
        rows = -(-config.eval.batch_size // shares) * shares
        evaluation = dataclasses.replace(config.eval, batch_size=rows)
        self.config = dataclasses.replace(config, eval=evaluation)

        # Before anything is compiled, or generated.
        check_attention(config, jax.default_backend())
        check_grid(config, self.mesh.shape[sharding.GRID])
        self.task, self.model = build(config, sharding.placement(self.mesh))
        self._check_fsdp()
        self.epoch = self.total = 0
        schedule: optax.Schedule = optax.constant_schedule(config.optimizer.learning_rate)
        if examples is not None:
            t = config.train
            sharding.check_divisible("train.batch_size", t.batch_size, self.mesh, t.accumulate)
            self.epoch = steps_per_epoch(examples, t.batch_size, t.last_batch)
            self.total = duration(t.length).steps(self.epoch)
            _check_profile(config, self.total)
            schedule = make_schedule(config.optimizer, steps=self.total, steps_per_epoch=self.epoch)
        self.optimizer = make_optimizer(config.optimizer, schedule)
        self.train_step = CompiledStep(
            make_train_step(self.model, self.task, self.optimizer, schedule, self.config, self.mesh)
        )
        self.eval_step = CompiledStep(make_eval_step(self.model, self.task, self.config, self.mesh))

    def _check_fsdp(self) -> None:
        """Raises a ValueError if nothing can be split over `fsdp`."""
        parts = self.mesh.shape[sharding.FSDP]
        if parts == 1:
            return
        shapes = jax.eval_shape(lambda: init_variables(self.model, self.task, self.config))
        arrays = jax.tree.leaves(shapes["params"])
        if all(sharding.parameter_spec(x.shape, self.mesh) == P() for x in arrays):
            longest = max(max(x.shape, default=1) for x in arrays)
            fits = [n for n in range(1, parts) if longest % n == 0 and self.mesh.size % n == 0]
            raise ValueError(
                f"config.mesh.fsdp={parts} divides no axis of any parameter (the longest has "
                f"{longest}), so nothing would be split: --config.mesh.fsdp={max(fits)}, and "
                "--config.mesh.data=-1 for what is left."
            )

    def initial_state(self) -> TrainState:
        """The state before the first update, on all devices."""
        create = jax.jit(
            lambda: init_state(self.model, self.task, self.optimizer, self.config),
            out_shardings=self.state_shardings,
        )
        return create()

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return jax.eval_shape(
            lambda: init_state(self.model, self.task, self.optimizer, self.config)
        )

    @functools.cached_property
    def state_shardings(self) -> TrainState:
        """Where the arrays of the state live."""
        return sharding.shardings(state_specs(self.abstract_state(), self.mesh), self.mesh)

    @functools.cached_property
    def forward_flops(self) -> int:
        """Floating-point operations of the model on one example, forward."""
        return flops.forward_operations(self.model, self.task, self.config)

    @property
    def training_flops(self) -> int:
        """The same of a training step: forward and backward, nothing twice."""
        return flops.TRAINING * self.forward_flops

    @functools.cached_property
    def peak_flops(self) -> float | None:
        """What all devices together do at most, FLOP/s; None where that is not known."""
        kind = self.mesh.devices.flat[0].device_kind
        one = self.config.log.peak_flops or peak_flops(kind, self.config.model.precision)
        return one * self.mesh.size if one else None


def _check_profile(config: Config, total: int) -> None:
    p = config.profile
    if p.steps and p.start + p.steps > total:
        raise ValueError(
            f"config.profile.start={p.start} and config.profile.steps={p.steps} trace up to step "
            f"{p.start + p.steps}, but the run has {total}; try "
            f"--config.profile.start={max(0, total - p.steps)}"
            + (f" --config.profile.steps={total}." if p.steps > total else ".")
        )


class Data(NamedTuple):
    """The two splits."""

    train: Source
    test: Source

    @property
    def fingerprint(self) -> str:
        """Of both splits, in this order."""
        return f"{self.train.fingerprint}/{self.test.fingerprint}"


def evaluation_batches(
    source: Source, config: Config, mesh: Mesh
) -> Iterator[dict[str, np.ndarray]]:
    """This process' rows of batches that hold each example to evaluate on once."""
    return eval_batches(
        source,
        batch_size=config.eval.batch_size,
        examples=config.eval.examples,
        rows=sharding.local_rows(mesh, config.eval.batch_size),
        workers=config.data.workers,
        prefetch=config.data.prefetch,
    )


def device_line(mesh: Mesh) -> str:
    """What it runs on: '8 × TPU v5e on 2 hosts, mesh data 4 × grid 2 (jax 0.10.2)'."""
    kinds = ", ".join(sorted({device.device_kind for device in mesh.devices.flat}))
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    axes = [f"{name} {size}" for name, size in mesh.shape.items() if size > 1]
    split = f", mesh {' × '.join(axes)}" if axes and axes != [f"data {mesh.size}"] else ""
    return f"{mesh.size} × {kinds}{hosts}{split} (jax {jax.__version__})"


def examples_of(experiment: Experiment) -> str:
    """What the examples are: 'boards of 30×30'."""
    shape = experiment.task.abstract_batch(experiment.config, 1)["input"].shape[1:3]
    return f"{experiment.task.examples} of {'×'.join(map(str, shape))}"


def data_line(source: Source, experiment: Experiment) -> str:
    config = experiment.config
    origin = config.data.path or ("generated" if config.task != "image" else config.data.name)
    kind = examples_of(experiment)
    return f"{len(source):,} {kind}, {origin}, fingerprint {source.fingerprint}"
