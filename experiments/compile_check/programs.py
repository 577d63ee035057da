"""A step of a card, compiled, and what its compiler says of it."""

import gzip
import importlib
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.cases import override


class Program(NamedTuple):
    """What to compile.

    card, preset: of `configs/`.
    platform: a name that `platforms.devices` knows.
    devices: number of them, of one host or of hosts of eight; for a slice of a pod, all its chips.
    axes: sizes of the mesh, by axis.
    step: 'train' or 'eval'.
    examples: of the training split, from which the length of the recipe is counted.
    settings: fields of the card to override, by path: 'train.batch_size'.
    """

    card: str
    preset: str
    platform: str
    devices: int
    axes: dict[str, int]
    step: str
    examples: int
    settings: dict[str, Any]

    @property
    def flags(self) -> str:
        """Flags of `python -m wonn_jax.main` that run it."""
        settings = {f"mesh.{k}": v for k, v in self.axes.items() if k != "data" and v > 1}
        settings = self.settings | settings
        name = f"configs/{self.card}.py{f':{self.preset}' if self.preset else ''}"
        return " ".join(
            [f"--config={name}", *(f"--config.{k}={v}" for k, v in settings.items() if v != "")]
        )


def get_config(card: str, preset: str, settings: dict[str, Any]) -> Any:
    """A card of `configs/` with fields overridden.

    Raises:
      ValueError: a field does not exist, or has another type.
    """
    make = importlib.import_module(f"configs.{card}").get_config
    config = make(preset) if preset else make()
    override(config, settings, f"configs/{card}.py")
    return config


def card(program: Program) -> Any:
    """The card with the settings of a program, checked and frozen."""
    from wonn_jax.train.card import freeze

    config = get_config(program.card, program.preset, program.settings)
    config.mesh.update(program.axes)
    return freeze(config)


def compile_program(program: Program, keep: Path | None = None) -> dict[str, Any]:
    """Compiles a program; the analysis of its compiler, and what is counted in its text.

    Args:
      program: what to compile.
      keep: file to write the optimised HLO into, compressed.
    """
    import jax

    from experiments.compile_check import cpu, platforms
    from wonn_jax.train.experiment import Experiment
    from wonn_jax.train.gpu_cost import compile_untuned, gpu_cost

    # Kernels are chosen by the platform of these devices, not by that of this machine.
    devices = platforms.devices(program.platform, program.devices)
    experiment = Experiment(card(program), program.examples, devices).check()
    state = experiment.abstract_state()
    began = time.monotonic()
    if program.step == "train":
        rows, passes = experiment.config.train.batch_size, experiment.training_flops
        batch = experiment.task.abstract_batch(rows)
        compiled = compile_untuned(experiment.train_step, state, batch)
    else:
        (settings, *_) = [e for e in experiment.config.eval.evaluators if e.in_training]
        rows = experiment.evaluation_rows
        passes = settings.passes * experiment.forward_flops
        batch = experiment.task.abstract_batch(rows)
        step = settings.build(experiment).step
        compiled = compile_untuned(step, state.variables("raw"), batch)
    seconds = time.monotonic() - began
    memory: Any = compiled.memory_analysis()
    text = compiled.as_text()
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.write_bytes(gzip.compress(text.encode()))
    found = {
        "date": date.today().isoformat(),
        "jax": jax.__version__,
        "versions": platforms.versions(program.platform),
        "compile_seconds": seconds,
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "output": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "rows": rows,
        "steps": experiment.total,
        "model_flops": passes * rows / experiment.mesh.size,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    }
    if program.platform == platforms.CPU:
        return found | cpu.measure(experiment, compiled, batch)
    if program.platform in platforms.PODS:
        return found | _of_pod(program, experiment, compiled, text, batch)
    cost = gpu_cost(compiled, program.platform, program.devices)
    return found | cost.work._asdict() | {"attention": cost.attention, "seconds": cost.seconds}


def _of_pod(
    program: Program, experiment: Any, compiled: Any, text: str, batch: Any
) -> dict[str, Any]:
    from experiments.benchmarks import tpu_program
    from experiments.compile_check import tpu
    from wonn_jax.train import hlo

    module = hlo.parse(text)
    kernel = tpu.attention_cycles(experiment, program.platform, batch["input"].shape[1:])
    cost: Any = compiled.cost_analysis()
    return tpu.read_by_hosts(experiment) | {
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "collectives": hlo.collectives(module),
        "cycles": tpu_program.cycles(module, lambda name: kernel),
    }
