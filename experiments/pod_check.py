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
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.results import markdown
from experiments.compile_check import command
from experiments.compile_check.platforms import PODS
from experiments.compile_check.programs import Program
from experiments.compile_check.results import GIGA, Results, used

RESULTS = Path(__file__).parent / "results" / "pods.json"


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
    def program(self) -> Program:
        """What is compiled."""
        model = MODELS[self.model]
        settings = {"train.batch_size": self.batch}
        if self.accumulate > 1:
            settings["train.accumulate"] = self.accumulate
        return Program(
            card=model.card,
            preset=model.preset,
            platform=self.pod,
            devices=PODS[self.pod].chips,
            axes=self.axes,
            step="train",
            examples=model.examples,
            settings=settings,
        )


def jobs(models: list[str], pods: list[str], modes: list[str]) -> Iterator[Job]:
    """In every mode, the smallest batch with an example for every chip, and the largest."""
    for model in models:
        for mode in modes:
            for pod in pods:
                for number, batch in enumerate(MODELS[model].batches):
                    job = Job(model, pod, mode, batch)
                    shares = math.prod(v for k, v in job.axes.items() if k != "grid")
                    yield job._replace(batch=max(batch, shares)) if number == 0 else job


def seconds(job: Job, found: dict[str, Any]) -> float:
    """Estimated time of a step, s."""
    pod = PODS[job.pod]
    moved = sum(size for _, size in found["collectives"].values())
    return found["cycles"] / pod.clock + moved / pod.links


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


def report(results: Results) -> str:
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


def main(arguments: list[str] | None = None) -> int:
    """Compiles what is missing and writes the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", nargs="+", default=list(PODS), choices=list(PODS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    command.add_options(parser, RESULTS)
    options = parser.parse_args(arguments)
    planned = jobs(options.models, options.pods, options.modes)
    return command.run(options, report, ((job.key, job.program) for job in planned))


if __name__ == "__main__":
    sys.exit(main())
