"""What a run writes down: metrics, timings, TensorBoard scalars, traces, progress for a person.

`metrics.jsonl` is a function of the configuration and the data alone: an interrupted and
resumed run leaves the same lines as an undisturbed one, bit for bit. Clock times therefore go
into `timing.jsonl`.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from wonn_jax.config import ProfileConfig
from wonn_jax.train.checkpoint import write_atomically


class MetricWriter:
    """Appends lines to the files of a workdir; on processes other than 0 it writes nothing.

    Args:
      workdir: where the files are.
      start: step the run begins or goes on at; lines of later steps are dropped, since these
        steps will be run again.
      tensorboard: whether to write scalars for TensorBoard too.
      active: False to write nothing.
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
        """Adds a line: kind 'train' or 'test', the state after `step` updates."""
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
    """Drops the lines of steps after `step`, byte for byte keeping the rest."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))


class Progress:
    """A bar with loss, speed and time left; plain lines every so often where no terminal is.

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


class Trace:
    """A trace of some training steps by JAX's profiler, for as long as the devices work on them.

    The steps before are waited for when it begins, and the traced ones when it ends. Process 0
    traces its devices; a run that was resumed after the first of the steps has no trace.

    Args:
      config: which steps.
      folder: where the trace goes.
      active: False to trace nothing.

    Attributes:
      seconds: the profiler took to start and to write.
    """

    def __init__(self, config: ProfileConfig, folder: Path, *, active: bool):
        self._active = active and config.steps > 0
        self._first, self._last = config.start + 1, config.start + config.steps
        self._folder = folder
        self._running = False
        self.seconds = 0.0

    def before(self, step: int, arrays: Any) -> None:
        """Begins if step `step` is the first; `arrays` are the results of the steps before."""
        if self._active and step == self._first:
            jax.block_until_ready(arrays)
            began = time.monotonic()
            # A file for a browser too, which needs nothing installed.
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._running = True
            self.seconds += time.monotonic() - began

    def after(self, step: int, arrays: Any) -> str:
        """Ends if step `step`, which has been dispatched, is the last: where the trace lies."""
        if not (self._running and step == self._last):
            return ""
        jax.block_until_ready(arrays)
        self.close()
        return (
            f"traced steps {self._first:,} to {self._last:,} into {self._folder}: look at it with\n"
            f"  tensorboard --logdir={self._folder}  (packages tensorboard and xprof)\n"
            "or open plugins/profile/*/perfetto_trace.json.gz there at https://ui.perfetto.dev"
        )

    def close(self) -> None:
        """Ends the trace, one that was cut short too."""
        if self._running:
            began = time.monotonic()
            self._running = False
            jax.profiler.stop_trace()
            self.seconds += time.monotonic() - began


def scaled(value: float, unit: str) -> str:
    """'41.2 Mflop': up to three figures and a prefix, from '' to E."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:,.0f} E{unit}"


def clock_time(seconds: float) -> str:
    """'1:02:03', '4:05', or '?' for what is not known."""
    if not seconds >= 0 or seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
