"""What a run is made of: parameters, data, memory and operations of one step, no training."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from wonn_jax.checkpoint import flatten
from wonn_jax.config import Config
from wonn_jax.data import load_source
from wonn_jax.experiment import Experiment, device_line, examples_of
from wonn_jax.models import build
from wonn_jax.oscillators import per_layer
from wonn_jax.sharding import make_mesh
from wonn_jax.step import init_state, make_eval_step, make_train_step


def parameter_table(params: Any) -> str:
    """Name, shape and size of every parameter, and their number."""
    rows = [
        (name, " × ".join(map(str, x.shape)) or "1", f"{math.prod(x.shape):,}")
        for name, x in flatten(params).items()
    ]
    total = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    head = ("parameter", "shape", "size")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(3)]

    def line(row: tuple[str, str, str]) -> str:
        return f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:>{widths[2]}}"

    rule = "─" * (sum(widths) + 4)
    return "\n".join([line(head), rule, *map(line, rows), rule, f"{total:,} parameters"])


def cost_table(compiled: jax.stages.Compiled, examples: int, operations: float) -> str:
    """The compiler's own account of the memory of one call, and its operations.

    Args:
      compiled: a compiled step.
      examples: rows of its batch.
      operations: of a call, see `count_operations`.
    """
    memory: Any = compiled.memory_analysis()

    def mebibytes(value: float) -> str:
        return f"{value / 2**20:,.1f} MiB"

    lines = []
    if memory is not None:
        lines += [
            f"  arguments    {mebibytes(memory.argument_size_in_bytes)}",
            f"  output       {mebibytes(memory.output_size_in_bytes)}",
            f"  temporaries  {mebibytes(memory.temp_size_in_bytes)}",
        ]
    lines.append(f"  operations   {operations / 1e9:,.1f} Gflop, recomputation not counted")
    return "\n".join([f"per device, one step of {examples} examples:", *lines])


def count_operations(config: Config, mesh: Mesh, rows: int, *, train: bool) -> float:
    """Floating-point operations of one step on each device, from the compiler's account.

    The compiler counts the body of a loop once, however often it runs. So a network without
    time steps and one with a single step are compiled, with plain attention and nothing
    recomputed, and their difference is taken T times (for each layer, if T differs).
    """

    lengths = per_layer(config.model.steps, config.model.layers, "steps")

    def operations(*steps: int) -> float:
        task, model = build(config)
        if config.model.name == "winfree":
            model = model.clone(steps=steps, attention="plain", remat=0)
        batch = task.abstract_batch(config, rows // mesh.size)
        optimizer = optax.adam(1e-3)
        single = make_mesh(list(mesh.local_devices[:1]))
        state = jax.eval_shape(lambda: init_state(model, task, optimizer, config))
        if train:
            whole = dataclasses.replace(
                config, train=dataclasses.replace(config.train, accumulate=1)
            )
            step = make_train_step(
                model, task, optimizer, optax.constant_schedule(1e-3), whole, single
            )
            lowered = step.lower(state, batch)
        else:
            once = dataclasses.replace(config, eval=dataclasses.replace(config.eval, draws=1))
            step = make_eval_step(model, task, once, single)
            lowered = step.lower(state.variables("raw"), batch)
        cost: Any = lowered.compile().cost_analysis() or {}
        return float(cost.get("flops", 0.0))

    if config.model.name != "winfree":
        return operations()
    without = operations(0)
    if len(set(lengths)) == 1:
        return without + lengths[0] * (operations(1) - without)
    total = without
    for layer, length in enumerate(lengths):
        total += length * (operations(*(int(i == layer) for i in range(len(lengths)))) - without)
    return total


def run_describe(config: Config) -> None:
    """Prints model, data and the compiler's account of the steps; trains and generates nothing."""
    d = config.data
    examples: int | None = None
    if d.path or d.name == "digits":
        examples = len(load_source(config, "train"))
    elif config.task != "image":
        examples = d.train_examples
    experiment = Experiment(config, examples)
    state = experiment.abstract_state()
    print(parameter_table(state.params))
    print(f"device   {device_line()}")
    kind = examples_of(experiment)
    if examples is None:
        print(f"data     {d.name}, {kind}, not looked at: there is no --config.data.path")
    else:
        made = f"generated once into {Path(d.dir).expanduser()}"
        where = d.path or (d.name if config.task == "image" else made)
        print(f"data     {examples:,} training {kind}, {where}")
        print(f"length   {experiment.total:,} steps, {experiment.epoch:,} an epoch", flush=True)
    for name, rows in (
        ("training", config.train.batch_size),
        ("evaluation", experiment.config.eval.batch_size),
    ):
        batch = experiment.task.abstract_batch(config, rows)
        if name == "training":
            lowered = experiment.train_step.lower(state, batch)
        else:
            lowered = experiment.eval_step.lower(state.variables("raw"), batch)
        operations = count_operations(config, experiment.mesh, rows, train=name == "training")
        print(f"{name}, {cost_table(lowered.compile(), rows, operations)}", flush=True)
