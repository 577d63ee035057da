"""Connections between the processes of a run, under `wonn_jax.dist.hosts`.

Every process holds one connection to process 0, from before JAX starts until the run ends, on the
port of the coordinator (JAX's own service listens there afterwards). Process 0 passes on what is
said, lines of JSON, to itself as to the others.
"""

import collections
import contextlib
import dataclasses
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax

GRACE = 10.0
"""Seconds that process 0 gets to end by itself, and to write what it is writing."""
LAST = "the end"
"""What processes gather for when all is done."""

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


class Line:
    """Messages over a connection, one a line."""

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


def assemble(place: Place, deadline: float, seconds: float) -> dict[int, Line]:
    """Process 0 waits for all others, by number; refuses all if they do not fit together."""
    lines: dict[int, Line] = {}
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
                    f"Within {seconds:g} s {numbered(missing)} of {place.count} did not join host "
                    f"0 at {place.coordinator}. Start every process of the run, each with its own "
                    f"--process_id from 0 to {place.count - 1}; if they need longer to start, use "
                    f"--join_seconds=SECONDS.{taken}"
                )
            line = Line(connection)
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
    port = parse_address(place.coordinator)[1]
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


def call(place: Place, deadline: float, seconds: float) -> Line:
    """The connection to process 0 once all have joined."""
    reason = "no answer"
    hello = {"do": "hello", "index": place.index, "count": place.count}
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = socket.create_connection(
                parse_address(place.coordinator), timeout=min(left, 10)
            )
        except OSError as error:  # not there yet, perhaps
            reason = str(error)
            time.sleep(0.3)
            continue
        line = Line(connection)
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


def parse_address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"The coordinator {coordinator!r} is no address; use --coordinator=HOST:PORT, the host "
            "of process 0 and a free port there."
        )
    return host.strip("[]"), int(port)


def numbered(numbers: Sequence[int]) -> str:
    """'host 3', 'hosts 1, 2 and 5'."""
    *most, last = map(str, numbers)
    return f"hosts {', '.join(most)} and {last}" if most else f"host {last}"


# --- Process 0 passes on what is said -------------------------------------------------------------


class Server:
    """What process 0 does for all, itself included."""

    def __init__(self, lines: dict[int, Line]):
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


class Link:
    """What a process says and hears, and how it ends."""

    def __init__(self, place: Place, line: Line, server: Server | None):
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
                    self._finished = self._finished or tag.startswith(LAST)
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
        self._line.send({"do": "gather", "tag": tag, "value": value, "last": what == LAST})
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


def connect(place: Place, seconds: float) -> Link:
    """The connection of this process, once all processes have one.

    Raises:
      ValueError: processes that do not fit together; all of them get the same message.
      OSError: process 0 cannot be reached, or cannot listen.
    """
    parse_address(place.coordinator)
    deadline = time.monotonic() + seconds
    if place.index:
        return Link(place, call(place, deadline, seconds), None)
    lines = assemble(place, deadline, seconds)
    ours, theirs = socket.socketpair()
    line = Line(ours)
    return Link(place, line, Server({0: Line(theirs), **lines}))
