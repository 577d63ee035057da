"""Runs of small networks in processes of their own, and all that they write, to be compared."""

import dataclasses
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SIZE = 5  # of a side of the mazes
# Programs that run for milliseconds would otherwise be compiled for seconds.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false"
)
PATIENCE = 120.0
"""Seconds after which a run hangs."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A run that evaluates, draws and saves often.

    card: of `configs/`.
    fields: that it sets.
    processes: that train together.
    """

    card: str
    fields: Mapping[str, Any]
    processes: int = 1

    def flags(self, data: Path, workdir: Path, **more: Any) -> list[str]:
        """The command line, without the program; `more` fields as in `train__length`."""
        fields = _OFTEN | dict(self.fields) | {n.replace("__", "."): x for n, x in more.items()}
        if self.card == "maze_hard":
            fields |= {"data.path": data}
        return [
            f"--config={ROOT / 'configs' / self.card}.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in fields.items()),
        ]


STEPS = 24
SAVED = 4  # steps from one checkpoint to the next
EVALUATED = 6
_OFTEN = {
    "train.length": f"{STEPS} steps",
    "train.batch_size": 16,
    "ema.after": 2,
    "ema.every": 1,
    "eval.every": f"{EVALUATED} steps",
    "eval.batch_size": 16,
    "eval.pictures": 2,
    "log.every": "1 steps",
    "checkpoint.every": f"{SAVED} steps",
}
_MAZES = {
    "data.height": SIZE,
    "data.width": SIZE,
    "model.width": 8,
    "model.heads": 2,
    "model.steps": 2,
    "model.precision": "float32",
    "optimizer.schedule": "constant",
    "optimizer.decay": "never",
}
_DIGITS = {
    "data.image_size": 4,
    "data.resize": 4,
    "augment.crop_scale": 0.5,
    "model.width": 8,
    "model.heads": 2,
    "model.layers": 1,
    "model.steps": 2,
    "eval.examples": 32,
    "devices.cpu_devices": 1,
    "optimizer.schedule": "constant",
    "optimizer.warmup": "never",
}
KINDS = {
    "mazes": Kind("maze_hard", _MAZES),
    "digits": Kind("digits", _DIGITS),
    "mazes, two processes": Kind("maze_hard", _MAZES, 2),
    # No file stays open, which would keep a disk from becoming read-only.
    "mazes, no TensorBoard": Kind("maze_hard", _MAZES | {"log.tensorboard": False}),
}


def write_mazes(folder: Path) -> Path:
    """40 and 16 mazes in the published layout."""
    from wonn_jax.data import maze

    inputs, labels = maze.generate(56, SIZE, SIZE, 3, seed=1, processes=1)
    for split, rows in (("train", slice(40)), ("test", slice(40, None))):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name, boards in (("inputs", inputs), ("labels", labels)):
            np.save(folder / split / f"all__{name}.npy", boards[rows].reshape(-1, SIZE * SIZE))
    return folder


# --- Processes ------------------------------------------------------------------------------------


class Attempt:
    """The processes of a run, from when they are started until they have ended.

    Args:
      flags: of the command line.
      processes: that train together.
      logs: folder for what they print and the batches that they get.
      order: what `experiments.faults.worker` is told, see there; of each process.
      environment: variables that are set.
    """

    def __init__(
        self,
        flags: Sequence[str],
        processes: int,
        logs: Path,
        order: Sequence[Mapping[str, Any]] = (),
        **environment: str,
    ):
        logs.mkdir(parents=True)
        self.logs = logs
        self.began = time.monotonic()
        port = _free_port() if processes > 1 else 0
        variables = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK, "PYTHONPATH": str(ROOT)}
        self.processes = []
        for index in range(processes):
            told = {"batches": str(logs / f"batches-{index}"), **(order[index] if order else {})}
            with (
                (logs / f"out-{index}").open("wb") as out,
                (logs / f"err-{index}").open("wb") as err,
            ):
                process = subprocess.Popen(
                    [sys.executable, "-m", "experiments.faults.worker", json.dumps(told), *flags]
                    + (among(processes, index, port) if processes > 1 else []),
                    cwd=ROOT,
                    env=os.environ | variables | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            self.processes.append(process)

    def running(self) -> bool:
        """Whether none has ended."""
        return all(process.poll() is None for process in self.processes)

    def out(self, index: int = 0) -> str:
        return (self.logs / f"out-{index}").read_text(errors="replace")

    def err(self, index: int = 0) -> str:
        return (self.logs / f"err-{index}").read_text(errors="replace")

    def kill(self, index: int) -> None:
        """Ends a process, and all that it has started, with SIGKILL."""
        process = self.processes[index]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def wait(self, seconds: float = PATIENCE) -> list[int]:
        """The exit statuses; those that have not ended in time are killed.

        Raises:
          TimeoutError: some had to be.
        """
        deadline = time.monotonic() + seconds
        try:
            for process in self.processes:
                process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            self._show_stacks()
            raise TimeoutError(f"still running after {seconds:g} s: {self.last_words()}") from error
        finally:
            for index in range(len(self.processes)):
                self.kill(index)
        return [process.wait() for process in self.processes]

    def _show_stacks(self) -> None:
        """Makes processes print where they are, see `worker`."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)
        time.sleep(1)

    def last_words(self) -> str:
        """What the processes printed last, for a message."""
        texts = [(self.err(i) or self.out(i)).strip().splitlines() for i in _numbers(self)]
        return " | ".join(text[-1] if text else "nothing printed" for text in texts)

    def batches(self, index: int) -> list[tuple[int, list[int]]]:
        """Step and examples of every batch that a process got."""
        path = self.logs / f"batches-{index}"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [tuple(json.loads(line)) for line in lines]


def _numbers(attempt: Attempt) -> range:
    return range(len(attempt.processes))


def among(count: int, index: int, port: int) -> list[str]:
    """Flags of one of `count` processes."""
    return [
        "--distributed=on",
        f"--coordinator=localhost:{port}",
        f"--num_processes={count}",
        f"--process_id={index}",
        "--join_seconds=60",
    ]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


# --- What a run has written -----------------------------------------------------------------------

_READ_APART = ("checkpoints", "best", "tensorboard", "timing.jsonl")


def written(workdir: Path) -> dict[str, str]:
    """All that a finished run has written, by name: contents or their digests.

    Files as they are; the arrays of all checkpoints; TensorBoard scalars as TensorBoard reads them.
    Of clock times only the steps.
    """
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = path.relative_to(workdir).as_posix()
        if path.is_file() and name.partition("/")[0] not in _READ_APART:
            found[name] = _digest(path.read_bytes())
    for folder in ("checkpoints", "best"):
        found |= _states(workdir, folder)
    found["timing.jsonl"] = _timing(workdir / "timing.jsonl")
    for tag, values in scalars(workdir / "tensorboard").items():
        if not tag.endswith("compile_seconds"):
            clock = tag.endswith(("seconds", "per_second", "utilisation"))
            shown = [f"{step}" if clock else f"{step}: {value!r}" for step, value in values]
            found[f"tensorboard/{tag}"] = ", ".join(shown)
    return found


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """What two runs have not written alike."""
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            lines.append(f"{name} is {'missing' if name not in ours else 'left over'}")
        elif ours[name] != theirs[name]:
            mine, other = (Counter(x[name].split(", ")) for x in (ours, theirs))
            more, less = (", ".join(list(x)[:3]) for x in (mine - other, other - mine))
            lines.append(f"{name} differs: {more or 'nothing'} for {less or 'nothing'}")
    return lines[:5] + [f"and {len(lines) - 5} more differences"] * (len(lines) > 5)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _states(workdir: Path, folder: str) -> dict[str, str]:
    from wonn_jax.tools.network import config_of_run
    from wonn_jax.train.checkpoint import Checkpoints, flatten
    from wonn_jax.train.experiment import Experiment

    found = {folder: ", ".join(sorted(x.name for x in (workdir / folder).iterdir()))}
    like = Experiment(config_of_run(workdir)).abstract_state()
    with Checkpoints(workdir / folder, 1, writable=False) as checkpoints:
        for step in checkpoints.steps():
            restored = checkpoints.restore_step(step, like)
            found[f"{folder}/{step}"] = f"{restored.step} {restored.config} {restored.data}"
            for name, x in flatten(restored.state).items():
                x = np.ascontiguousarray(x)
                found[f"{folder}/{step}/{name}"] = _digest(
                    f"{x.dtype} {x.shape}".encode() + x.tobytes()
                )
    return found


def _timing(path: Path) -> str:
    """Steps and kinds of the lines; compiling is repeated, and counted as one."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    named = [f"{x['step']} {x['kind']}" for x in lines if list(x)[2:] != ["compile_seconds"]]
    return ", ".join(named)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars in the event files of TensorBoard, which drops what a restart repeats."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: list[tuple[str, int, float]] = []
    for path in sorted(folder.glob("*tfevents*")):
        for record in _records(path.read_bytes()):
            event = Event.FromString(record)
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                found = [x for x in found if x[1] < event.step]
            found += [(x.tag, event.step, x.simple_value) for x in event.summary.value]
    return {tag: [x[1:] for x in found if x[0] == tag] for tag in sorted({x[0] for x in found})}


def _records(content: bytes) -> list[bytes]:
    """The records of an event file (length, its checksum, content, its checksum), if whole."""
    found, place = [], 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        end = place + 12 + length
        if end + 4 > len(content):
            break
        found.append(content[place + 12 : end])
        place = end + 4
    return found


def wrong_batches(
    attempts: Sequence[Attempt], undisturbed: Attempt, index: int
) -> tuple[list[int], list[int]]:
    """Steps whose batches were lost and repeated, in the history of one process of a run.

    An attempt counts until the step from which the next one goes on.
    """
    histories = [found for attempt in attempts if (found := attempt.batches(index))]
    history: list[tuple[int, list[int]]] = []
    for number, batches in enumerate(histories):
        later = histories[number + 1 :]
        end = later[0][0][0] if later else STEPS
        history += [batch for batch in batches if batch[0] < end]
    wanted = undisturbed.batches(index)
    lost = [step for step, rows in wanted if (step, rows) not in history]
    # A batch may be read more than once by intention, for a picture.
    seen, right = (Counter(step for step, _ in batches) for batches in (history, wanted))
    return lost, sorted(step for step in seen if seen[step] > max(1, right[step]))
