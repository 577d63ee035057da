"""Small runs for the tests: boards on disk, and the command line in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from wonn_jax.data import maze

ROOT = Path(__file__).parents[1]


def write_mazes(path: Path, train: int = 40, test: int = 16, size: int = 5) -> Path:
    """A data set in the published layout."""
    inputs, labels = maze.generate(train + test, size, size, 3, seed=1, processes=1)
    for split, rows in (("train", slice(train)), ("test", slice(train, None))):
        folder = path / split
        folder.mkdir(parents=True)
        for kind, boards in (("inputs", inputs), ("labels", labels)):
            np.save(folder / f"all__{kind}.npy", boards[rows].reshape(-1, size * size))
    return path


def command(data: Path, workdir: Path, *overrides: str) -> list[str]:
    """A run of 30 steps of a tiny network; the last batch of an epoch is a partial one."""
    fields = {
        "data.path": data,
        "data.height": 5,
        "data.width": 5,
        "model.width": 8,
        "model.heads": 2,
        "model.steps": 3,
        "model.precision": "float32",
        "optimizer.schedule": "constant",
        "optimizer.decay": "never",
        "train.length": "30 steps",
        "train.batch_size": 16,
        "ema.after": 4,
        "ema.every": 2,
        "eval.every": "10 steps",
        "eval.batch_size": 16,
        "eval.pictures": 0,
        "log.every": "1 steps",
        "log.tensorboard": False,
        "checkpoint.every": "4 steps",
    }
    return [
        sys.executable,
        "-m",
        "wonn_jax.main",
        f"--config={ROOT / 'configs' / 'maze_hard.py'}",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
        *overrides,
    ]


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_until(arguments: list[str], step: int, number: int = signal.SIGKILL) -> int:
    """Starts a run and sends it a signal once its metrics have got to `step`; its exit status."""
    workdir = Path(next(a for a in arguments if a.startswith("--workdir=")).split("=", 1)[1])
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    lines = workdir / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if lines.exists() and f'"step": {step},' in lines.read_text():
            process.send_signal(number)
            break
        time.sleep(0.01)
    return process.wait(300)
