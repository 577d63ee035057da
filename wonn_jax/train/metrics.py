"""What a run writes down: metrics, timings, TensorBoard scalars, and progress for a person.

`metrics.jsonl` is a function of the configuration and the data alone: an interrupted and
resumed run leaves the same lines as an uninterrupted one, byte for byte. Wall-clock times
therefore go into `timing.jsonl`.
"""

import dataclasses
import math
import sys
import tempfile
import time

from etils import epath
from tqdm import tqdm

from wonn_jax.common.checks import at_least, length
from wonn_jax.common.folders import copy_folder, is_remote, naming
from wonn_jax.train.lines import LineFile, read_lines


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

    def __init__(self, workdir: epath.Path, start: int, *, tensorboard: bool, active: bool):
        self._active = active
        self._board = None
        self._local: tempfile.TemporaryDirectory | None = None
        if not active:
            return
        self._metrics = LineFile(workdir / "metrics.jsonl", start)
        metrics = read_lines(workdir / "metrics.jsonl")
        evaluated = {x["step"] for x in metrics if x["kind"] == "test"}
        # The time of an evaluation whose metrics were not written any more: it will be repeated.
        self._timing = LineFile(
            workdir / "timing.jsonl", start, lambda x: x["kind"] != "test" or x["step"] in evaluated
        )
        if tensorboard:
            from wonn_jax.train.scalars import SummaryWriter

            self._events = workdir / "tensorboard"
            if is_remote(workdir):  # then uploaded with the lines
                self._local = tempfile.TemporaryDirectory()
            folder = self._local.name if self._local else str(self._events)
            # Scalars of `start` may be of an evaluation that was not written down any more.
            self._board = SummaryWriter(folder, purge_step=start)
            for line in metrics + read_lines(workdir / "timing.jsonl"):
                if line["step"] == start:
                    self._draw(**line)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Adds a line of metrics after `step` updates, of kind 'train' or 'test'."""
        if self._active:
            self._append(self._metrics, step, kind, values)

    def time(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Adds a line of clock times and rates."""
        if self._active:
            self._append(self._timing, step, kind, values)

    def _append(self, file: LineFile, step: int, kind: str, values: dict[str, float]) -> None:
        self._draw(step, kind, **values)
        file.append({"step": step, "kind": kind} | values)  # last: it says that all is written

    def _draw(self, step: int, kind: str, **values: float) -> None:
        """Adds scalars for TensorBoard, unless there is none."""
        if self._board is not None:
            with naming(self._events):
                for name, value in values.items():
                    if math.isfinite(value):  # the precision of a path of no cells, say, is not
                        self._board.add_scalar(f"{kind}/{name}", value, step)
                self._board.flush()

    def flush(self) -> None:
        """Returns when all lines are where a power cut cannot take them."""
        if self._active:
            self._metrics.flush()
            self._timing.flush()
        if self._local:
            with naming(self._events):
                copy_folder(epath.Path(self._local.name), self._events)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
        self.flush()
        if self._local:
            self._local.cleanup()


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
