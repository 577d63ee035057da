"""Seconds and memory of one CIFAR-10 training step on the CPU, PyTorch against this package.

    python -m experiments.benchmarks.cifar_step --torch-python=/path/to/venv/bin/python

Both train the image model of the paper (L 6, T 3, N 2, attention, float32, 32×32 pictures) by
AdamW. Each has a process of its own, so that the peaks of resident memory are apart (that of
JAX includes compilation), and the two take turns at single steps: a disturbance of the machine
meets both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

# Only the standard library here: a process inherits the peak memory of the one that starts it,
# and neither side shall load what the other needs.

CLASSES, LAYERS, STEPS, GROUP, SIDE = 10, 6, 3, 2, 32
LEARNING_RATE, WEIGHT_DECAY = 5e-4, 1e-4

Step = Callable[[], float]


def torch_step(options: argparse.Namespace) -> tuple[Step, str]:
    """A function that makes one training step in PyTorch and returns the loss; what it runs."""
    import torch
    import torch.nn.functional as F

    from experiments.benchmarks.torch_image import ImageModel

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    learned = options.interaction == "mlp"
    model = ImageModel((options.width,) * LAYERS, CLASSES, STEPS, learned=learned, group=GROUP)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    images = torch.randn(options.batch, 3, SIDE, SIDE)
    target = torch.arange(options.batch) % CLASSES

    def step() -> float:
        theta = 0.01 * torch.randn(options.batch, options.width, SIDE, SIDE)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images, theta).logits, target)
        loss.backward()
        optimizer.step()
        return loss.item()

    count = sum(x.numel() for x in model.parameters())
    return step, f"PyTorch {torch.__version__}, {options.threads} threads, {count:,} parameters"


def jax_step(options: argparse.Namespace) -> tuple[Step, str]:
    """The same in JAX, with all that a step of the training loop does: metrics and EMA too."""
    import jax
    import numpy as np

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.devices)

    from configs import cifar10
    from wonn_jax import sharding
    from wonn_jax.config import freeze
    from wonn_jax.experiment import Experiment

    config = cifar10.get_config()
    config.model.width = options.width
    config.model.layers = LAYERS
    config.model.steps = (STEPS,)
    config.model.group = GROUP
    config.model.interaction = options.interaction
    config.train.batch_size = options.batch
    experiment = Experiment(freeze(config), examples=50_000)
    state = experiment.initial_state()
    count = sum(x.size for x in jax.tree.leaves(state.params))
    rows = {
        "input": np.random.default_rng(0).integers(
            0, 256, (options.batch, SIDE, SIDE, 3), dtype=np.uint8
        ),
        "target": np.arange(options.batch, dtype=np.int32) % CLASSES,
        "id": np.arange(options.batch, dtype=np.int32),
    }
    batch = sharding.put_batch(rows, experiment.mesh)

    def step() -> float:
        nonlocal state
        state, metrics = experiment.train_step(state, batch)
        jax.block_until_ready(state)
        counts = {name: float(value) for name, value in metrics.items()}
        return experiment.task.training_metrics(counts)["loss"]

    return step, f"JAX {jax.__version__}, {options.devices} CPU devices, {count:,} parameters"


SIDES = {"torch": torch_step, "jax": jax_step}


def work(options: argparse.Namespace, replies: TextIO) -> None:
    """A worker: one step and one line of JSON for every line on standard input."""
    import resource

    step, what = SIDES[options.worker](options)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
    print(json.dumps({"what": what}), file=replies, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        reply = {"seconds": seconds, "loss": loss, "peak": peak}
        print(json.dumps(reply), file=replies, flush=True)


class Worker:
    """A process that makes a step when asked to."""

    def __init__(self, side: str, python: str, options: argparse.Namespace):
        command = [python, "-m", "experiments.benchmarks.cifar_step", f"--worker={side}"]
        for name in ("batch", "width", "devices", "threads", "interaction"):
            command.append(f"--{name}={getattr(options, name)}")
        self._side = side
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.what = self._read()["what"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise SystemExit(f"The {self._side} worker ended with code {code}; see above.")
        return json.loads(line)

    def step(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        print("step", file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        self._process.communicate()  # closes its input, at which it ends


def rounds(workers: dict[str, Worker], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Replies of both sides, round by round, after a warm-up; the order within a round changes."""
    for number in range(-options.warmup, options.rounds):
        names = list(workers) if number % 2 else list(workers)[::-1]
        replies = {}
        for name in names:
            time.sleep(0.2)  # until the threads of the other have gone to sleep
            replies[name] = workers[name].step()
        label = f"round {number + 1}" if number >= 0 else "warm-up"
        print(label, *(f"{name} {replies[name]['seconds']:.3f} s" for name in workers), flush=True)
        if number >= 0:
            yield replies


def compare(options: argparse.Namespace) -> None:
    pythons = {"torch": options.torch_python, "jax": sys.executable}
    workers = {}
    for side in options.sides:
        workers[side] = Worker(side, pythons[side], options)
        print(f"{side}: {workers[side].what}", flush=True)
    replies = list(rounds(workers, options))
    for worker in workers.values():
        worker.close()
    print(f"\nbatch {options.batch}, C {options.width}, {options.interaction}, one training step")
    print("        min, s  median, s  peak memory, GB   loss")
    low, middle, peak = {}, {}, {}
    for side in workers:
        seconds = [reply[side]["seconds"] for reply in replies]
        low[side], middle[side] = min(seconds), statistics.median(seconds)
        peak[side] = replies[-1][side]["peak"] / 1e9
        loss = replies[-1][side]["loss"]
        print(f"{side:6}{low[side]:8.3f}{middle[side]:11.3f}{peak[side]:17.2f}{loss:7.3f}")
    if len(workers) == 2:
        ratios = [x["torch"] / x["jax"] for x in (low, middle, peak)]
        print("ratio {:8.2f}{:11.2f}{:17.2f}  (torch / jax)".format(*ratios))


def main() -> None:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=128, help="channels C")
    parser.add_argument("--interaction", choices=("trig", "mlp"), default="trig")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--devices", type=int, default=2, help="CPU devices of JAX")
    parser.add_argument("--threads", type=int, default=threads, help="of PyTorch")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1.")
    if not options.worker:
        compare(options)
        return
    # What libraries print goes to standard error; the replies alone to standard output.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        work(options, replies)


if __name__ == "__main__":
    main()
