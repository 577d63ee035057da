"""What each choice of recomputation saves and costs, on a GPU, a TPU and a CPU.

    pip install "jax[cuda13]"   # or "jax[tpu]"; for the CPU neither
    python -m experiments.recomputation [--platforms h100 v5p-64 cpu] [--cards cifar10:trig-128 …]
        [--again] [--report]

Compiles the training step of an ImageNet and a CIFAR card with each choice of `model.remat` and
`model.remat_layers`, for one H100 and for the chips of a slice of a TPU pod, neither of which is
needed; on the CPU of this machine, with a small batch, it also runs. Writes
`experiments/results/recomputation.json` and `recomputation.md`. Programs that are in the results
already are skipped, so that the command can be interrupted and repeated, also with another
environment for each compiler.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.benchmarks.results import markdown
from experiments.compile_check import command
from experiments.compile_check.platforms import CPU, PODS
from experiments.compile_check.programs import Program
from experiments.compile_check.results import ABOUT, GIGA, Results, complete, used
from experiments.gpu_check import IMAGES
from wonn_jax.train.gpus import GPUS

RESULTS = Path(__file__).parent / "results" / "recomputation.json"

CHOICES = (("0", "off"), ("1", "off"), ("3", "off"), ("0", "on"), ("1", "on"))
"""Of `model.remat` and `model.remat_layers`; the first recomputes least."""

DEFAULT = ("1", "auto")

ROWS = {"imagenet1k:mlp-256": (128, 2), "cifar10:trig-128": (64, 8)}
"""Examples in the batch of one GPU or chip and, with float32 maps, in that of a CPU."""

PLATFORMS = ("h100", "v5p-64", CPU)

BOUNDS = ((9e9, 1 / 3), (16e9, 1 / 5))
"""Bytes that 128 images of `imagenet1k:mlp-256` may take, and the operations that may be added."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One program to compile."""

    card: str
    platform: str
    remat: str
    layers: str

    @property
    def key(self) -> str:
        return f"{self.card} {self.platform} remat={self.remat} remat_layers={self.layers}"

    @property
    def program(self) -> Program:
        """What is compiled: every device has the same number of examples."""
        card, _, preset = self.card.partition(":")
        devices = PODS[self.platform].chips if self.platform in PODS else 1
        settings: dict[str, Any] = {
            "model.remat": int(self.remat),
            "model.remat_layers": self.layers,
            "train.batch_size": ROWS[self.card][self.platform == CPU] * devices,
        }
        if self.platform == CPU:
            settings["model.precision"] = "float32"
        return Program(
            card=card,
            preset=preset,
            platform=self.platform,
            devices=devices,
            axes={"data": devices, "fsdp": 1, "grid": 1},
            step="train",
            examples=IMAGES[card],
            settings=settings,
        )


def jobs(cards: list[str], platforms: list[str]) -> Iterator[Job]:
    """What is to be compiled."""
    for platform in platforms:
        for card in cards:
            for choice in (DEFAULT, *CHOICES):
                yield Job(card, platform, *choice)


# --- The page -------------------------------------------------------------------------------------

HEADER = (
    *("`model.remat`", "`model.remat_layers`", "memory, GB", "operations, TFLOP", "÷ first line"),
    *("moved, GB", "÷ first line", "step, ms", "÷ first line", "default"),
)


def seconds(job: Job, found: dict[str, Any]) -> float:
    """Of a step: estimated for a GPU and a TPU, measured on a CPU."""
    if job.platform in PODS:
        pod = PODS[job.platform]
        sent = sum(size for _, size in found["collectives"].values())
        return float(found["cycles"] / pod.clock + sent / pod.links)
    return float(found["seconds"])


def operations(job: Job, found: dict[str, Any]) -> float | None:
    """Those of all products on a GPU; all that the compiler counts on a TPU; not known on a CPU."""
    if job.platform == CPU:
        return None
    return float(sum(found["flops"].values()) if job.platform in GPUS else found["flops"])


def row(job: Job, done: Results) -> tuple[str, ...]:
    """A line of the table."""
    found = done[job.key]
    head = (job.remat, job.layers)
    if not complete(found):
        return (*head, found["error"], *[""] * (len(HEADER) - 3))
    first_job = dataclasses.replace(job, remat=CHOICES[0][0], layers=CHOICES[0][1])
    first = done.get(first_job.key)
    first = first if complete(first) else None

    def with_ratio(value: float | None, of_first: float | None, text: str) -> tuple[str, str]:
        if value is None:
            return "", ""
        return text, f"{value / of_first:.2f}" if of_first else ""

    count, moved, time = operations(job, found), found.get("bytes"), seconds(job, found)
    of_first = (
        (operations(job, first), first.get("bytes"), seconds(job, first))
        if first
        else (None, None, None)
    )
    return (
        *head,
        f"{used(found) / GIGA:.2f}",
        *with_ratio(count, of_first[0], f"{(count or 0) / 1e12:.2f}"),
        *with_ratio(moved, of_first[1], f"{(moved or 0) / GIGA:.1f}"),
        *with_ratio(time, of_first[2], f"{1e3 * time:,.1f}"),
        "yes" if (job.remat, job.layers) == DEFAULT else _same_as_default(job, done),
    )


def _same_as_default(job: Job, done: Results) -> str:
    default = done.get(Job(job.card, job.platform, *DEFAULT).key)
    same = complete(default) and all(
        done[job.key].get(name) == default[name]
        for name in ("arguments", "temporaries", "bytes", "flops")
        if name in default
    )
    return "the same program" if same else ""


def verdicts(done: Results) -> list[str]:
    """Whether the bounds on memory and operations are met, and by which choice."""
    card, gpu = "imagenet1k:mlp-256", "h100"
    first = Job(card, gpu, *CHOICES[0])
    if not complete(done.get(first.key)):
        return []
    least = operations(first, done[first.key]) or 0.0
    lines = []
    for memory, more in BOUNDS:
        meet = []
        for choice in (DEFAULT, *CHOICES):
            job = Job(card, gpu, *choice)
            found = done.get(job.key)
            if not complete(found) or used(found) > memory:
                continue
            if (operations(job, found) or 0.0) <= (1 + more) * least:
                meet.append(f"remat={job.remat} remat_layers={job.layers}")
        lines.append(
            f"- 128 images in at most {memory / GIGA:g} GB with at most {100 * more:.0f} % more "
            f"operations than without recomputation: "
            + (f"**met** by {', '.join(meet)}" if meet else "**not met** by any choice")
            + "."
        )
    return lines


def parse_key(key: str) -> Job:
    """The job whose key it is.

    Raises:
      ValueError: it is none of a job.
    """
    for card in ROWS:
        for platform in PLATFORMS:
            for choice in (DEFAULT, *CHOICES):
                job = Job(card, platform, *choice)
                if job.key == key:
                    return job
    raise ValueError(f"{key!r} is no key of a result of this command.")


def heading(card: str, platform: str, done: Results) -> str:
    """Of a table: card, batch and hardware."""
    of_device, of_cpu = ROWS[card]
    known = [x for x in done.values() if complete(x)]
    versions = f" ({known[0]['versions']})" if known else ""
    if platform == CPU:
        hardware = known[0]["hardware"] if known else "a CPU"
        return f"{card}, {of_cpu} images in float32, measured on {hardware}{versions}"
    kind = GPUS[platform].kind if platform in GPUS else f"each chip of {platform}"
    return f"{card}, {of_device} images, compiled for {kind}{versions}"


def report(results: Results) -> str:
    """The results as a page."""
    done = {key: value for key, value in results.items() if key != ABOUT}
    present = {key: parse_key(key) for key in done}
    days = sorted({value["date"] for value in done.values()})
    text = [
        "# What is recomputed in the backward pass: memory and cost",
        "",
        f"{days[0]} to {days[-1]}. No GPU and no TPU was at hand: their "
        "programs were **compiled, not run**, and their times are estimates; the CPU's were "
        "measured.",
        "",
        '    pip install "jax[cuda13]" && python -m experiments.recomputation --platforms h100',
        '    pip install "jax[tpu]" && python -m experiments.recomputation --platforms v5p-64',
        "    python -m experiments.recomputation --platforms cpu",
        "",
        "A training step with an EMA, the whole batch at once. Memory is what the compiler "
        "allocates (`memory_analysis`): parameters, optimizer, batch and temporaries. Operations: "
        "on a GPU those of all products in the program, loops by their trip counts; on a TPU what "
        "the compiler counts. Bytes and times of a GPU as in [gpu.md](gpu.md), times of a TPU as "
        "in [pods.md](pods.md). `÷ first line` is the ratio to the step that recomputes neither "
        "steps nor layers. `remat` 1 recomputes each step of the dynamics, k chunks of k steps "
        "too (3 is a whole layer's dynamics here); `remat_layers` also what is between the "
        "convolutions of two layers.",
        "",
        *verdicts(done),
    ]
    for card in ROWS:
        for platform in PLATFORMS:
            lines = [
                row(job, done)
                for choice in (*CHOICES, DEFAULT)
                if (job := Job(card, platform, *choice)).key in present
            ]
            if lines:
                of_table = {k: v for k, v in done.items() if k.startswith(f"{card} {platform} ")}
                title = heading(card, platform, of_table)
                text += ["", f"## {title}", "", markdown([HEADER, *lines], text=(1, 9))]
    return "\n".join([*text, ""])


def main(arguments: list[str] | None = None) -> int:
    """Compiles what is missing and writes the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--platforms", nargs="+", default=list(PLATFORMS), choices=PLATFORMS)
    parser.add_argument("--cards", nargs="+", default=list(ROWS), choices=list(ROWS))
    command.add_options(parser, RESULTS)
    options = parser.parse_args(arguments)
    planned = jobs(options.cards, options.platforms)
    return command.run(options, report, ((job.key, job.program) for job in planned))


if __name__ == "__main__":
    sys.exit(main())
