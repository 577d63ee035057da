"""The processes of a run: how they start together, agree, and end together.

All of it is JAX's own runtime, through public calls: `jax.distributed` connects the processes and
ends all when one is lost, its preemption service turns a SIGTERM to one into a step after which all
stop, `multihost_utils` gathers what has to be compared. Where JAX would abort (processes that are
missing) or crash (a port that is taken), `join` ends with a message. One thing is left to JAX: a
process that takes the number of another ends that run, so every run needs a port of its own.
Alone, a process agrees with itself.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

JOIN_SECONDS = 120.0
"""Within which all processes must have started."""
LOST = 75
"""Exit status if another host was lost (EX_TEMPFAIL); 134 (SIGABRT) if JAX notices it first."""
_HEARTBEAT_SECONDS = 30
"""Without a heartbeat of one process, after which JAX ends all."""
_LEAVE_SECONDS = 5
"""That a failing host waits for others that fail likewise, for all to print their messages."""


def join(
    coordinator: str | None = None,
    index: int | None = None,
    count: int | None = None,
    *,
    seconds: float = JOIN_SECONDS,
    preemptible: bool = True,
) -> None:
    """Connects this process to the others. Call it before any computation of JAX.

    Args:
      coordinator: HOST:PORT of process 0. None, as for the next two: JAX detects the cluster.
      index, count: number of this process, from 0, and of processes.
      seconds: for all to start in; after that, this process ends with a message and status 2.
      preemptible: leave SIGTERM to JAX, which tells all (`wonn_jax.train.agenda` asks it).

    Raises:
      ValueError: a wrong index or address, or no cluster that JAX knows.
      OSError: the port of process 0 is taken.
    """
    if coordinator is not None and index is not None and count is not None:
        _check_place(coordinator, index, count)
        print(f"joining  process {index} of {count}, coordinator {coordinator}", file=sys.stderr)
    missing = (
        f"error: not all {count or ''} processes met at {coordinator or 'the coordinator'} within "
        f"{seconds:g} s. Start every process, each with its own --process_id from 0 and the same "
        "--num_processes; the coordinator's port must be open between the hosts. If they need "
        "longer to start, use --join_seconds=SECONDS.\n"
    )
    patience = _exit_after(seconds, 2, missing)
    jax.config.update("jax_enable_preemption_service", preemptible)
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            cluster_detection_method="deactivate" if coordinator else None,
            initialization_timeout=round(seconds) + 30,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"JAX could not connect the processes ({error}). --distributed=auto needs a TPU pod, "
            "Slurm, Open MPI, or Kubernetes with the Python package kubernetes; elsewhere use "
            "--distributed=on with --coordinator, --process_id and --num_processes."
        ) from error
    finally:
        patience.cancel()


def _check_place(coordinator: str, index: int, count: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"The coordinator {coordinator!r} is not an address; use --coordinator=HOST:PORT, the "
            "host of process 0 and a free port there."
        )
    if not 0 <= index < count:
        raise ValueError(
            f"--process_id={index} with --num_processes={count} is not the number of a process; "
            "they are numbered from 0 to one less than there are."
        )
    try:
        if index == 0:  # JAX crashes if the port is taken
            socket.create_server(("", int(port))).close()
    except OSError as error:
        raise OSError(
            f"Process 0 cannot listen on port {port} ({error.strerror}). Another process 0 or "
            "program may have it: give every process its own --process_id, or choose another port "
            "in --coordinator=HOST:PORT."
        ) from error


def _exit_after(seconds: float, status: int, message: str = "") -> threading.Timer:
    """Ends this process after a while, even if its main thread waits inside JAX."""

    def end() -> None:
        print(message, end="", file=sys.stderr, flush=True)
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


# --- Agreeing -------------------------------------------------------------------------------------


def several() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def gather(value: Any) -> list[Any]:
    """The values of all hosts by number, of anything that JSON can hold; waits for the devices."""
    if not several():
        return [value]
    text = json.dumps(value).encode()
    size = int(np.max(multihost_utils.process_allgather(np.int32(len(text)))))
    padded = np.frombuffer(text.ljust(size), np.uint8)  # JSON may end with spaces
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


def barrier(name: str) -> None:
    """Returns when all hosts have got here; waits for the devices."""
    if several():
        multihost_utils.sync_global_devices(name)


def broadcast(compute: Callable[[], Any]) -> Any:
    """What `compute` returns on process 0; the others do not call it.

    Raises:
      OSError, ValueError: if it does, on all hosts.
    """
    if not several():
        return compute()
    value, message, error = None, "", None
    if jax.process_index() == 0:
        try:
            value = compute()
        except (OSError, ValueError) as caught:
            message, error = str(caught), caught
    value, message = gather([value, message])[0]
    if message:
        raise error or OSError(message)
    return value


def compare(what: str, record: Mapping[str, Any], advice: str) -> None:
    """Checks that a record is the same on all hosts.

    Raises:
      ValueError: on every host, with the fields that differ.
    """
    _check_equal(what, gather({name: repr(value) for name, value in record.items()}), advice)


def compare_devices() -> None:
    """Checks that all hosts have the same devices, without which they cannot gather.

    Raises:
      ValueError: on every host, with what differs.
    """
    if several():
        kinds: list[list[str]] = [[] for _ in range(jax.process_count())]
        for device in jax.devices():
            kinds[device.process_index].append(device.device_kind)
        records = [{"devices": f"{len(k)} × {', '.join(sorted(set(k)))}"} for k in kinds]
        advice = "Every host must have the same; on CPUs, --config.devices.cpu_devices."
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


def check_same_folder(folder: epath.PathLike, sees: Callable[[], bool]) -> None:
    """Checks that a folder is the same one on all hosts.

    Args:
      folder: its path.
      sees: whether this host sees what process 0 has written there.

    Raises:
      ValueError: on every host.
    """
    if not several():
        return
    deadline = time.monotonic() + 30  # network file systems show new files with a delay
    while not (seen := sees()) and time.monotonic() < deadline and epath.Path(folder).is_dir():
        time.sleep(0.1)
    if blind := [host for host, sees_it in enumerate(gather(seen)) if not sees_it]:
        raise ValueError(
            f"The workdir {folder} of host 0 is not the one of {_named(blind)}. All hosts read the "
            "checkpoints that host 0 writes: use a --workdir in a file system that they share."
        )


# --- Ending together ------------------------------------------------------------------------------


def lost(error: BaseException) -> bool:
    """Whether `error` probably arose because another host has ended."""
    words = ("Gloo", "NCCL", "UNAVAILABLE", "ABORTED")  # Gloo, between CPUs, raises ValueErrors
    failed = isinstance(error, RuntimeError | ValueError) and any(w in str(error) for w in words)
    return failed and several()


def leave(status: int) -> NoReturn:
    """Ends this process after an error. The others end by the same error, or when they miss it."""
    if not jax.distributed.is_initialized():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    # When process 0 leaves, JAX aborts the others, which may have a message to print.
    _exit_after(_LEAVE_SECONDS, status)
    with contextlib.suppress(RuntimeError):
        jax.distributed.shutdown()  # returns when all have called it
    os._exit(status)


def finish(status: int = 0) -> None:
    """Waits for the others at the end of a run whose results are on disk."""
    try:
        barrier("end")
    except (RuntimeError, ValueError):  # another host was lost after all was done
        leave(status)
