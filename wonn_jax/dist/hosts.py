"""The processes of a run: how they start together, agree, and end together.

All of it is JAX's own distributed runtime, through public calls. `jax.distributed` connects the
processes and ends all of them when one is lost; its preemption service turns a SIGTERM to one into
a step after which all stop; `jax.experimental.multihost_utils` gathers what has to be compared.

What JAX does not do, and this module adds: `join` ends with a message and exit status 2 where JAX
would abort after its timeout (a coordinator that is not there, processes that are missing), or
crash (a port that is taken). The rest is left to JAX: a second process with the number of another
ends both with JAX's message, even in a run that has begun, so every run needs a port of its own.

Exit statuses of a host that ends because another one did: 134 (SIGABRT) if JAX's heartbeats
notice it, `LOST` if a computation fails first.

Alone, a process agrees with itself: every function is trivial then.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

JOIN_SECONDS = 120.0
"""Within which all processes must have started."""
LOST = 75
"""Exit status if another host was lost (EX_TEMPFAIL): starting again may succeed."""
_HEARTBEAT_SECONDS = 30
"""Without a heartbeat, after which JAX ends all processes of the run."""
_LEAVE_SECONDS = 5
"""That a failing host waits for others that fail likewise, so that each prints its message."""


# --- Starting together ----------------------------------------------------------------------------


def join(
    coordinator: str | None = None,
    index: int | None = None,
    count: int | None = None,
    seconds: float = JOIN_SECONDS,
    *,
    preemptible: bool = True,
) -> None:
    """Connects this process to the others. Call before any computation of JAX.

    Args:
      coordinator: HOST:PORT of process 0; None if JAX is to detect the cluster (TPU pods, Slurm,
        Open MPI, Kubernetes), as are the next two.
      index, count: number of this process, from 0, and of processes.
      seconds: within which all must have started; if they have not, this process ends with a
        message and status 2.
      preemptible: SIGTERM requests a stop (see `Agenda`) instead of ending this process.

    Raises:
      ValueError: a wrong index or address, or no cluster that JAX knows.
      OSError: the port of process 0 is taken.
    """
    if coordinator is not None and index is not None and count is not None:
        if not 0 <= index < count:
            raise ValueError(
                f"--process_id={index} is not below --num_processes={count}; number the processes "
                f"from 0 to {count - 1}."
            )
        _check_address(coordinator, seconds if index == 0 else None)
        print(f"joining  process {index} of {count}, coordinator {coordinator}", file=sys.stderr)
    jax.config.update("jax_enable_preemption_service", preemptible)
    # JAX would abort the process after a timeout of its own, which must not come first.
    deadline = threading.Timer(seconds, _not_joined, [coordinator, index, count, seconds])
    deadline.daemon = True
    deadline.start()
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            cluster_detection_method="deactivate" if coordinator is not None else None,
            initialization_timeout=round(seconds) + 30,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        if coordinator is not None:
            raise
        raise ValueError(
            f"--distributed=auto did not work ({error}): JAX detects TPU pods, Slurm, Open MPI, "
            "and Kubernetes with the Python package kubernetes. Use --distributed=off for one "
            "process, or --distributed=on with --coordinator, --process_id and --num_processes."
        ) from error
    finally:
        deadline.cancel()


def _check_address(coordinator: str, seconds: float | None) -> None:
    """Checks HOST:PORT; with `seconds`, waits that long for the port to be free on this host."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"The coordinator {coordinator!r} is not an address; use --coordinator=HOST:PORT, the "
            "host of process 0 and a free port there."
        )
    deadline = time.monotonic() + (seconds or 0)
    while seconds is not None:
        # JAX crashes if the port is taken. The processes of a run just ended may still be leaving.
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                return probe.bind(("", int(port)))
        except OSError as error:
            if time.monotonic() > deadline:
                raise OSError(
                    f"Process 0 cannot listen on port {port} of {socket.gethostname()} "
                    f"({error.strerror}, for {seconds:g} s). Another process 0 or another program "
                    "may have it: give every process its own --process_id, or choose another port "
                    "in --coordinator=HOST:PORT."
                ) from error
            time.sleep(0.3)


def _not_joined(
    coordinator: str | None, index: int | None, count: int | None, seconds: float
) -> None:
    """Ends this process, whose main thread waits inside JAX."""
    where = f" at {coordinator}" if coordinator else ""
    me = "this process" if index is None else f"process {index}"
    everyone = "all processes" if count is None else f"all {count} processes"
    numbers = "its own number" if count is None else f"its own --process_id from 0 to {count - 1}"
    print(
        f"error: {me} did not find the others{where} within {seconds:g} s. Start {everyone} of the "
        f"run, each with {numbers} and the same count; the coordinator's port must be open between "
        "the hosts. If they need longer to start, use --join_seconds=SECONDS.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


# --- Agreeing -------------------------------------------------------------------------------------


def several() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def gather(value: Any) -> list[Any]:
    """The values of all hosts, by number; anything that JSON can hold.

    Waits for all hosts, and for the devices to finish what they were given before.
    """
    if not several():
        return [value]
    text = json.dumps(value).encode()
    size = int(np.max(multihost_utils.process_allgather(np.int32(len(text)))))
    padded = np.frombuffer(text.ljust(size), np.uint8)  # JSON may end with spaces
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


def barrier(name: str) -> None:
    """Returns when all hosts have got here, and their devices are idle."""
    if several():
        multihost_utils.sync_global_devices(name)


def broadcast(compute: Callable[[], Any]) -> Any:
    """What `compute` returns on process 0, on all hosts; the others do not call it."""
    return gather(compute() if jax.process_index() == 0 else None)[0]


def compare(what: str, record: Mapping[str, Any], advice: str) -> None:
    """Checks that a record is the same on all hosts.

    Raises:
      ValueError: on every host, with the fields that differ.
    """
    _check_equal(what, gather({name: repr(value) for name, value in record.items()}), advice)


def compare_devices() -> None:
    """Checks that all hosts have as many devices of the same kinds, without which none can gather.

    Raises:
      ValueError: on every host, with what differs.
    """
    if several():
        kinds: list[list[str]] = [[] for _ in range(jax.process_count())]
        for device in jax.devices():
            kinds[device.process_index].append(device.device_kind)
        records = [{"number": str(len(k)), "kinds": ", ".join(sorted(set(k)))} for k in kinds]
        advice = "Every host must have the same devices; on CPUs, --config.devices.cpu_devices."
        _check_equal("their devices", records, advice)


def _check_equal(what: str, records: Sequence[Mapping[str, str]], advice: str) -> None:
    lines = []
    for name in sorted(set().union(*records)):
        found: dict[str, list[int]] = {}
        for host, record in enumerate(records):
            found.setdefault(record.get(name, "nothing"), []).append(host)
        if len(found) > 1:
            lines.append(f"{name}: " + ", ".join(f"{x} on {_named(h)}" for x, h in found.items()))
    if lines:
        more = [f"and {len(lines) - 10} more"] if len(lines) > 10 else []
        text = "\n  ".join(lines[:10] + more)
        raise ValueError(f"The hosts disagree about {what}:\n  {text}\n{advice}")


def _named(hosts: Sequence[int]) -> str:
    """'host 3', 'hosts 1, 2 and 5'."""
    *most, last = map(str, hosts)
    return f"hosts {', '.join(most)} and {last}" if most else f"host {last}"


def check_same_folder(path: Path) -> None:
    """Checks that `path` is one folder that all hosts see; it is made if missing.

    Raises:
      ValueError: on every host; nothing is left there.
    """
    if not several():
        return
    first = jax.process_index() == 0
    token = path / broadcast(lambda: f".hosts-{uuid.uuid4().hex}")
    made: list[Path] = []
    if first:
        made = [p for p in (path, *path.parents) if not p.exists()]
        path.mkdir(parents=True, exist_ok=True)
        token.write_text("")
    barrier("token written")
    deadline = time.monotonic() + 30  # network file systems show new files with a delay
    while not (seen := token.exists()) and time.monotonic() < deadline and path.is_dir():
        time.sleep(0.1)
    blind = [host for host, sees in enumerate(gather(seen)) if not sees]
    if first:
        token.unlink()
        for folder in made if blind else ():
            folder.rmdir()
    if blind:
        raise ValueError(
            f"The workdir {path} of host 0 is not the one of {_named(blind)}. All hosts read the "
            "checkpoints that host 0 writes: use a --workdir in a file system that they share."
        )


def versions() -> dict[str, str]:
    """Versions that the result depends on; `code` is a digest of the files of this package."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "code": digest.hexdigest()[:16],
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


class Agenda:
    """Requests to save or to stop, granted on all hosts after the same step.

    Use as a context, within which SIGTERM and SIGINT request a stop. Alone, a process grants its
    requests at once. Of several,

    - a stop is agreed on by JAX's preemption service in the background: within about a second all
      hosts stop after the step that follows the latest one dispatched anywhere. A SIGTERM before
      the first step counts. It costs each step a look at a variable, 0.2 µs;
    - a save goes by the clock of process 0. Its answer after step k goes through the devices, and
      is read after step k + 1 was dispatched, as the metrics of step k are, so that nobody waits
      for it. It costs each step the dispatch of a tiny all-reduce, 0.5 ms on two CPU hosts.
    """

    def __init__(self) -> None:
        self._several = several()
        self._signal = 0
        self._steps = 0
        self._answer: jax.Array | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Agenda":
        # Of several processes, SIGTERM is JAX's from `join` on.
        for number in (signal.SIGINT,) if self._several else (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: Any) -> None:
        self._signal = number
        # A second Ctrl-C, if saving takes too long, ends the process at once.
        signal.signal(number, signal.SIG_DFL)
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def stop_due(self) -> int:
        """The signal that all hosts stop for now, or 0. Call it once a step, on all hosts."""
        if not self._several:
            return self._signal
        self._steps += 1
        if not multihost_utils.reached_preemption_sync_point(self._steps):
            return 0
        return self._signal or signal.SIGTERM

    def save_due(self, requested: bool) -> bool:
        """Whether all hosts save now. Call it after every step, on all hosts.

        Args:
          requested: by the clock of this host; that of process 0 counts.
        """
        if not self._several:
            return requested
        answer, self._answer = self._answer, _of_process_0(requested)
        if answer is None or not int(answer):
            return False
        self._answer = None  # requested before this save
        return True


def _of_process_0(requested: bool) -> jax.Array:
    """A request of process 0, replicated; int32 []. Returns before the devices have it."""
    devices = NamedSharding(Mesh(np.asarray(jax.devices()), ("device",)), PartitionSpec("device"))
    mine = np.full(1, requested and jax.process_index() == 0, np.int32)
    parts = jax.make_array_from_callback((jax.device_count(),), devices, lambda _: mine)
    return _replicated_max(devices.mesh)(parts)


@functools.lru_cache(maxsize=1)
def _replicated_max(mesh: Any) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))


# --- Ending together ------------------------------------------------------------------------------


def lost(error: BaseException) -> bool:
    """Whether `error` probably arose because another host has ended."""
    # Gloo, between CPUs, raises ValueErrors.
    return several() and (isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error))


def leave(status: int) -> NoReturn:
    """Ends this process after an error. The others end when they miss it, or by the same error."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        # Were process 0 to leave first, JAX would abort the others before they print their message.
        impatience = threading.Timer(_LEAVE_SECONDS, os._exit, [status])
        impatience.daemon = True
        impatience.start()
        with contextlib.suppress(RuntimeError):
            jax.distributed.shutdown()  # returns when all have called it
        os._exit(status)
    sys.exit(status)


def finish(status: int = 0) -> None:
    """Waits for the others at the end of a run whose results are on disk."""
    try:
        barrier("end")
    except (RuntimeError, ValueError):  # another host was lost after all was done
        leave(status)
