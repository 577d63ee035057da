"""What a run costs: parameters, data, memory and operations of one step, without training."""

import dataclasses
from typing import Any

import jax

from wonn_jax.parallel.mesh import row_shares
from wonn_jax.tools.capacity import Need, what_fits
from wonn_jax.train import flops, gpus
from wonn_jax.train.card import Config
from wonn_jax.train.experiment import CompiledStep, Experiment
from wonn_jax.train.gpu_cost import GpuCost, compile_untuned, gpu_cost
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


@dataclasses.dataclass(frozen=True)
class Target:
    """GPUs to compile for, which need not be there: 'h100', or 'h100x8' for eight."""

    name: str
    count: int = 1

    @property
    def gpu(self) -> gpus.Gpu:
        return gpus.GPUS[self.name]

    @property
    def room(self) -> float:
        """Memory of one that JAX takes, bytes."""
        return gpus.preallocated() * self.gpu.memory

    def devices(self) -> list[Any]:
        """See `gpus.devices`."""
        return gpus.devices(self.name, self.count)


def parse_target(text: str) -> Target:
    """The GPUs of --platform; raises a ValueError if there are none such."""
    name, times, count = text.partition("x")
    if name not in gpus.GPUS or (times and not count.isdecimal()):
        raise ValueError(
            f"--platform={text} is unknown; it must be {', '.join(gpus.GPUS)}, or several of them: "
            "h100x8."
        )
    target = Target(name, int(count or 1))
    gpus.check_count(target.count)
    return target


def gpu_table(cost: GpuCost, target: Target, passes: int, experiment: Experiment) -> str:
    """What one call of a step costs each of the GPUs it is compiled for, in rows.

    Args:
      cost: of the step.
      target: the GPUs.
      passes: forward passes of one example that the network's operations amount to.
      experiment: whose step it is.
    """
    work, memory = cost.work, target.gpu.memory
    flops_of_model = experiment.forward_flops * passes / experiment.mesh.size
    rows = {
        "memory": f"{mebibytes(cost.memory)}, {100 * cost.memory / memory:.0f} % of the GPU's",
        "temporaries": mebibytes(cost.temporaries),
        "accessed": mebibytes(work.bytes),
        "kernels": f"{work.launches:,}",
        "operations": scaled(sum(work.flops.values()), "flop"),
        "of the model": scaled(flops_of_model, "flop"),
        "sent": mebibytes(work.sent) if target.count > 1 else "",
        "attention": ", ".join(cost.attention),
        "time": f"{1e3 * cost.seconds:,.2f} ms at least, an estimate by the GPU's published rates",
    }
    return "\n".join(f"  {name:12} {text}" for name, text in rows.items() if text)


def run_describe(config: Config, target: Target | None = None) -> None:
    """Prints model, data and the compiler's account of the steps; trains and generates nothing.

    Args:
      config: of the experiment.
      target: GPUs to compile for; None for the devices that are there.

    Raises:
      ValueError: a step does not fit into the memory of the target; it says what does.
      ImportError: the compiler for the target is not installed.
    """
    data = config.data
    examples, origin = data.training_examples(), data.origin
    if data.path:
        source = data.load("train", config.augment)
        examples, origin = len(source), data.origin_of(source)
    experiment = Experiment(config, examples, target.devices() if target else None).check()
    state = experiment.abstract_state()
    print(parameter_table(state.params))
    only_compiled = ", not run: programs are compiled for it" if target else ""
    print(f"device   {device_line(experiment.mesh)}{only_compiled}")
    kind = examples_of(experiment.task)
    if examples is None:
        print(f"data     {data.origin}, {kind}, not looked at: there is no --config.data.path")
    else:
        print(f"data     {examples:,} training {kind}, {origin}")
        print(f"length   {experiment.total:,} steps, {experiment.epoch:,} an epoch", flush=True)
    each = f", on each of {experiment.mesh.size} devices" * (experiment.mesh.size > 1)
    task, training = experiment.task, config.train
    rows = training.batch_size

    def account(step: CompiledStep, passes: int, *args: Any) -> GpuCost | None:
        if target is None:
            print(cost_table(step.compile(*args), passes, experiment), flush=True)
            return None
        cost = gpu_cost(compile_untuned(step, *args), target.name, target.count)
        print(gpu_table(cost, target, passes, experiment), flush=True)
        return cost

    print(f"training, one step of {rows} examples{each}:", flush=True)
    batch = task.abstract_batch(rows)
    cost = account(experiment.train_step, flops.TRAINING * rows, state, batch)
    if target and cost:
        if examples is not None:
            hours = cost.seconds * experiment.total / 3600
            print(f"  {'length':12} {hours:,.3g} h at least, likewise", flush=True)
        _check_training(config, examples, target, cost)
    rows = experiment.evaluation_rows
    for settings in [e for e in config.eval.evaluators if e.in_training]:
        print(f"evaluation, one step of {rows} examples{each}:", flush=True)
        step = settings.build(experiment).step
        passes, batch = settings.passes * rows, task.abstract_batch(rows)
        cost = account(step, passes, state.variables("raw"), batch)
        if target and cost and cost.memory > target.room:
            raise ValueError(
                f"{_too_large('The evaluation step', target, cost)} Use a smaller batch: "
                f"--config.eval.batch_size={max(1, int(rows * target.room / cost.memory) // 2)}."
            )


def _too_large(what: str, target: Target, cost: GpuCost) -> str:
    return (
        f"{what} needs {cost.memory / 1e9:.1f} GB on each {target.gpu.kind}, of whose "
        f"{target.gpu.memory / 1e9:.1f} GB JAX takes {100 * gpus.preallocated():.3g} % "
        f"({gpus.FRACTION} sets another share)."
    )


def _check_training(config: Config, examples: int | None, target: Target, cost: GpuCost) -> None:
    """Raises a ValueError, which says what fits, if the training step does not."""
    if cost.memory <= target.room:
        return
    print("too large; looking for what fits …", flush=True)

    def measure(changed: Config) -> Need:
        experiment = Experiment(changed, examples, target.devices())
        batch = experiment.task.abstract_batch(changed.train.batch_size)
        compiled = compile_untuned(experiment.train_step, experiment.abstract_state(), batch)
        found = gpu_cost(compiled, target.name, target.count)
        return Need(found.memory, found.temporaries)

    shares = row_shares(Experiment(config, examples, target.devices()).mesh)
    need = Need(cost.memory, cost.temporaries)
    answers = what_fits(config, need, target.room, shares, measure)
    advice = (
        f"What fits: {', or '.join(answers)}."
        if answers
        else "Not even one example a device fits; use a GPU with more memory, or split the boards "
        "or pictures over several: --config.mesh.grid=2."
    )
    raise ValueError(f"{_too_large('The training step', target, cost)} {advice}")
