"""Small runs for the tests: boards on disk, and a tiny network, here or in processes of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from cards import card, changed
from jax.experimental.compilation_cache import compilation_cache

from wonn_jax.data import maze
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.checkpoint import Checkpoints, flatten
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.state import TrainState

ROOT = Path(__file__).parents[1]
QUICK_OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
"""Compiler options for programs that run for milliseconds and would be compiled for seconds."""
QUICK = {"XLA_FLAGS": " ".join(f"--{name}={int(x)}" for name, x in QUICK_OPTIONS.items())}
"""The same as an environment, for tests that compile in many processes."""


def write_mazes(path: Path, train: int = 40, test: int = 16, size: int = 5) -> Path:
    """A data set in the published layout."""
    inputs, labels = maze.generate(train + test, size, size, 3, seed=1, processes=1)
    for split, rows in (("train", slice(train)), ("test", slice(train, None))):
        folder = path / split
        folder.mkdir(parents=True)
        for kind, boards in (("inputs", inputs), ("labels", labels)):
            np.save(folder / f"all__{kind}.npy", boards[rows].reshape(-1, size * size))
    return path


@contextlib.contextmanager
def quickly(folder: Path) -> Iterator[None]:
    """Compiles the steps of this process fast, and none twice: `folder` keeps what was compiled."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _update(settings)
    try:
        with (
            mock.patch("wonn_jax.train.step.compiler_options", lambda _: QUICK_OPTIONS),
            mock.patch.object(Experiment, "initial_state", _initial_state),
        ):
            yield
    finally:
        _update(before)


def _initial_state(self: Experiment) -> TrainState:
    create = jax.jit(
        self._initial_state, out_shardings=self.state_shardings, compiler_options=QUICK_OPTIONS
    )
    return create()


def _update(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


TINY = {
    "data.height": 5,
    "data.width": 5,
    "model.width": 8,
    "model.heads": 2,
    "model.precision": "float32",
    "optimizer.schedule": "constant",
    "optimizer.decay": "never",
}
"""Of the card maze_hard, what a network of seconds changes."""


def tiny(data: Path | str, **changes: Any) -> Config:
    """A run of 6 steps on 5×5 mazes, evaluated after 3 and 6, saved after 2, 4 and 6."""
    fields: dict[str, Any] = TINY | {
        "data.path": str(data),
        "model.steps": (2,),
        "train.batch_size": 16,
        "train.length": "6 steps",
        "ema.after": 1,
        "ema.every": 1,
        "eval.every": "3 steps",
        "eval.batch_size": 16,
        "eval.pictures": 2,
        "log.every": "1 steps",
        "checkpoint.every": "2 steps",
    }
    named = {name.replace(".", "__"): value for name, value in fields.items()}
    return freeze(changed(card("maze_hard"), **(named | changes)))


def command(data: Path, workdir: Path, *overrides: str) -> list[str]:
    """A run of 30 steps of a tiny network; the last batch of an epoch is a partial one."""
    fields: dict[str, Any] = TINY | {
        "data.path": data,
        "model.steps": 3,
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


def run_until(
    arguments: list[str], step: int, number: int = signal.SIGKILL, **environment: str
) -> int:
    """Starts a run and sends it a signal once its metrics have got to `step`; its exit status."""
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    signal_at(step, arguments, [process], [process], number)
    return process.wait(300)


def signal_at(
    step: int,
    arguments: list[str],
    running: list[subprocess.Popen],
    targets: list[subprocess.Popen],
    number: int,
) -> None:
    """Sends `targets` a signal once the metrics of the run have got to `step`."""
    workdir = Path(next(a for a in arguments if a.startswith("--workdir=")).split("=", 1)[1])
    deadline = time.monotonic() + 300
    lines = workdir / "metrics.jsonl"
    while time.monotonic() < deadline and all(process.poll() is None for process in running):
        if lines.exists() and f'"step": {step},' in lines.read_text():
            for process in targets:
                process.send_signal(number)
            break
        time.sleep(0.01)


def arrays(workdir: Path, config: Config | None = None, step: int = 30) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint of a finished run: of `command`, or of `config`."""
    config = config or tiny("", model__steps=(3,))
    like = Experiment(config).abstract_state()
    with Checkpoints(workdir / "checkpoints", 3) as checkpoints:
        restored = checkpoints.restore(like, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert restored is not None and restored.step == step
    return {name: np.asarray(x) for name, x in flatten(restored.state).items()}


# --- Several processes on this machine ------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start(arguments: list[str], cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        arguments,
        cwd=cwd,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(cwd)} | QUICK | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def among(count: int, process_id: int, port: int) -> list[str]:
    """Flags of one of `count` processes."""
    return [
        "--distributed=on",
        f"--coordinator=localhost:{port}",
        f"--num_processes={count}",
        f"--process_id={process_id}",
        "--join_seconds=60",
    ]


def start_all(arguments: list[str], count: int) -> list[subprocess.Popen]:
    """A run of `count` processes."""
    port = free_port()
    return [start([*arguments, *among(count, i, port)]) for i in range(count)]


def ends(processes: list[subprocess.Popen], seconds: float = 120) -> list[tuple[int, str, str]]:
    """Exit status, output and error messages of each; an error if one does not end in time."""
    deadline = time.monotonic() + seconds
    try:
        texts = [p.communicate(timeout=max(0.1, deadline - time.monotonic())) for p in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *text) for p, text in zip(processes, texts, strict=True)]
