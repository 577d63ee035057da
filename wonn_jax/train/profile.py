"""A trace of some training steps by JAX's profiler."""

import dataclasses
import tempfile
import time
from typing import Any

import jax
from etils import epath

from wonn_jax.common.checks import at_least
from wonn_jax.common.folders import copy_folder, is_remote, naming


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """A trace of some training steps by JAX's profiler, in `profile/` of the workdir."""

    start: int = 10  # updates made before: traced are updates start + 1 to start + steps
    steps: int = 0  # 0: no trace

    def check(self) -> None:
        at_least(0, "profile", self, "start", "steps")

    def unused(self) -> dict[str, str]:
        """Fields that nothing reads, given the others, and why."""
        return {} if self.steps else {"start": "profile.steps=0 traces nothing"}

    def check_length(self, total: int) -> None:
        """Raises a ValueError if the traced steps lie beyond the end of the run."""
        if self.steps and self.start + self.steps > total:
            raise ValueError(
                f"config.profile.start={self.start} and config.profile.steps={self.steps} trace up "
                f"to step {self.start + self.steps}, but the run has {total}; try "
                f"--config.profile.start={max(0, total - self.steps)}"
                + (f" --config.profile.steps={total}." if self.steps > total else ".")
            )


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

    def __init__(self, config: ProfileConfig, folder: epath.Path, *, active: bool):
        self._active = active and config.steps > 0
        self._first, self._last = config.start + 1, config.start + config.steps
        self._folder = folder
        self._local: tempfile.TemporaryDirectory | None = None
        self._running = False
        self.seconds = 0.0

    def before(self, step: int, arrays: Any) -> None:
        """Begins if step `step` is the first; `arrays` are the results of the steps before."""
        if self._active and step == self._first:
            jax.block_until_ready(arrays)
            began = time.monotonic()
            # A file for a browser too, which needs nothing installed.
            if is_remote(self._folder):
                self._local = tempfile.TemporaryDirectory()
            folder = self._local.name if self._local else str(self._folder)
            jax.profiler.start_trace(folder, create_perfetto_trace=True)
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
            if self._local:
                with naming(self._folder):
                    copy_folder(epath.Path(self._local.name), self._folder)
                self._local.cleanup()
            self.seconds += time.monotonic() - began
