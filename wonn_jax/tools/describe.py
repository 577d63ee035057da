"""What a run costs: parameters, data, memory and operations of one step, without training."""

from typing import Any

import jax

from wonn_jax.train import flops
from wonn_jax.train.card import Config
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.metrics import scaled
from wonn_jax.train.summary import device_line, examples_of, parameter_table


def cost_table(compiled: jax.stages.Compiled, passes: int, experiment: Experiment) -> str:
    """What one call of a compiled step costs each device, in rows.

    The compiler's own account, which counts the body of a loop once however often it runs, and
    the operations of the network, which know how often.

    Args:
      compiled: the step.
      passes: forward passes of one example that the network's operations amount to.
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
    data = config.data
    examples, origin = data.training_examples(), data.origin
    if data.path:
        source = data.load("train", config.augment)
        examples, origin = len(source), data.origin_of(source)
    experiment = Experiment(config, examples).check()
    state = experiment.abstract_state()
    print(parameter_table(state.params))
    print(f"device   {device_line(experiment.mesh)}")
    kind = examples_of(experiment.task)
    if examples is None:
        print(f"data     {data.origin}, {kind}, not looked at: there is no --config.data.path")
    else:
        print(f"data     {examples:,} training {kind}, {origin}")
        print(f"length   {experiment.total:,} steps, {experiment.epoch:,} an epoch", flush=True)
    each = f", on each of {experiment.mesh.size} devices" * (experiment.mesh.size > 1)
    task, training = experiment.task, config.train
    step = experiment.train_step.compile(state, task.abstract_batch(training.batch_size))
    print(f"training, one step of {training.batch_size} examples{each}:")
    print(cost_table(step, flops.TRAINING * training.batch_size, experiment), flush=True)
    for settings in [e for e in config.eval.evaluators if e.in_training]:
        batch = task.abstract_batch(experiment.evaluation_rows)
        step = settings.build(experiment).step.compile(state.variables("raw"), batch)
        print(f"evaluation, one step of {experiment.evaluation_rows} examples{each}:")
        print(cost_table(step, settings.passes * experiment.evaluation_rows, experiment))
