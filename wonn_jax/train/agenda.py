"""When a run saves by the clock and when a signal stops it: after the same step on all hosts."""

import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from wonn_jax.parallel import hosts


class Agenda:
    """Requests to stop or to save. Alone, a process grants them at once.

    From when it is made until it is closed, SIGTERM and SIGINT request a stop. All hosts must call
    `stop_due` after every step, and `save_due` after the same steps.
    """

    def __init__(self) -> None:
        self._several = hosts.several()
        self._signal = 0
        self._steps = 0
        self._answer: jax.Array | None = None
        # Of several processes, SIGTERM is JAX's from `hosts.join` on.
        numbers = (signal.SIGINT,) if self._several else (signal.SIGINT, signal.SIGTERM)
        self._handlers = {number: signal.signal(number, self._on_signal) for number in numbers}

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: Any) -> None:
        self._signal = number
        # A second Ctrl-C, if saving takes too long, ends the process at once.
        signal.signal(number, signal.SIG_DFL)
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def stop_due(self) -> int:
        """The signal to stop for now, or 0.

        Of several hosts, JAX's preemption service tells all of a SIGTERM to one (also one before
        the first step): within about a second, they stop after the step that follows the latest
        one begun on any of them. A host without a signal of its own stops for SIGTERM. The cost is
        0.2 µs a step.
        """
        if not self._several:
            return self._signal
        self._steps += 1
        if not multihost_utils.reached_preemption_sync_point(self._steps):
            return 0
        return self._signal or signal.SIGTERM

    def save_due(self, requested: bool) -> bool:
        """Whether to save now; of several hosts, the request of process 0 counts.

        Its request after step k is reduced over the devices, and read after step k + 1 was
        dispatched, as the metrics of step k are, so nobody waits for it. The cost is the dispatch
        of a tiny program, 0.5 ms a step between two CPU hosts.
        """
        if not self._several:
            return requested
        mesh = Mesh(np.asarray(jax.devices()), ("device",))
        mine = np.full(1, requested and jax.process_index() == 0, np.int32)
        split = NamedSharding(mesh, PartitionSpec("device"))
        parts = jax.make_array_from_callback((mesh.size,), split, lambda _: mine)
        answer, self._answer = self._answer, jnp.max(parts)
        if answer is None or not int(answer):
            return False
        self._answer = None  # what was requested before this save
        return True
