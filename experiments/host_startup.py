"""What several processes cost: time to connect, restore and begin, and to agree later.

python -m experiments.host_startup --rounds=5

Runs of 1, 2 and 4 processes on this machine resume from the same checkpoint, in turn: what grows
with their number shows, together with what they take from each other's cores. Then what agreeing
costs: asking after every step whether to stop, and whether to save by the clock; a barrier, and a
comparison.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
STAGES = (
    "imports",
    "connect",
    "compare",
    "data",
    "restore",
    "compile",
    "first step",
    "total",
)
COSTS = ("stop due, µs", "save due, ms", "barrier, ms", "comparison, ms")
SIZE = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=384, help="of the network")
    arguments = parser.parse_args()
    counts = (1, 2, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = _prepare(folder, arguments.width)
        _start(1, [*flags, f"--workdir={folder / 'saved'}", "--config.train.length=1 steps"])
        size = sum(f.stat().st_size for f in (folder / "saved/checkpoints").rglob("*"))
        seconds: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
        for number in range(arguments.rounds):
            for count in counts:
                workdir = folder / f"{number}-{count}"
                shutil.copytree(folder / "saved", workdir)
                times = _start(
                    count, [*flags, f"--workdir={workdir}", "--config.train.length=2 steps"]
                )
                # The run goes on when the slowest has arrived.
                seconds[count].append({s: max(t[s] for t in times) for s in STAGES})
    print(
        f"{datetime.date.today():%d %B %Y}; {os.cpu_count()} cores, {_processor()}; "
        f"Python {platform.python_version()}; C {arguments.width}, checkpoint of "
        f"{size / 2**20:.0f} MiB; median (least–most) of {arguments.rounds} rounds, s\n"
    )
    print("| processes | " + " | ".join(STAGES) + " |\n|---:|" + "---:|" * len(STAGES))
    for count, rounds in seconds.items():
        cells = []
        for stage in STAGES:
            values = [times[stage] for times in rounds]
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})")
        print(f"| {count} | " + " | ".join(cells) + " |")
    print("\n| processes | " + " | ".join(COSTS) + " |\n|---:|" + "---:|" * len(COSTS))
    for count in counts[1:]:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"localhost:{free.getsockname()[1]}"
        found = _results([["--agree", coordinator, str(i), str(count)] for i in range(count)])
        slowest = [max(costs) for costs in zip(*found, strict=True)]
        print(f"| {count} | " + " | ".join(f"{cost:.2f}" for cost in slowest) + " |")


def _prepare(folder: Path, width: int) -> list[str]:
    """Boards, and the flags of a run that starts quickly."""
    from wonn_jax.data import maze

    inputs, labels = maze.generate(48, SIZE, SIZE, 3, seed=1, processes=1)
    for split, rows in (("train", slice(32)), ("test", slice(32, None))):
        (folder / "data" / split).mkdir(parents=True)
        for kind, boards in (("inputs", inputs), ("labels", labels)):
            path = folder / "data" / split / f"all__{kind}.npy"
            np.save(path, boards[rows].reshape(-1, SIZE * SIZE))
    fields = {
        "data.path": folder / "data",
        "data.height": SIZE,
        "data.width": SIZE,
        "model.width": width,
        "model.steps": 2,
        "model.precision": "float32",
        "optimizer.schedule": "constant",
        "optimizer.decay": "never",
        "train.batch_size": 4,
        "eval.every": "never",
        "eval.batch_size": 4,
        "eval.examples": 4,
        "eval.pictures": 0,
        "log.tensorboard": False,
        "checkpoint.best": "",
    }
    return [
        f"--config={ROOT / 'configs' / 'maze_hard.py'}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def _start(count: int, flags: list[str]) -> list[dict[str, float]]:
    """Seconds of the stages, in every process of a run."""
    with_flags = [[*flags, *(among if count > 1 else ())] for among in _among(count)]
    return _results([["--one", str(time.time()), *rest] for rest in with_flags])


def _among(count: int) -> list[list[str]]:
    """Flags of each of `count` processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        [
            "--distributed=on",
            f"--coordinator=localhost:{port}",
            f"--process_id={index}",
            f"--num_processes={count}",
        ]
        for index in range(count)
    ]


def _results(arguments: list[list[str]]) -> list[Any]:
    """What processes of this file write in a line of their own."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "experiments.host_startup", *rest],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rest in arguments
    ]
    texts = [process.communicate(timeout=600)[0] for process in processes]
    if failed := [p.returncode for p in processes if p.returncode]:
        raise RuntimeError(f"One of {len(processes)} processes failed with status {failed[0]}.")
    lines = [[x for x in text.splitlines() if x.startswith("result ")][-1] for text in texts]
    return [json.loads(line.removeprefix("result ")) for line in lines]


def _agree(coordinator: str, index: int, count: int) -> None:
    """Measures `COSTS` in one of several processes."""
    from wonn_jax.parallel import hosts
    from wonn_jax.train.agenda import Agenda

    hosts.join(coordinator, index, count)
    hosts.compare_devices()
    agenda, record = Agenda(), {f"field {i}": i for i in range(100)}

    def seconds(call: Callable[[], Any], times: int) -> float:
        for _ in range(3):
            call()  # compiles
        hosts.barrier("begin")
        began = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - began) / times

    result = [
        1e6 * seconds(agenda.stop_due, 100_000),
        1e3 * seconds(lambda: agenda.save_due(False), 200),
        1e3 * seconds(lambda: hosts.barrier("each other"), 200),
        1e3 * seconds(lambda: hosts.compare("nothing", record, ""), 200),
    ]
    hosts.finish()
    print("result " + json.dumps(result), flush=True)


def _one(began: float) -> None:
    """One process: the command line, with a clock at its stages."""
    from absl import app, flags

    from wonn_jax import main
    from wonn_jax.data.maze import Mazes
    from wonn_jax.parallel import hosts
    from wonn_jax.tools import launch
    from wonn_jax.tools.flags import parse_flags
    from wonn_jax.train import loop as train
    from wonn_jax.train.checkpoint import Checkpoints
    from wonn_jax.train.experiment import CompiledStep

    spent = dict.fromkeys(STAGES, 0.0)
    spent["imports"] = time.time() - began

    def clock(owner: Any, name: str, stage: str) -> None:
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = time.time()
            result = method(*args, **kwargs)
            spent[stage] += time.time() - before
            return result

        setattr(owner, name, timed)

    clock(hosts, "join", "connect")
    clock(launch, "_compare_hosts", "compare")
    clock(Mazes, "load", "data")
    clock(Checkpoints, "restore", "restore")
    clock(CompiledStep, "compile", "compile")
    read = train._Loop._read_pending

    def first_metrics(loop: Any) -> None:
        known = loop.pending is not None
        read(loop)
        if known and not spent["total"]:
            spent["total"] = time.time() - began
            spent["first step"] = time.monotonic() - loop.clock
            print("result " + json.dumps(spent), flush=True)

    setattr(train._Loop, "_read_pending", first_metrics)  # noqa: B010
    flags.mark_flag_as_required("config")
    app.run(main.main, flags_parser=parse_flags)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.argv.pop(1)
        _one(float(sys.argv.pop(1)))
    elif sys.argv[1:2] == ["--agree"]:
        _agree(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
