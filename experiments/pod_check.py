"""Training steps compiled for TPU pods, without a pod.

    pip install 'jax[tpu]'
    python -m experiments.pod_check [--pods v5e-16 …] [--models maze …] [--report]

Compiles the training steps of Maze-hard and ImageNet-1K with the real TPU compiler, for the
smallest and the largest batch, data parallel, fully sharded and with the grid split, and writes the
compiler's analysis to `experiments/results/pods.json` and `pods.md`: memory, operations and bytes
of each chip, and the collectives of a step. Programs that are in the results already are skipped,
so that the command can be interrupted and repeated; `--again` compiles them, too.

Nothing runs on a chip. The time of a step is an **estimate**: the compiler's cycles for its own
operations, times the trip count in a loop; for the attention kernel, the cycles per logit of its
schedule on a v5e (`benchmarks/tpu_attention.py`), scaled by the peak rate; and collectives one
after the other, at the published bandwidth of a chip's links.
"""

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.results import markdown

RESULTS = Path(__file__).parent / "results" / "pods.json"
GIGA = 1e9

KERNEL_CYCLES = 0.024
"""Cycles of the attention kernel, forward and backward, per logit with padding, on a v5e: 8.63 ms
at 1.5 GHz for 64 × 8 heads of 1024 × 1024, see `results/tpu_attention.md`."""


class Pod(NamedTuple):
    """A slice, with the published figures of one chip."""

    topology: str
    chips: int
    memory: float  # bytes
    peak: float  # FLOP/s, bfloat16
    clock: float  # Hz, from the peak and the number of multiply-adds in a cycle
    links: float  # bytes/s between chips


PODS = {
    "v5e-16": Pod("v5e:4x4", 16, 16e9, 197e12, 197e12 / (4 * 2 * 128**2), 200e9),
    "v5e-256": Pod("v5e:16x16", 256, 16e9, 197e12, 197e12 / (4 * 2 * 128**2), 200e9),
    "v6e-64": Pod("v6e:8x8", 64, 32e9, 918e12, 918e12 / (4 * 2 * 256**2), 400e9),
    "v5p-64": Pod("v5p:2x4x4", 32, 95e9, 459e12, 459e12 / (8 * 2 * 128**2), 600e9),
}
"""Slices by name; the names of v5p count the two cores of each chip."""


class Model(NamedTuple):
    """A configuration, and how it is distributed."""

    card: str
    preset: str
    examples: int  # of the training split
    epochs: int
    batches: tuple[int, int]
    grid: int  # parts of the rows of cells
    room: float  # examples that a chip processes at a time, per GB of its memory


MODELS = {
    "maze": Model("maze_hard", "", 1000, 9000, (64, 8192), 2, 16.0),
    "imagenet": Model("imagenet1k", "mlp-64-256", 1_281_167, 300, (512, 16384), 4, 2.0),
}

MODES = ("data", "fsdp", "grid")


class Job(NamedTuple):
    """One program to compile."""

    model: str
    pod: str
    mode: str
    batch: int

    @property
    def axes(self) -> dict[str, int]:
        """Sizes of the mesh."""
        chips, grid = PODS[self.pod].chips, MODELS[self.model].grid
        return {
            "data": {"data": chips, "fsdp": 1, "grid": chips // grid}[self.mode],
            "fsdp": chips if self.mode == "fsdp" else 1,
            "grid": grid if self.mode == "grid" else 1,
        }

    @property
    def accumulate(self) -> int:
        """Micro-batches, so many that a chip's share of one fits into its memory."""
        axes, pod, model = self.axes, PODS[self.pod], MODELS[self.model]
        each = self.batch / (axes["data"] * axes["fsdp"] * axes["grid"])
        return 2 ** max(0, math.ceil(math.log2(each / (model.room * pod.memory / GIGA))))

    @property
    def key(self) -> str:
        return f"{self.model} {self.pod} {self.mode} {self.batch}"

    @property
    def flags(self) -> str:
        """Flags of `python -m wonn_jax.main` that train it."""
        preset = f":{MODELS[self.model].preset}" if MODELS[self.model].preset else ""
        flags = [f"--config=configs/{MODELS[self.model].card}.py{preset}"]
        flags.append(f"--config.train.batch_size={self.batch}")
        flags += [f"--config.mesh.{k}={v}" for k, v in self.axes.items() if k != "data" and v > 1]
        if self.accumulate > 1:
            flags.append(f"--config.train.accumulate={self.accumulate}")
        return " ".join(flags)


def jobs(models: list[str], pods: list[str], modes: list[str]) -> Iterator[Job]:
    """In every mode, the smallest batch with an example for every chip, and the largest."""
    for model in models:
        for mode in modes:
            for pod in pods:
                for number, batch in enumerate(MODELS[model].batches):
                    job = Job(model, pod, mode, batch)
                    shares = math.prod(v for k, v in job.axes.items() if k != "grid")
                    yield job._replace(batch=max(batch, shares)) if number == 0 else job


def compile_step(job: Job) -> dict[str, Any]:
    """The compiler's analysis of the training step of a job."""
    import importlib

    import jax
    from jax.experimental import topologies

    from experiments.benchmarks import tpu_program
    from wonn_jax.kernels.pallas import block_size
    from wonn_jax.train.card import freeze
    from wonn_jax.train.experiment import Experiment

    pod, model = PODS[job.pod], MODELS[job.model]
    get_config = importlib.import_module(f"configs.{model.card}").get_config
    config = get_config(model.preset) if model.preset else get_config()
    config.train.batch_size, config.train.accumulate = job.batch, job.accumulate
    config.mesh.update(job.axes)
    devices = topologies.get_topology_desc(pod.topology, "tpu").devices
    # Kernels are chosen by the platform of these devices, not by that of this machine.
    experiment = Experiment(freeze(config), model.examples, devices).check()
    network: Any = experiment.config.model
    batch = experiment.task.abstract_batch(job.batch)
    state = experiment.abstract_state()
    began = time.monotonic()
    program = experiment.train_step.compile(state, batch)
    seconds = time.monotonic() - began
    memory: Any = program.memory_analysis()
    cost: Any = program.cost_analysis()
    parts = tpu_program.computations(program.as_text())

    # The kernel runs forward and backward, each for half of the cycles.
    cells = experiment.model.phase_shape(batch["input"].shape[1:])[:2]
    group = getattr(network, "group", 1)
    tokens = math.prod(-(-side // group) for side in cells)
    padded = -(-tokens // block_size(tokens)) * block_size(tokens)
    rows = job.batch / job.accumulate / (job.axes["data"] * job.axes["fsdp"])
    speed = pod.peak / PODS["v5e-16"].peak * PODS["v5e-16"].clock / pod.clock
    kernel = KERNEL_CYCLES / speed * rows * network.heads * padded**2 / 2
    return {
        "date": date.today().isoformat(),
        "compile_seconds": seconds,
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "output": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "model_flops": experiment.training_flops * job.batch / pod.chips,
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "parameters": sum(math.prod(x.shape) for x in jax.tree.leaves(state.params)),
        "collectives": tpu_program.collectives(parts),
        "cycles": tpu_program.cycles(parts, lambda name: kernel),
    }


def read_by_hosts(job: Job) -> dict[str, int]:
    """Number of hosts of the slice, and of the batch's rows that the first one reads."""
    import numpy as np
    from jax.experimental import topologies

    from wonn_jax.parallel import mesh as sharding
    from wonn_jax.parallel.mesh import MeshConfig

    devices = topologies.get_topology_desc(PODS[job.pod].topology, "tpu").devices
    placed = sharding.by_row(sharding.make_mesh(MeshConfig(**job.axes), devices))
    here = [
        np.arange(job.batch)[index]
        for device, index in placed.devices_indices_map((job.batch,)).items()
        if device.process_index == 0
    ]
    hosts = len({device.process_index for device in devices})
    return {"hosts": hosts, "host_rows": len(np.unique(np.concatenate(here)))}


def seconds(job: Job, found: dict[str, Any]) -> float:
    """Estimated time of a step, s."""
    pod = PODS[job.pod]
    moved = sum(size for _, size in found["collectives"].values())
    return found["cycles"] / pod.clock + moved / pod.links


def used(found: dict[str, Any]) -> int:
    """Memory that the program needs on a chip, bytes."""
    return found["arguments"] + found["temporaries"] + found["output"]


def fits(job: Job, found: dict[str, Any]) -> bool:
    """Whether the program was compiled and fits into the memory of a chip."""
    return "error" not in found and used(found) <= PODS[job.pod].memory


def row(job: Job, found: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    pod, model = PODS[job.pod], MODELS[job.model]
    axes = " × ".join(f"{name} {size}" for name, size in job.axes.items() if size > 1)
    head = (job.model, job.pod, axes, f"{job.batch:,}", f"{job.accumulate}")
    if "error" in found:
        return (*head, *[""] * 7, found["error"], *[""] * 3)
    kinds = ", ".join(
        f"{count} {kind} {size / 1e6:,.1f}"
        for kind, (count, size) in sorted(found["collectives"].items())
    )
    estimate = seconds(job, found)
    steps = model.epochs * math.ceil(model.examples / job.batch)
    sensible = job.batch <= model.examples
    return (
        *head,
        f"{found['host_rows']:,} ({found['hosts']} hosts)",
        f"{found['arguments'] / GIGA:.3f}",
        f"{found['temporaries'] / GIGA:.2f}",
        f"{100 * used(found) / pod.memory:.0f} %",
        f"{found['model_flops'] / 1e12:.2f}",
        f"{found['flops'] / 1e12:.2f}",
        f"{found['bytes'] / GIGA:.1f}",
        kinds,
        f"{sum(size for _, size in found['collectives'].values()) / (4 * found['parameters']):.2f}",
        f"{1e3 * estimate:,.1f}",
        f"{estimate * steps / 86400:.2f}" if sensible else "–",
    )


HEADER = (
    *("model", "pod", "mesh", "batch", "micro-batches", "rows a host reads"),
    *(
        "arguments, GB",
        "temporaries, GB",
        "of the chip",
        "model, TFLOP",
        "counted, TFLOP",
        "counted, GB",
    ),
    *("collectives of a step: number, kind, MB", "÷ parameters"),
    *("step, ms (estimate)", "recipe, days (estimate)"),
)


def report(results: dict[str, Any]) -> str:
    """The results as a page."""
    done = {key: found for key, found in results.items() if key != "about"}
    planned = list(jobs(list(MODELS), list(PODS), list(MODES)))
    present = [job for job in planned if job.key in done]
    lines = [row(job, done[job.key]) for job in present]
    failed = [job.key for job in present if not fits(job, done[job.key])]
    missing = [job.key for job in planned if job.key not in done]
    days = sorted({found["date"] for found in done.values()})
    text = [
        "# Training steps compiled for TPU pods",
        "",
        f"{days[0]} to {days[-1]}; {results['about']}. No TPU was at hand: **nothing ran, every "
        "time is an estimate**.",
        "",
        "    pip install 'jax[tpu]'",
        "    python -m experiments.pod_check",
        "",
        "Memory, operations and bytes are those of one chip, as the TPU compiler states them "
        "(`memory_analysis`, `cost_analysis`, which counts the body of a loop once and nothing "
        "inside the attention kernel). `model` operations are those of the products of the "
        "network, forward and backward. Collectives are read from the compiled program, those in "
        "loops as often as they run; MB are of their results on one chip, and their sum is set "
        "beside the parameters in float32. How the time of a step "
        "is estimated stands in `experiments/pod_check.py`. Days are for the paper's number of "
        "epochs; where a batch has more than the 1000 boards there are, there are none.",
        "",
        markdown([HEADER, *lines], text=(0, 1, 2, 12)),
        "",
        f"{len(present) - len(failed)} of {len(planned)} programs compile and fit"
        + (f"; not: {', '.join(failed)}" if failed else "")
        + (f"; not compiled yet: {', '.join(missing)}" if missing else "")
        + ".",
        "",
        "`maze` is `configs/maze_hard.py`, 396,293 parameters; `imagenet` is "
        "`configs/imagenet1k.py:mlp-64-256`, 7,791,400 parameters, 224×224. v5p-64 has 32 chips "
        "of two cores. Where a pod has more chips than the smallest batch has rows, the batch is "
        "one row a chip. A host reads each of its rows once; where the grid is split over chips of "
        "different hosts, these read the same rows. Splitting the grid is for boards and pictures "
        "that a chip has no room for: here, where they fit, it costs more than it saves. "
        "Micro-batches are `--config.train.accumulate`, the mesh "
        "`--config.mesh.fsdp` and `--config.mesh.grid`.",
        "",
    ]
    return "\n".join(text)


def main() -> None:
    """Compiles what is missing and writes the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", nargs="+", default=list(PODS), choices=list(PODS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--again", action="store_true", help="compile programs in the results, too")
    parser.add_argument("--report", action="store_true", help="only write the report")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    if not options.report:
        # Read when JAX is imported, so that it looks for no chip.
        os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
        try:
            import libtpu
        except ImportError:
            sys.exit("The TPU compiler is not installed: pip install 'jax[tpu]'.")
        import jax

        version = getattr(libtpu, "__version__", "?")
        results["about"] = f"jax {jax.__version__}, libtpu {version}"
        for job in jobs(options.models, options.pods, options.modes):
            if job.key in results and "error" not in results[job.key] and not options.again:
                continue
            print(f"{job.key}: {job.flags}", flush=True)
            try:
                results[job.key] = compile_step(job) | read_by_hosts(job)
            except (RuntimeError, ValueError) as error:
                message = re.sub(r"\s+", " ", str(error))[:300]
                results[job.key] = {"error": message, "date": date.today().isoformat()}
                print(f"  {message}", flush=True)
            options.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
            options.output.with_suffix(".md").write_text(report(results))
    if not results:
        sys.exit(f"{options.output} holds no results yet; run without --report first.")
    options.output.with_suffix(".md").write_text(report(results))
    print(f"written: {options.output.with_suffix('.md')}")


if __name__ == "__main__":
    main()
