"""Steps of every card compiled for NVIDIA GPUs, without a GPU.

    pip install "jax[cuda13]"
    python -m experiments.gpu_check [--gpus h100 …] [--cards maze_hard cifar10:mlp-256 …]
        [--counts 1 8] [--modes data fsdp grid] [--steps train eval] [--set GROUP.FIELD=VALUE]
        [--again] [--report]

Compiles the training and the evaluation step of each card and preset with XLA's compiler for GPUs,
ptxas and cuDNN, which need neither a GPU nor a driver, and writes what is read from the programs
to `experiments/results/gpu.json` and `gpu.md`. Programs that are in the results already are
skipped, so that the command can be interrupted and repeated; `--again` compiles them, too. Where a
training step does not fit into a GPU, it is compiled again with more micro-batches until it does.

Nothing runs on a GPU. The time of a step is an **estimate**: kernels one after the other, each as
long as its products take at the peak rate of their type, or its bytes at the bandwidth of the
memory, or what it sends at that of the links, whichever is longer; loops by their trip counts.
`--counts 32` compiles for four hosts of eight.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.benchmarks.cases import parse_override
from experiments.benchmarks.results import markdown
from experiments.compile_check import command, programs, results
from experiments.compile_check.programs import Program
from experiments.compile_check.results import ABOUT, GIGA, Results, complete, used
from wonn_jax.train.gpus import GPUS, HOST, PREALLOCATED, check_count

RESULTS = Path(__file__).parent / "results" / "gpu.json"

_IMAGES = (
    *("trig-128", "mlp-256", "mlp-128", "trig-256", "trig-64-256", "mlp-64-256"),
    *("resnet18", "small", "small-resnet18"),
)
PRESETS = {
    "maze_hard": ("", "small"),
    "sudoku": ("",),
    "digits": ("",),
    "cifar10": _IMAGES,
    "imagenet1k": ("mlp-64-256", "mlp-256", *(x for x in _IMAGES if x[:3] != "mlp"), "mlp-128"),
    "imagenet100": _IMAGES,
    "cifar100": _IMAGES,
}
"""Presets of each card, those first that matter most."""

CARDS = tuple(
    f"{card}:{preset}".rstrip(":")
    for rank in range(max(map(len, PRESETS.values())))
    for card, presets in PRESETS.items()
    for preset in presets[rank : rank + 1]
)

IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "imagenet100": 126_689, "imagenet1k": 1_281_167}
"""Training images; the other cards say how many examples they have."""

MODES = ("data", "fsdp", "grid")
STEPS = ("train", "eval")


@dataclasses.dataclass(frozen=True)
class Job:
    """One program to compile.

    settings: overrides of the card, 'GROUP.FIELD=VALUE', in a tuple.
    """

    card: str
    gpu: str = "h100"
    count: int = 1
    mode: str = "data"
    step: str = "train"
    accumulate: int = 1
    settings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        parts = [self.card, self.gpu, f"{self.count}", self.mode, self.step]
        micro = [f"accumulate={self.accumulate}"] * (self.accumulate > 1)
        return " ".join([*parts, *micro, *self.settings])

    @property
    def axes(self) -> dict[str, int]:
        """Sizes of the mesh."""
        fsdp = self.count if self.mode == "fsdp" else 1
        grid = 2 if self.mode == "grid" else 1
        return {"data": self.count // (fsdp * grid), "fsdp": fsdp, "grid": grid}

    @property
    def program(self) -> Program:
        """What is compiled, with the batch of the card or the next larger one that can be split.

        Raises:
          ValueError: there is no such card, or no such setting.
        """
        card, _, preset = self.card.partition(":")
        settings = dict(map(parse_override, self.settings))
        config = programs.get_config(card, preset, settings)
        unit = self.count // self.axes["grid"] * self.accumulate
        batch = -(-config.train.batch_size // unit) * unit
        changed: dict[str, Any] = {}
        if batch != config.train.batch_size:
            changed["train.batch_size"] = batch
        if self.accumulate > 1:
            changed["train.accumulate"] = self.accumulate
        examples = IMAGES.get(card) or _examples(config)
        return Program(
            card=card,
            preset=preset,
            platform=self.gpu,
            devices=self.count,
            axes=self.axes,
            step=self.step,
            examples=examples,
            settings=settings | changed,
        )

    def splits(self) -> bool:
        """Whether the rows of cells can be split as the mesh would; always if it does not."""
        if self.mode != "grid":
            return True
        config = programs.card(self.program)
        examples = config.task.build(config.data, config.augment).examples
        try:
            config.model.check_split(examples, self.axes["grid"])
        except ValueError:
            return False
        return True


def _examples(config: Any) -> int:
    from wonn_jax.train.card import freeze

    found: int = freeze(config).data.training_examples()
    return found


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """What is to be compiled, those first that matter most."""
    gpus = [gpu for gpu in ("h100", *GPUS) if gpu in options.gpus]
    for gpu in dict.fromkeys(gpus):
        for count in sorted(options.counts):
            for step in options.steps:
                for card in options.cards:
                    for mode in options.modes if count > 1 else ("data",):
                        job = Job(card, gpu, count, mode, step, settings=tuple(options.set))
                        if job.splits():
                            yield job


def attempts(job: Job, path: Path) -> Iterator[tuple[str, Program]]:
    """A job, and while what was found does not fit, the same with more micro-batches."""
    while True:
        program = job.program
        yield job.key, program
        found = results.read(path).get(job.key)
        if not complete(found) or fits(job, found) or job.step != "train":
            return
        job = dataclasses.replace(job, accumulate=2 * job.accumulate)
        if job.accumulate * job.count // job.axes["grid"] > found["rows"]:
            return


def fits(job: Job, found: dict[str, Any]) -> bool:
    """Whether a program was compiled, and fits into the memory that JAX takes by default."""
    return complete(found) and used(found) <= PREALLOCATED * GPUS[job.gpu].memory


# --- The page -------------------------------------------------------------------------------------

HEADER = (
    *("card", "mesh", "batch", "micro-batches", "arguments, GB", "temporaries, GB"),
    *("of the GPU", "compiled in, s", "kernels", "moved, GB", "counted, TFLOP", "model, TFLOP"),
    *("attention", "calls of libraries, collectives", "sent, MB", "step, ms (estimate)"),
    *("recipe, h (estimate)", "step, ms (measured)"),
)
TEXT = (0, 1, 12, 13)


def row(job: Job, found: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    mesh = " × ".join(f"{name} {size}" for name, size in job.axes.items() if size > 1)
    head = (" ".join((job.card, *job.settings)), mesh)
    if not complete(found):
        blanks = [""] * (len(HEADER) - len(head) - 1)
        return (*head, *blanks[:11], found["error"], *blanks[11:])
    seconds = found["seconds"]
    measured = found.get("measured")
    return (
        *head,
        f"{found['rows']:,}",
        f"{job.accumulate}",
        f"{found['arguments'] / GIGA:.3f}",
        f"{found['temporaries'] / GIGA:.2f}",
        f"{100 * used(found) / GPUS[job.gpu].memory:.0f} %"
        + ("" if fits(job, found) else " (too large)"),
        f"{found['compile_seconds']:.0f}",
        f"{found['launches']:,}",
        f"{found['bytes'] / GIGA:.2f}",
        f"{sum(found['flops'].values()) / 1e12:.2f}",
        f"{found['model_flops'] / 1e12:.2f}",
        ", ".join(found["attention"]),
        ", ".join(f"{count} {name}" for name, count in sorted(found["calls"].items())),
        f"{found['sent'] / 1e6:,.1f}",
        f"{1e3 * seconds:,.2f}",
        f"{seconds * found['steps'] / 3600:,.2f}" if job.step == "train" else "",
        f"{1e3 * measured:,.2f}" if measured else "",
    )


def parse_key(key: str) -> Job:
    """The job whose key it is.

    Raises:
      ValueError: it is none of a job.
    """
    try:
        card, gpu, count, mode, step, *rest = key.split(" ")
        micro = [x for x in rest if x.startswith("accumulate=")]
        settings = tuple(x for x in rest if x not in micro)
        accumulate = int(micro[0].partition("=")[2]) if micro else 1
        job = Job(card, gpu, int(count), mode, step, accumulate, settings)
    except ValueError as error:
        raise ValueError(f"{key!r} is no key of a result of this command.") from error
    if gpu not in GPUS or mode not in MODES or step not in STEPS:
        raise ValueError(f"{key!r} is no key of a result of this command.")
    return job


def report(found: Results) -> str:
    """The results as a page."""
    done = {parse_key(key): value for key, value in found.items() if key != ABOUT}
    order = {card: number for number, card in enumerate(CARDS)}

    def place(job: Job) -> tuple[Any, ...]:
        return (order.get(job.card, math.inf), job.mode, job.settings, job.accumulate)

    days = sorted({value["date"] for value in done.values()})
    failed = [job.key for job, value in done.items() if not complete(value)]
    text = [
        "# Steps of the cards compiled for NVIDIA GPUs",
        "",
        f"{days[0]} to {days[-1]}; {found.get(ABOUT, '')}. No GPU was at hand: **nothing ran, "
        "every time is an estimate**; the last column is empty until a GPU has run the step.",
        "",
        '    pip install "jax[cuda13]"',
        "    python -m experiments.gpu_check",
        "",
        "All figures are those of one GPU and one step (an update; for the evaluation, a batch). "
        "Arguments (parameters, optimizer, EMA, batch) and temporaries are what the compiler "
        "allocates (`memory_analysis`); `of the GPU` is their share of its memory, of which JAX "
        f"takes {100 * PREALLOCATED:.0f} % by default (`XLA_PYTHON_CLIENT_MEM_FRACTION`): more "
        "than that is too large, and the step is compiled with more micro-batches "
        "(`--config.train.accumulate`) until it fits. Kernels launched, bytes that they read and "
        "write, products and calls are counted in the optimised program, loops by their trip "
        "counts. `counted` operations are those of its products, with all that is recomputed; "
        "`model` is three forward passes.",
        "",
        "**How a time is estimated:** kernels run one after the other, each as long as its "
        "products take at the published peak rate of their type (bfloat16; TensorFloat-32 for "
        "float32), or its bytes at the bandwidth of the memory, or what it sends at that of "
        "NVLink (between hosts, of the network card of each GPU), whichever is longer. Caches are "
        "not counted, and launching a kernel costs nothing: a GPU takes longer, and small "
        "networks, whose kernels are short, much longer. Tiles of products are XLA's defaults: on "
        "a GPU they are "
        "tuned when the step is compiled. The recipe is the card's number of steps, without data "
        "and evaluation.",
    ]
    for gpu, properties in GPUS.items():
        for step, what in zip(STEPS, ("Training", "Evaluation"), strict=True):
            for count in sorted({job.count for job in done}):
                wanted = (gpu, step, count)
                chosen = [job for job in done if (job.gpu, job.step, job.count) == wanted]
                if not chosen:
                    continue
                lines = [row(job, done[job]) for job in sorted(chosen, key=place)]
                name = f"{what}, {count} × {properties.kind}"
                text += ["", f"## {name}", "", markdown([HEADER, *lines], text=TEXT)]
    text += comparison(done)
    fit = sum(fits(job, value) for job, value in done.items())
    text += [
        "",
        f"{len(done) - len(failed)} of {len(done)} programs compile, {fit} of them fit"
        + (f"; not compiled: {'; '.join(failed)}" if failed else "")
        + ". Boards of 9×9 cannot be split over the devices of a host, nor can networks without "
        "oscillators: they have no `grid`.",
        "",
    ]
    return "\n".join(text)


COMPARED = (
    *("card", "settings", "GPU", "step", "attention", "temporaries, GB", "kernels", "moved, GB"),
    "step, ms (estimate)",
)


def comparison(done: dict[Job, dict[str, Any]]) -> list[str]:
    """Lines of the page on programs with settings, beside those of the same card without."""
    lines: list[tuple[str, ...]] = []
    for job in sorted(done, key=lambda job: (job.card, job.gpu, job.count, job.settings)):
        card = dataclasses.replace(job, settings=())
        if not job.settings or not complete(done.get(card)) or not complete(done[job]):
            continue
        for each in (card, job):
            found = done[each]
            where = (f"{each.count} × {each.gpu}", each.step, ", ".join(found["attention"]))
            figures = (
                f"{found['temporaries'] / GIGA:.3f}",
                f"{found['launches']:,}",
                f"{found['bytes'] / GIGA:.2f}",
                f"{1e3 * found['seconds']:,.2f}",
            )
            line = (each.card, " ".join(each.settings) or "as it is", *where, *figures)
            if line not in lines:
                lines.append(line)
    if not lines:
        return []
    about = (
        "From the tables above. Sudoku has 81 tokens, for which JAX refuses the derivative of "
        "cuDNN's attention: they are padded to 82 by one that nobody sees."
    )
    return [
        "",
        "## Settings compared",
        "",
        about,
        "",
        markdown([COMPARED, *lines], text=(0, 1, 2, 3, 4)),
    ]


def parse_cards(text: str) -> str:
    """The name of a card and its preset, or of a card with all its presets.

    Raises:
      argparse.ArgumentTypeError: there is none.
    """
    if text in CARDS or text in PRESETS:
        return text
    card, _, preset = text.partition(":")
    if card in PRESETS:
        known = ", ".join(x for x in PRESETS[card] if x) or "none"
        raise argparse.ArgumentTypeError(f"{card} has no preset {preset!r}; it has {known}")
    raise argparse.ArgumentTypeError(f"there is no card {card!r}; there are {', '.join(PRESETS)}")


def parse_count(text: str) -> int:
    """A number of GPUs.

    Raises:
      argparse.ArgumentTypeError: it is none, or hosts have not so many.
    """
    try:
        check_count(int(text))
    except ValueError as error:
        reason = str(error) if text.isdecimal() else f"{text!r} is no number of GPUs"
        raise argparse.ArgumentTypeError(reason) from error
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Compiles what is missing and writes the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    gpus = ("h100", *(name for name in GPUS if name != "h100"))
    parser.add_argument("--gpus", nargs="+", default=list(gpus), choices=gpus)
    parser.add_argument("--cards", nargs="+", default=list(CARDS), type=parse_cards)
    parser.add_argument("--counts", nargs="+", default=[1, HOST], type=parse_count)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="GROUP.FIELD=VALUE", help="settings of the cards"
    )
    command.add_options(parser, RESULTS)
    options = parser.parse_args(arguments)
    options.cards = [
        name
        for card in options.cards
        for name in ([card] if card in CARDS else [x for x in CARDS if x.split(":")[0] == card])
    ]
    planned = (item for job in jobs(options) for item in attempts(job, options.output))
    return command.run(options, report, planned)


if __name__ == "__main__":
    sys.exit(main())
