"""What a run writes down: metrics, timings, TensorBoard scalars, and progress for a person.

`metrics.jsonl` is a function of the configuration and the data alone: an interrupted and
resumed run leaves the same lines as an uninterrupted one, byte for byte. Wall-clock times
therefore go into `timing.jsonl`.
"""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wonn_jax.common.checks import at_least, length
from wonn_jax.common.files import write_atomically


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while training."""

    every: str = "10 steps"  # metrics.jsonl and TensorBoard
    seconds: float = 10.0  # between plain lines, where there is no terminal
    tensorboard: bool = True
    peak_flops: float = 0.0  # FLOP/s of one device, for the utilisation; 0: if known, its maker's

    def check(self) -> None:
        length("log.every", self.every, "steps", "epochs", never=False)
        at_least(0, "log", self, "seconds", "peak_flops")


class MetricWriter:
    """Appends lines to the files of a workdir.

    Args:
      workdir: where the files are.
      start: step at which the run begins or resumes; lines of later steps are removed, since
        these steps will be run again.
      tensorboard: whether to write scalars for TensorBoard too.
      active: False to write nothing, on processes other than 0.
    """

    def __init__(self, workdir: Path, start: int, *, tensorboard: bool, active: bool):
        self._active = active
        self._board = None
        if not active:
            return
        self._metrics = workdir / "metrics.jsonl"
        self._timing = workdir / "timing.jsonl"
        for path in (self._metrics, self._timing):
            keep_until(path, start)
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Adds a line of metrics after `step` updates, of kind 'train' or 'test'."""
        if self._active:
            self._append(self._metrics, step, kind, values)

    def time(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Adds a line of clock times and rates."""
        if self._active:
            self._append(self._timing, step, kind, values)

    def _append(self, path: Path, step: int, kind: str, values: dict[str, float]) -> None:
        line = {"step": step, "kind": kind}
        # JSON has no NaN (the precision of a path of no cells, say).
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last one that was cut off is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def keep_until(path: Path, step: int) -> None:
    """Removes the lines of steps after `step`; the others stay as they are."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))


class Progress:
    """A progress bar with loss, speed and time left; without a terminal, a line now and then.

    Args:
      start, total: steps.
      seconds: between plain lines.
      active: False to show nothing.
    """

    def __init__(self, start: int, total: int, *, seconds: float, active: bool):
        self._terminal = sys.stderr.isatty()
        self._active = active
        self._total = total
        self._seconds = seconds
        self._shown = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            disable=not (active and self._terminal),
        )

    def update(self, step: int, text: str, speed: str, steps_per_second: float) -> None:
        """Shows the state after `step` updates."""
        if not self._active:
            return
        if self._terminal:
            self._bar.set_postfix_str(f"{text}, {speed}", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if now - self._shown >= self._seconds or step == self._total:
            self._shown = now
            left = (self._total - step) / steps_per_second if steps_per_second else float("nan")
            self.say(f"step {step}/{self._total}  {text}  {speed}  {clock_time(left)} left")

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._active:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def scaled(value: float, unit: str) -> str:
    """A value with an SI prefix, up to three significant digits: '41.2 Mflop'."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:,.0f} E{unit}"


def clock_time(seconds: float) -> str:
    """A duration as '1:02:03' or '4:05'; '?' if it is unknown."""
    if not seconds >= 0 or seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
