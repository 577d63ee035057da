"""Seconds and memory of single steps, this package beside plain PyTorch.

    python -m experiments.benchmarks.steps --torch-python=/path/to/venv/bin/python

Each case, mode and side runs in its own process, so that peak memory is measured separately (for
JAX it includes compilation). The sides take turns at single steps, so that a disturbance of the
machine affects all of them. A training step is forward pass, backward pass and optimizer, in JAX
with the metrics and the EMA of the training loop; `inference` is an evaluation step. Both sides get
the same input and the model and optimizer of the same card, in float32 on a CPU and bfloat16 on a
GPU.

    python -m experiments.benchmarks.steps --cases maze --set model.remat=1 model.attention=plain

overrides fields of the cards; those that the PyTorch model has too (width, steps, …) change on both
sides.

    python -m experiments.benchmarks.steps --show results.json

prints the table of `--output=results.json` again.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# Only the standard library, here and in the modules imported here: a process inherits the peak
# memory of the one that starts it, and neither side may load what the other needs.
from experiments.benchmarks.cases import CASES, card, parse_override
from experiments.benchmarks.results import LABELS, table
from experiments.benchmarks.sides import SIDES, environment, replies

MODES = ("train", "inference")


def cards(job: dict[str, Any]) -> dict[str, Any]:
    """The checked configuration of each case, as a dictionary."""
    from wonn_jax.config import to_dict
    from wonn_jax.train.card import freeze

    options = {"precision": job["precision"], "overrides": job["overrides"]}
    return {
        name: to_dict(freeze(card(name, batch=batch, **options)))
        for name, batch in job["batches"].items()
    }


def work(stream: TextIO, worker: str) -> None:
    """A worker: reads a job, then a number of steps to do, each from a line of standard input."""

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=stream, flush=True)

    job = json.loads(sys.stdin.readline())
    try:
        if worker == "cards":
            reply(cards(job))
            return
        side = SIDES[worker](job)
    except ModuleNotFoundError as error:
        advice = "install this package in its environment."
        if worker.startswith("torch"):
            advice = "use --torch-python=PYTHON, one that has it, or --sides jax."
        raise SystemExit(f"error: {sys.executable} has no {error.name}; {advice}") from error
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from error
    reply(side.about | {"imports": side.imports})
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter()
        for _ in range(steps):
            result = side.launch()
        loss = side.wait(result)
        seconds = (time.perf_counter() - start) / steps
        reply({"seconds": seconds, "loss": loss, "peak": side.peak()})


class Worker:
    """A process that does steps of its job on request."""

    def __init__(self, name: str, python: str, job: dict[str, Any]):
        self._name = name
        try:
            self._process = subprocess.Popen(
                [python, "-m", "experiments.benchmarks.steps", f"--worker={name}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
        except OSError as error:
            raise SystemExit(f"--torch-python={python} cannot be run: {error}.") from error
        self.about = self.ask(json.dumps(job))

    def ask(self, line: str) -> dict[str, Any]:
        """Sends a line and waits for the reply."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("A worker has no pipes.")
        try:
            print(line, file=stdin, flush=True)
            reply = stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            code = self._process.wait()
            raise SystemExit(f"The {self._name} worker ended with code {code}; see above.")
        return json.loads(reply)

    def close(self) -> None:
        """Closes its input, which ends it."""
        self._process.communicate()


def rounds(workers: dict[str, Worker], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Replies of all sides, round by round, warm-up first; the order of the sides alternates."""
    for number in range(-options.warmup, options.rounds):
        names = list(workers) if number % 2 else list(workers)[::-1]
        told = {}
        for name in names:
            time.sleep(0.2)  # until the threads of the other side sleep
            told[name] = workers[name].ask(str(options.repeat))
        label = f"round {number + 1}" if number >= 0 else "warm-up"
        shown = [(name, told[name]["seconds"], told[name]["loss"]) for name in workers]
        print(f"  {label:8}", *(f"{x} {y:.4g} s, loss {z:.4f}" for x, y, z in shown), sep="  ")
        yield told


def measure(
    case: str, mode: str, config: dict[str, Any], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measures one case and mode; returns the measurements and what each side reports of itself."""
    job = {"config": config, "mode": mode, "backend": options.backend}
    job |= {"threads": options.threads, "devices": options.devices}
    workers: dict[str, Worker] = {}
    try:
        for name in options.sides:
            python = sys.executable if name == "jax" else options.torch_python
            workers[name] = Worker(name, python, job)
        about = {name: worker.about for name, worker in workers.items()}
        counts = {name: x["parameters"] for name, x in about.items()}
        if len(set(counts.values())) > 1:
            raise SystemExit(f"The models of {case} differ in their parameters: {counts}.")
        turns = list(rounds(workers, options))
    finally:
        for worker in workers.values():
            worker.close()
    sides = {
        name: {
            "seconds": [x[name]["seconds"] for x in turns[options.warmup :]],
            "warmup_seconds": [x[name]["seconds"] for x in turns[: options.warmup]],
            "losses": [x[name]["loss"] for x in turns],
            "peak": turns[-1][name]["peak"],
            "imports": about[name]["imports"],
        }
        for name in workers
    }
    measured = {
        "case": case,
        "mode": mode,
        "batch": config["train"]["batch_size"],
        "parameters": min(counts.values()),
        "model": config["model"],
        "sides": sides,
    }
    return measured, about


def command_line(arguments: list[str]) -> str:
    """The command without the path of the PyTorch interpreter, which means nothing elsewhere."""
    words, hide = [], False
    for word in arguments:
        flag, equals, _ = word.partition("=")
        if flag == "--torch-python":
            hide = not equals
            word = f"{flag}=PYTHON" if equals else flag
        elif hide:
            word, hide = "PYTHON", False
        words.append(word)
    return f"python -m experiments.benchmarks.steps {shlex.join(words)}".strip()


def cpu_name() -> str:
    """The processor, as its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Of this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compare(options: argparse.Namespace) -> None:
    """Measures every case and mode; writes what there is after each of them."""
    gpu = options.backend == "gpu"
    batches = {
        name: options.batch or (CASES[name].gpu_batch if gpu else CASES[name].batch)
        for name in options.cases
    }
    overrides = dict(options.overrides)
    job = {"batches": batches, "precision": options.precision, "overrides": overrides}
    reader = Worker("cards", sys.executable, job)
    reader.close()
    results: dict[str, Any] = {
        "command": command_line(sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
        "backend": options.backend,
        "precision": options.precision,
        "set": overrides,
        "steps_per_turn": options.repeat,
        "devices": options.devices,
        "threads": options.threads,
        "hardware": {"cpu": cpu_name(), "cores": cores(), "gpu": None},
        "versions": {},
        "measurements": [],
    }
    for case in options.cases:
        for mode in options.modes:
            batch = reader.about[case]["train"]["batch_size"]
            print(f"{case}, {mode}, batch {batch}", flush=True)
            measured, about = measure(case, mode, reader.about[case], options)
            results["measurements"].append(measured)
            for name, side in about.items():
                versions = dict(side["versions"])
                own = versions.pop("python")
                results["versions"] |= {f"Python ({LABELS[name]})": own, **versions}
                results["hardware"]["gpu"] = side["gpu"]
            if options.output:
                options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{table(results)}", end="")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked, with the defaults of its backend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="GPU: all; CPU: torch jax")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--repeat", type=int, help="steps of a turn; GPU: 10, CPU: 1")
    parser.add_argument("--batch", type=int, help="of all cases; default: each its own")
    parser.add_argument("--backend", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="GPU: bfloat16")
    parser.add_argument("--devices", type=int, default=min(2, cores()), help="JAX's, on a CPU")
    parser.add_argument("--threads", type=int, default=cores(), help="of PyTorch")
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        default=[],
        metavar="GROUP.FIELD=VALUE",
        help="fields of the cards",
    )
    parser.add_argument("--output", type=Path, metavar="RESULTS.json")
    parser.add_argument("--show", type=Path, metavar="RESULTS.json", help="print its table")
    parser.add_argument("--worker", choices=("cards", *SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    gpu = options.backend == "gpu"
    options.sides = options.sides or (list(SIDES) if gpu else ["torch", "jax"])
    options.precision = options.precision or ("bfloat16" if gpu else "float32")
    if options.repeat is None:
        options.repeat = 10 if gpu else 1
    for name in ("rounds", "repeat", "devices", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}={getattr(options, name)} must be at least 1.")
    if options.warmup < 0:
        parser.error(f"--warmup={options.warmup} must be at least 0.")
    if options.batch is not None and options.batch < 1:
        parser.error(f"--batch={options.batch} must be at least 1.")
    unit = 1 if gpu or "jax" not in options.sides else options.devices
    for name in options.cases:
        batch = options.batch or CASES[name].batch  # on a GPU any will do
        if batch % unit:
            parser.error(
                f"the batch of {name}, {batch}, cannot be split over --devices={unit}; use "
                f"--batch={-(-batch // unit) * unit} or --devices=1."
            )
    try:
        options.overrides = [parse_override(text) for text in options.overrides]
    except ValueError as error:
        parser.error(str(error))
    return options


def main() -> None:
    options = parse()
    if options.show:
        try:
            print(table(json.loads(options.show.read_text())), end="")
        except (OSError, ValueError, KeyError) as error:
            raise SystemExit(f"--show={options.show} holds no results: {error}.") from error
    elif options.worker:
        with replies() as stream:
            work(stream, options.worker)
    else:
        compare(options)


if __name__ == "__main__":
    main()
