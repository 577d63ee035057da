"""What a run is made of: parameters, data, memory and operations of one step, no training."""

import math
from pathlib import Path
from typing import Any

import jax

from wonn_jax.config import Config
from wonn_jax.data import load_source
from wonn_jax.train import flops
from wonn_jax.train.checkpoint import flatten
from wonn_jax.train.experiment import Experiment, device_line, examples_of
from wonn_jax.train.metrics import scaled


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


def cost_table(compiled: jax.stages.Compiled, passes: int, experiment: Experiment) -> str:
    """What one call of a compiled step costs each device, in rows.

    The compiler's own account, which counts the body of a loop once however often it runs, and
    the operations of the model, which know how often.

    Args:
      compiled: the step.
      passes: forward passes of one example that the model's operations come to.
      experiment: whose step it is.
    """
    memory: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis() or {}
    rows: list[tuple[str, str, str]] = []
    if memory is not None:
        rows += [
            ("arguments", mebibytes(memory.argument_size_in_bytes), ""),
            ("output", mebibytes(memory.output_size_in_bytes), ""),
            ("temporaries", mebibytes(memory.temp_size_in_bytes), ""),
        ]
    once = "by the compiler's count, the body of a loop once"
    if "bytes accessed" in cost:
        rows.append(("accessed", mebibytes(cost["bytes accessed"]), once))
    if "flops" in cost:
        rows.append(("operations", scaled(cost["flops"], "flop"), once))
    forward, devices = experiment.forward_flops, experiment.mesh.size
    share = f" / {devices} devices" if devices > 1 else ""
    why = f"{passes:,} forward passes × {scaled(forward, 'flop')}{share}, products alone"
    rows.append(("of the model", scaled(forward * passes / devices, "flop"), why))
    return "\n".join(
        f"  {name:12} {number:>8} {unit:5}  {note}".rstrip()
        for name, (number, unit), note in ((a, b.split(), c) for a, b, c in rows)
    )


def mebibytes(value: float) -> str:
    """'12.3 MiB'."""
    return f"{value / 2**20:,.1f} MiB"


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
    print(f"device   {device_line(experiment.mesh)}")
    kind = examples_of(experiment)
    if examples is None:
        print(f"data     {d.name}, {kind}, not looked at: there is no --config.data.path")
    else:
        made = f"generated once into {Path(d.dir).expanduser()}"
        where = d.path or (d.name if config.task == "image" else made)
        print(f"data     {examples:,} training {kind}, {where}")
        print(f"length   {experiment.total:,} steps, {experiment.epoch:,} an epoch", flush=True)
    each = f", on each of {experiment.mesh.size} devices" * (experiment.mesh.size > 1)
    task, training, evaluation = experiment.task, config.train, experiment.config.eval
    step = experiment.train_step.compile(state, task.abstract_batch(config, training.batch_size))
    print(f"training, one step of {training.batch_size} examples{each}:")
    print(cost_table(step, flops.TRAINING * training.batch_size, experiment), flush=True)
    step = experiment.eval_step.compile(
        state.variables("raw"), task.abstract_batch(config, evaluation.batch_size)
    )
    print(f"evaluation, one step of {evaluation.batch_size} examples{each}:")
    print(cost_table(step, evaluation.draws * evaluation.batch_size, experiment))
