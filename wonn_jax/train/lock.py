"""One run at a time in a workdir: a lock that names its holder, and ends with that process.

`lock.json` in the workdir says which process trains there. Whether that process still lives is
told by two things, since neither is known everywhere:

- flock(2) on the file, which the kernel takes away from a process that ends, however it ends: a run
  that was killed can be resumed at once. It works between all processes of a machine, those in
  containers too, and on many shared file systems between machines; not in a bucket.
- The beat, a number in the file that its holder raises every few seconds. Where no flock, or that
  of another machine, tells, a beat that stands still for half a minute is that of a dead process;
  no clocks are compared. A holder that loses the lock in this way (it was suspended, or its network
  was down) ends before it can write anything more.

Evaluation and reports only read checkpoints that are complete, and need no lock.
"""

import contextlib
import datetime
import fcntl
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from wonn_jax.common.files import parse_object, remove_unfinished, to_json
from wonn_jax.common.folders import is_remote, naming, writable_folder
from wonn_jax.parallel import hosts

NAME = "lock.json"
BEAT_SECONDS = 10.0
"""Between two beats."""
PATIENCE_SECONDS = 30.0
"""Without a beat, after which a process that cannot be asked is taken for dead."""
DYING_SECONDS = 5.0
"""That a process that was killed may take to end."""
SETTLING_SECONDS = 2.0
"""Within which, without flock, two processes that start at once have both written the file."""
_LENGTH = 512  # of the file, always the same: no reader finds half of it


@contextlib.contextmanager
def locked(workdir: epath.PathLike) -> Iterator[None]:
    """Keeps other runs out of a workdir, which is made if missing; process 0 does it for all.

    Raises:
      OSError: it is in use, by which process of which machine; or nothing can be written there.
      ValueError: not all hosts see the same folder.
    """
    lock = Lock(epath.Path(workdir))
    try:
        token = hosts.broadcast(lock.take)
        hosts.check_same_folder(workdir, lambda: lock.token_there() == token)
        yield
    finally:
        lock.release()


class Lock:
    """The lock of one process on a folder; see the top of this file."""

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._path = folder / NAME
        self._file: int | None = None  # descriptor, of a local file
        self._flocked = False
        self._taken = False
        self._made: list[Path] = []
        self._beat = 0
        self._token = uuid.uuid4().hex
        self._about = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "machine": _machine(),
            "since": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC",
            "token": self._token,
        }
        self._released = threading.Event()
        self._beating = threading.Thread(target=self._keep_beating, daemon=True)

    def take(self) -> str:
        """Takes the lock; returns its token.

        Raises:
          OSError: the folder is in use, or nothing can be written there.
        """
        self._made = writable_folder(self._folder)
        if not is_remote(self._folder):
            self._open()
        before = self._read()
        if before and not (self._flocked and before.get("machine") == self._about["machine"]):
            self._wait_for_a_beat(before)
        self._write()
        self._taken = True
        if before and not is_remote(self._folder):
            remove_unfinished(self._folder, before.get("process", 0))
        if not self._flocked:
            self._settle()
        self._beating.start()
        return self._token

    def token_there(self) -> str:
        """The token in the file that this process sees; '' if there is none."""
        return (self._read() or {}).get("token", "")

    def release(self) -> None:
        """Removes the lock, if it was taken, and the folders that were made for it, if empty."""
        self._released.set()
        if self._beating.is_alive():
            self._beating.join()
        with contextlib.suppress(OSError):  # gone already, with the folder
            if self._taken and self.token_there() == self._token:
                self._path.unlink()
        if self._file is not None:
            os.close(self._file)
        self._taken, self._file = False, None
        for folder in self._made:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def _open(self) -> None:
        """Opens the file and locks it, if the file system can."""
        deadline = time.monotonic() + DYING_SECONDS
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its holder may have removed the file between the two calls.
                if self._path.exists() and os.path.samestat(os.fstat(file), os.stat(self._path)):
                    self._file, self._flocked = file, True
                    return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(file)
                    raise self._in_use(self._read()) from None
                time.sleep(0.1)
            except OSError:  # a file system without flock
                self._file = file
                return
            os.close(file)

    def _wait_for_a_beat(self, before: dict[str, Any]) -> None:
        print(
            f"note     {_who(before)} was training in {self._folder}; waiting "
            f"{PATIENCE_SECONDS:g} s to see whether it still is",
            file=sys.stderr,
            flush=True,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(min(1.0, PATIENCE_SECONDS / 10))
            found = self._read()
            if found is None:
                return
            if found != before:
                raise self._in_use(found)

    def _settle(self) -> None:
        """Of processes that start at once, the one that wrote last goes on."""
        time.sleep(SETTLING_SECONDS)
        found = self._read()
        if found and found.get("token") != self._token:
            raise self._in_use(found)

    def _in_use(self, holder: dict[str, Any] | None) -> OSError:
        return OSError(
            f"{self._folder} is in use: {_who(holder or {})} is training there. Wait until it has "
            "ended, or stop it, or use another --workdir."
        )

    def _keep_beating(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):  # a disk or a network that fails may come back
                found = self._read()
                if found and found.get("token") != self._token:
                    self._end(found)
                self._beat += 1
                self._write()

    def _end(self, other: dict[str, Any]) -> None:
        print(
            f"error: {_who(other)} has taken over {self._folder}, since for "
            f"{PATIENCE_SECONDS:g} s there was no sign of this process, which therefore ends.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    def _read(self) -> dict[str, Any] | None:
        """What the file says; None if there is none, or a power cut has damaged it."""
        with naming(self._path):
            try:
                return parse_object(self._path.read_bytes())
            except (FileNotFoundError, ValueError):
                return None

    def _write(self) -> None:
        text = to_json(self._about | {"beat": self._beat}).encode().ljust(_LENGTH - 1) + b"\n"
        with naming(self._path):
            if self._file is None:
                self._path.write_bytes(text)
            else:
                os.pwrite(self._file, text, 0)


def _who(holder: dict[str, Any]) -> str:
    """'process 12 on tpu-3 (since 2026-11-26 10:20:31 UTC)'."""
    if not {"process", "host", "since"} <= holder.keys():
        return "another process"
    return f"process {holder['process']} on {holder['host']} (since {holder['since']})"


def _machine() -> str:
    """What the processes that share a kernel have in common; a restart changes it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
