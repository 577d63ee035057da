"""What the processes of a run say to each other, apart from what their devices do.

They assemble before JAX starts, compare what must be the same everywhere, agree on when to save
and stop, and learn at once that one of them failed or was killed. No device takes part: nothing
here waits for one, and it works when the hosts disagree about the number of their devices or have
none yet.

JAX's coordination service could carry most of it, but it ends a process by `abort()` when another
is gone, without saying which, and no callback can be given for that from Python (jax 0.10.2:
std::bad_cast); a second process of the same number brings down the healthy one as well. So they
have connections of their own, see `wonn_jax.dist.host_link`.

A process by itself has nothing to say: every function here is trivial then.
"""

import ctypes
import hashlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax

import wonn_jax
from wonn_jax.dist.host_link import LAST, Link, Place, StoppedError, connect, numbered

__all__ = [
    "JOIN_SECONDS",
    "Agenda",
    "Place",
    "StoppedError",
    "ask_cluster",
    "barrier",
    "check_same_folder",
    "compare",
    "finish",
    "first_says",
    "gather",
    "join",
    "leave",
    "several",
    "stop",
    "take_along",
    "versions",
]

JOIN_SECONDS = 120.0
"""All processes must have started within this time."""
_SILENCE = 45
"""Seconds without a sign of life after which a host counts as dead, where no connection broke."""

_link: Link | None = None
"""That of this process; None of one by itself."""


def join(place: Place, seconds: float = JOIN_SECONDS) -> None:
    """Waits for the other processes, and starts JAX among them. Call before any array is made.

    Args:
      place: of this process.
      seconds: for all to start in.

    Raises:
      ValueError: processes that do not fit together; all of them get the same message.
      OSError: process 0 cannot be reached, or cannot listen.
    """
    global _link
    if not 0 <= place.index < place.count:
        raise ValueError(
            f"--process_id={place.index} is not below --num_processes={place.count}; number the "
            f"processes from 0 to {place.count - 1}."
        )
    _link = connect(place, seconds)
    _delay_abort()
    jax.config.update("jax_enable_preemption_service", False)  # signals are ours, see Agenda
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.index,
        place.local_devices,
        cluster_detection_method="deactivate",  # it has been asked
        initialization_timeout=max(10, round(seconds)),
        heartbeat_timeout_seconds=_SILENCE,
        shutdown_timeout_seconds=30,
    )


def ask_cluster(seconds: float = JOIN_SECONDS) -> Place:
    """What the cluster that started this process says of it: TPU pods, Slurm, Open MPI, Kubernetes.

    Raises:
      ValueError: JAX knows no cluster here.
    """
    # What `jax.distributed.initialize()` asks, too, but it does not tell the answer.
    from jax._src.clusters import ClusterEnv

    coordinator, count, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
        os.environ.get("JAX_COORDINATOR_ADDRESS"), None, None, None, None, round(seconds)
    )
    if coordinator is None or count is None or index is None:
        raise ValueError(
            "--distributed=auto found no cluster here that JAX knows (TPU pod, Slurm, Open MPI, "
            "Kubernetes with the Python package kubernetes). Use --distributed=off for one "
            "process, or --distributed=on with --coordinator, --process_id and --num_processes."
        )
    return Place(coordinator, index, count, devices)


def _delay_abort() -> None:
    """Has `abort()` wait for some seconds, in which the reader thread says what happened.

    JAX's client aborts as soon as process 0 is gone. The handler is a function of the C library
    that gets the number of the signal, 6, as its argument: nothing of Python runs in it.
    """
    if sys.platform != "win32":
        library = ctypes.CDLL(None)
        library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        library.signal.restype = ctypes.c_void_p
        library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


# --- What hosts say -------------------------------------------------------------------------------


def several() -> bool:
    """Whether there are other processes.

    Raises:
      RuntimeError: there are, but they do not know each other.
    """
    if _link is None and jax.distributed.is_initialized() and jax.process_count() > 1:
        raise RuntimeError(
            "Several processes were started by jax.distributed.initialize; use "
            "wonn_jax.dist.hosts.join(Place(COORDINATOR, INDEX, COUNT)) instead, which calls it."
        )
    return _link is not None


def gather(what: str, value: Any, seconds: float = 3600) -> list[Any]:
    """What all hosts say, by number; returns when the last one has said it.

    Args:
      what: it is about; the same on all hosts.
      value: anything that JSON can hold.
      seconds: to wait for the others at most; a host that died is noticed without them.

    Raises:
      StoppedError: another host has stopped.
      RuntimeError: not all came in time.
    """
    if not several():
        return [value]
    assert _link is not None
    return _link.gather(what, value, seconds)


def barrier(what: str) -> None:
    """Returns when all hosts have got here."""
    gather(what, None)


def first_says(what: str, ask: Callable[[], Any]) -> Any:
    """What process 0 answers; the others do not ask."""
    mine = ask() if _link is None or _link.place.index == 0 else None
    return gather(what, mine)[0]


def compare(what: str, record: Mapping[str, Any], advice: str) -> None:
    """Checks that a record is the same on all hosts.

    Raises:
      ValueError: on every host, with the fields that differ.
    """
    if not several():
        return
    values = {name: repr(value) for name, value in record.items()}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    if len(set(gather(what, digest))) == 1:
        return
    records = gather(f"{what} in full", values)
    lines = []
    for name in sorted(set().union(*records)):
        found: dict[str, list[int]] = {}
        for host, other in enumerate(records):
            found.setdefault(other.get(name, "nothing"), []).append(host)
        if len(found) > 1:
            lines.append(f"{name}: " + ", ".join(f"{x} on {numbered(h)}" for x, h in found.items()))
    more = [f"and {len(lines) - 10} more"] if len(lines) > 10 else []
    text = "\n  ".join(lines[:10] + more)
    raise ValueError(f"The hosts disagree about {what}, and stop:\n  {text}\n{advice}")


def check_same_folder(path: Path) -> None:
    """Checks that `path` is one folder that all hosts have in common.

    Raises:
      ValueError: on every host; nothing is left there.
    """
    if not several():
        return
    assert _link is not None
    main = _link.place.index == 0
    made: list[Path] = []
    name = gather("name of a token", f".hosts-{uuid.uuid4().hex}")[0]
    token = path / name
    if main:
        made = [p for p in (path, *path.parents) if not p.exists()]
        path.mkdir(parents=True, exist_ok=True)
        token.write_text("")
    barrier("token written")
    deadline = time.monotonic() + 30  # folders of other machines are seen with a delay
    while not (seen := token.exists()) and time.monotonic() < deadline and path.is_dir():
        time.sleep(0.1)
    blind = [host for host, sees in enumerate(gather("token seen", seen)) if not sees]
    if main:
        token.unlink()
        for folder in made if blind else ():
            folder.rmdir()
    if blind:
        raise ValueError(
            f"The workdir {path} of host 0 is not the one of {numbered(blind)}. All hosts read the "
            "checkpoints that host 0 writes: use a --workdir in a file system that they share."
        )


def versions() -> dict[str, str]:
    """Of the code that the result depends on; `code` is a digest of this package's files."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "wonn_jax": wonn_jax.__version__,
        "code": digest.hexdigest()[:16],
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


class Agenda:
    """What one host wishes and all do after the same step: save, or stop.

    Wishes come from clocks and signals, which differ. A wish after step k is granted after step
    k + 2: the host that has it makes it known to all before it dispatches step k + 1, and who has
    read the metrics of step k + 1, as every host has after step k + 2, knows that all have
    dispatched it. So nobody learns of it too late, and nobody waits or asks in the meantime.
    """

    def __init__(self) -> None:
        self._number = 0

    def after(self, step: int, wish: str) -> str:
        """What is to be done now on all hosts, after step `step`; '' for nothing.

        Args:
          step: that was dispatched, those before it were read.
          wish: of this host; '' for none.

        Raises:
          StoppedError: another host has stopped.
        """
        if not several():
            return wish
        assert _link is not None
        tag = f"agenda {self._number}"
        if wish and _link.announced(tag) is None:
            _link.announce(tag, [step + 2, wish])
        entry = _link.announced(tag)
        if entry is None or entry[0] > step:
            return ""
        if entry[0] < step:
            raise RuntimeError(f"Host {_link.place.index} learned after step {step} of {entry}.")
        self._number += 1
        return entry[1]


# --- The end --------------------------------------------------------------------------------------


def stop(error: BaseException, text: str = "") -> str:
    """Stops all hosts because of an error here; what a person should read."""
    text = text or str(error)
    return text if _link is None else _link.tell(error, text)


def leave(status: int) -> NoReturn:
    """Ends this process after `stop`, without waiting for the others as JAX would."""
    if _link is not None:
        _link.leave(status)
    sys.exit(status)


def take_along(error: BaseException) -> None:
    """Ends all hosts because of an error that nobody foresaw; alone, leaves it to Python."""
    if _link is not None:
        traceback.print_exc()
        stop(error, f"{type(error).__name__}: {error}")
        leave(1)


def finish(status: int = 0) -> None:
    """Waits for the others at the end of a run whose results are on disk."""
    if _link is not None:
        try:
            _link.gather(LAST, None, 60)
        except RuntimeError:  # somebody was killed after all was done
            leave(status)
