"""What the processes of a run say to each other, apart from what their devices do.

Every process holds one connection to process 0, from before JAX starts until the run ends, on the
port of the coordinator (JAX's own service listens there afterwards). Over it they assemble,
compare what must be the same everywhere, agree on when to save and stop, and learn at once that
one of them failed or was killed. No device takes part: nothing here waits for one, and it works
when the hosts disagree about the number of their devices or have none yet.

JAX's coordination service could carry most of it, but it ends a process by `abort()` when another
is gone, without saying which, and no callback can be given for that from Python (jax 0.10.2:
std::bad_cast); a second process of the same number brings down the healthy one as well.

A process by itself has nothing to say: every function here is trivial then.
"""

import collections
import contextlib
import ctypes
import dataclasses
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
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

import wonn_jax

JOIN_SECONDS = 120.0
"""All processes must have started within this time."""
GRACE = 10.0
"""Seconds that process 0 gets to end by itself, and to write what it is writing."""
_SILENCE = 45
"""Seconds without a sign of life after which a host counts as dead, where no connection broke."""

Message = dict[str, Any]


class StoppedError(RuntimeError):
    """Another host has stopped, so this one cannot go on."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among the others.

    coordinator: HOST:PORT of process 0.
    index, count: number of this process, from 0, and of processes.
    local_devices: numbers of the devices it may use; None for all.
    """

    coordinator: str
    index: int
    count: int
    local_devices: Sequence[int] | None = None


# --- Lines of JSON over a connection --------------------------------------------------------------


class _Line:
    def __init__(self, connection: socket.socket):
        connection.settimeout(None)
        _notice_silence(connection)
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        # A connection that broke is noticed by whoever reads from it.
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float | None = None) -> Message | None:
        """The next message; None if there is none in time, or the other side is gone."""
        try:
            self._connection.settimeout(seconds)
            text = self._reader.readline()
            return json.loads(text) if text.endswith(b"\n") else None
        except (OSError, ValueError):  # or speaks another language
            return None

    def __iter__(self) -> Iterator[Message]:
        while (message := self.receive()) is not None:
            yield message

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _notice_silence(connection: socket.socket) -> None:
    """Has the system notice that the machine at the other end is gone, within half a minute."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    values = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
    for name, value in values.items():
        if option := getattr(socket, name, None):  # not every system has all of them
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


# --- Assembling -----------------------------------------------------------------------------------


def _assemble(place: Place, deadline: float, seconds: float) -> dict[int, _Line]:
    """Process 0 waits for all others, by number; refuses all if they do not fit together."""
    lines: dict[int, _Line] = {}
    where = {0: socket.gethostname()}

    def refuse(text: str) -> NoReturn:
        for line in lines.values():
            line.send({"do": "refused", "message": text})
        raise ValueError(text)

    began = time.monotonic()
    with _listen(place, deadline, seconds) as listener:
        waited = time.monotonic() - began
        while len(lines) < place.count - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                missing = sorted(set(range(place.count)) - {0, *lines})
                taken = (
                    f" Another process, perhaps one more with --process_id=0, had the port for "
                    f"{waited:.0f} s."
                    if waited > 1
                    else ""
                )
                refuse(
                    f"Within {seconds:g} s {_hosts(missing)} of {place.count} did not join host 0 "
                    f"at {place.coordinator}. Start every process of the run, each with its own "
                    f"--process_id from 0 to {place.count - 1}; if they need longer to start, use "
                    f"--join_seconds=SECONDS.{taken}"
                )
            line = _Line(connection)
            hello = line.receive(5.0)
            if hello is None or hello.get("do") != "hello":
                line.close()  # whatever else looks at open ports
                continue
            index, count, host = hello["index"], hello["count"], hello["where"]
            if count != place.count or index in where:
                known = where.get(index)
                lines = {**lines, -1: line}  # for it to be told, too
                if count != place.count:
                    refuse(
                        f"--num_processes differs: {place.count} on host 0 ({where[0]}), {count} "
                        f"on host {index} ({host}). Start all processes with the same number."
                    )
                refuse(
                    f"Two processes have --process_id={index}, on {known} and on {host}. Start "
                    f"{place.count} processes, each with its own number from 0 to "
                    f"{place.count - 1}."
                )
            lines[index], where[index] = line, host
    for line in lines.values():
        line.send({"do": "welcome"})
    return lines


def _listen(place: Place, deadline: float, seconds: float) -> socket.socket:
    port = _address(place.coordinator)[1]
    while True:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            # The processes of a run that has just ended may still be leaving.
            if time.monotonic() > deadline:
                raise OSError(
                    f"Process 0 cannot listen on port {port} of {socket.gethostname()} "
                    f"({error.strerror}, for {seconds:g} s). Another process 0 or another program "
                    "may have it: give every process its own --process_id, or choose another port "
                    "in --coordinator=HOST:PORT."
                ) from error
            time.sleep(0.3)


def _call(place: Place, deadline: float, seconds: float) -> _Line:
    """The connection to process 0 once all have joined."""
    reason = "no answer"
    hello = {"do": "hello", "index": place.index, "count": place.count}
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = socket.create_connection(
                _address(place.coordinator), timeout=min(left, 10)
            )
        except OSError as error:  # not there yet, perhaps
            reason = str(error)
            time.sleep(0.3)
            continue
        line = _Line(connection)
        line.send(hello | {"where": socket.gethostname()})
        answer = line.receive(deadline + 5 - time.monotonic())  # it may say who is missing
        if answer is not None and answer.get("do") == "welcome":
            return line
        line.close()
        if answer is not None and answer.get("do") == "refused":
            raise ValueError(answer["message"])
        reason = "something answers there, but no run that is about to start"
        time.sleep(0.3)
    raise OSError(
        f"The coordinator {place.coordinator} did not answer host {place.index} within "
        f"{seconds:g} s ({reason}). Process 0 must run on that host, with the same --coordinator, "
        "and the port must be open between the hosts; if it needs longer to start, use "
        "--join_seconds=SECONDS."
    )


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"The coordinator {coordinator!r} is no address; use --coordinator=HOST:PORT, the host "
            "of process 0 and a free port there."
        )
    return host.strip("[]"), int(port)


def _hosts(numbers: Sequence[int]) -> str:
    """'host 3', 'hosts 1, 2 and 5'."""
    *most, last = map(str, numbers)
    return f"hosts {', '.join(most)} and {last}" if most else f"host {last}"


# --- Process 0 passes on what is said -------------------------------------------------------------


class _Server:
    def __init__(self, lines: dict[int, _Line]):
        self._lines = lines
        self._lock = threading.RLock()
        self._gathered: dict[str, dict[int, Any]] = collections.defaultdict(dict)
        self._announced: dict[str, Any] = {}
        self._unaware: dict[str, set[int]] = {}
        self._announcers: dict[str, list[int]] = collections.defaultdict(list)
        self._open = set(lines) - {0}
        self._all_left = threading.Event()
        self._over = False
        for index in lines:
            threading.Thread(target=self._serve, args=(index,), daemon=True).start()

    def _serve(self, index: int) -> None:
        for message in self._lines[index]:
            with self._lock:
                getattr(self, f"_{message['do']}")(index, message)
        with self._lock:
            self._open.discard(index)
            if not self._open:
                self._all_left.set()
            self._stop(index, {"message": None})

    def _send_all(self, message: Message) -> None:
        for line in self._lines.values():
            line.send(message)

    def _gather(self, index: int, message: Message) -> None:
        tag = message["tag"]
        values = self._gathered[tag]
        values[index] = message["value"]
        if len(values) == len(self._lines):
            del self._gathered[tag]
            self._over = self._over or message.get("last", False)
            ordered = [values[i] for i in range(len(values))]
            self._send_all({"do": "gathered", "tag": tag, "values": ordered})

    def _announce(self, index: int, message: Message) -> None:
        tag = message["tag"]
        self._announcers[tag].append(index)
        if tag not in self._announced:  # the first one counts
            self._announced[tag] = message["value"]
            self._unaware[tag] = set(self._lines)
            self._send_all({"do": "announced", "tag": tag, "value": message["value"]})
        self._confirm(tag)

    def _aware(self, index: int, message: Message) -> None:
        self._unaware[message["tag"]].discard(index)
        self._confirm(message["tag"])

    def _confirm(self, tag: str) -> None:
        if not self._unaware[tag]:
            for index in self._announcers.pop(tag, ()):
                self._lines[index].send({"do": "confirmed", "tag": tag})

    def _stop(self, index: int, message: Message) -> None:
        if not self._over:  # the first one is the cause
            self._over = True
            self._send_all({"do": "stop", "host": index, "message": message["message"]})

    def wait_for_others(self, seconds: float) -> None:
        """Until all others have left: with this process they would lose the reason why."""
        if self._open:
            self._all_left.wait(seconds)


# --- This process ---------------------------------------------------------------------------------


class _Link:
    def __init__(self, place: Place, line: _Line, server: _Server | None):
        self.place = place
        self._line = line
        self._server = server
        self._changed = threading.Condition()
        self._gathered: dict[str, list[Any]] = {}
        self._announced: dict[str, Any] = {}
        self._confirmed: set[str] = set()
        self._count: collections.Counter[str] = collections.Counter()
        self._stopped: tuple[int, str | None] | None = None
        self._finished = False
        self._main_ends = threading.Event()
        self._last_word = threading.Lock()  # one thread has it, and ends the process
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for message in self._line:
            kind, tag = message["do"], message.get("tag", "")
            with self._changed:
                if kind == "gathered":
                    self._gathered[tag] = message["values"]
                    self._finished = self._finished or tag.startswith(_LAST)
                elif kind == "announced":
                    self._announced[tag] = message["value"]
                    self._line.send({"do": "aware", "tag": tag})
                elif kind == "confirmed":
                    self._confirmed.add(tag)
                elif kind == "stop":
                    self._stopped = (message["host"], message["message"])
                self._changed.notify_all()
            if kind == "stop":
                break
        if not self._finished:
            with self._changed:
                self._stopped = self._stopped or (0, None)  # the connection broke
                self._changed.notify_all()
            self._end()

    def _end(self) -> None:
        """Ends this process, whose main thread may be waiting for devices that never answer."""
        assert self._stopped is not None
        if self._stopped[0] == self.place.index:
            return  # the main thread is on its way out
        if self._server is not None:
            self._main_ends.wait(GRACE)
        if self._last_word.acquire(blocking=False):
            print(f"error: {self.cause()}", file=sys.stderr)
        else:
            time.sleep(GRACE)  # the main thread has no longer than this
        self.leave(2)

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._stopped is not None, seconds)
            if condition():
                return
        if self._stopped is not None:
            raise StoppedError(self.cause())
        raise RuntimeError(f"Not all hosts got as far as {what!r} within {seconds:g} s.")

    def gather(self, what: str, value: Any, seconds: float) -> list[Any]:
        self._count[what] += 1
        tag = f"{what} {self._count[what]}"
        self._line.send({"do": "gather", "tag": tag, "value": value, "last": what == _LAST})
        self._wait(lambda: tag in self._gathered, what, seconds)
        return self._gathered.pop(tag)

    def announce(self, tag: str, value: Any) -> None:
        self._line.send({"do": "announce", "tag": tag, "value": value})
        self._wait(lambda: tag in self._confirmed, tag, 60)

    def announced(self, tag: str) -> Any | None:
        return self._announced.get(tag)

    def cause(self) -> str:
        assert self._stopped is not None
        host, message = self._stopped
        if message is not None:
            return f"host {host} stopped: {message}"
        return (
            f"host {host} is gone: its process was killed, or its machine or network failed. All "
            "hosts stop; the same command, started on all of them or on others, goes on from the "
            "last checkpoint."
        )

    def tell(self, error: BaseException, text: str) -> str:
        """Takes the other hosts along; what a person should read here."""
        if not self._last_word.acquire(blocking=False):
            time.sleep(2 * GRACE)  # this process is being ended
        self._main_ends.set()
        consequence = isinstance(error, StoppedError | jax.errors.JaxRuntimeError)
        if consequence:  # devices notice that others are gone, but not why
            with self._changed:
                self._changed.wait_for(lambda: self._stopped is not None, 5)
        if self._stopped is None:
            self._line.send({"do": "stop", "message": text})
        elif consequence:
            return self.cause()
        return text

    def leave(self, status: int) -> NoReturn:
        # Not sys.exit: JAX would wait at the end for hosts that do not come.
        sys.stdout.flush()
        sys.stderr.flush()
        if self._server is not None:
            self._server.wait_for_others(GRACE)
        os._exit(status)


_LAST = "the end"
_link: _Link | None = None


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
    _address(place.coordinator)
    deadline = time.monotonic() + seconds
    if place.index == 0:
        lines = _assemble(place, deadline, seconds)
        ours, theirs = socket.socketpair()
        line = _Line(ours)
        server = _Server({0: _Line(theirs), **lines})
    else:
        line, server = _call(place, deadline, seconds), None
    _link = _Link(place, line, server)
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
            "wonn_jax.hosts.join(Place(COORDINATOR, INDEX, COUNT)) instead, which calls it."
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
            lines.append(f"{name}: " + ", ".join(f"{x} on {_hosts(h)}" for x, h in found.items()))
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
            f"The workdir {path} of host 0 is not the one of {_hosts(blind)}. All hosts read the "
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
            _link.gather(_LAST, None, 60)
        except RuntimeError:  # somebody was killed after all was done
            leave(status)
