"""The run that nobody disturbs, with which the others are compared."""

import functools
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults.runs import EVALUATED, KINDS, Attempt, write_mazes, written


class Reference(NamedTuple):
    """What others are compared with.

    workdir: of the run.
    attempt: the run, which has ended.
    written: all that it wrote.
    changes: of files in the workdir, by process 0.
    seconds: of each phase, on average.
    """

    workdir: Path
    attempt: Attempt
    written: dict[str, str]
    changes: int
    seconds: dict[str, float]


@functools.cache
def undisturbed(folder: Path, kind: str) -> Reference:
    """Trains once, in peace, in the folder of a campaign."""
    place = folder / "undisturbed" / kind.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    workdir = place / "run"
    attempt = start(folder, kind, workdir, place / "logs", count=str(place / "changes"))
    passed: Counter[str] = Counter()
    times: Counter[str] = Counter()
    before, now = "", time.monotonic()
    while attempt.running():
        phase = phase_of(attempt, workdir)
        times[phase] += phase != before
        before, last, now = phase, now, time.monotonic()
        passed[phase] += now - last
        time.sleep(0.002)
    if any(attempt.wait()):
        raise RuntimeError(f"the undisturbed run of {kind} failed: {attempt.last_words()}")
    changes = int((place / "changes").read_text())
    seconds = {phase: passed[phase] / times[phase] for phase in passed}
    return Reference(workdir, attempt, written(workdir), changes, seconds)


def start(
    folder: Path, kind: str, workdir: Path, logs: Path, cache: str = "", **order: Any
) -> Attempt:
    """Starts a run.

    Args:
      folder: of the campaign, where the data are.
      kind: of run.
      workdir: of the run.
      logs: folder for what it prints.
      cache: folder for compiled programs, if they are to be kept.
      order: for process 0, see `experiments.faults.worker`.
    """
    known = KINDS[kind]
    if not (data := folder / "data").exists():
        write_mazes(data)
    told: list[dict[str, Any]] = [{} for _ in range(known.processes)]
    if order:
        told[0] = {"folder": str(workdir), **order}
    environment = {}
    if cache:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return Attempt(known.flags(data, workdir), known.processes, logs, told, **environment)


def phase_of(attempt: Attempt, workdir: Path) -> str:
    """What a run is doing, as far as its output and files show."""
    out = attempt.out()
    if "start    step" not in out:
        return "loading"
    if "compiled training step" not in out:
        return "compiling"
    if any("tmp" in x.name for f in ("checkpoints", "best") for x in _entries(workdir / f)):
        return "saving"
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines() if metrics.exists() else []
    last = _parsed(lines[-1]) if lines else {}
    due = last.get("kind") == "train" and last["step"] % EVALUATED == 0
    return "evaluating" if due else "in the step"


def reaches(attempt: Attempt, workdir: Path, phase: str) -> bool:
    """Waits for a phase; False if the run ended before."""
    while (running := attempt.running()) and phase_of(attempt, workdir) != phase:
        time.sleep(0.002)
    return running


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {}
