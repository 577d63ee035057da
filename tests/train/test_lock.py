"""The lock of a workdir: one run at a time, named, and no trace of the dead."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from runs import ROOT

from wonn_jax.train import lock
from wonn_jax.train.lock import Lock, locked

HOLD = """
import sys, time
from wonn_jax.train.lock import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(lock, "DYING_SECONDS", 0.3)
    monkeypatch.setattr(lock, "SETTLING_SECONDS", 0.2)


@pytest.fixture
def no_flock(monkeypatch):
    """A file system that has none."""

    def refuse(*_) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"locked\n"
    yield process
    process.kill()
    process.communicate()


def content(folder: Path) -> dict:
    return json.loads((folder / lock.NAME).read_text())


def taken(folder: Path) -> bool:
    """Whether the lock can be taken now."""
    try:
        with locked(folder):
            return True
    except OSError as error:
        assert f"{folder} is in use: process " in str(error)
        return False


def test_it_names_its_holder_and_goes_with_its_folder(tmp_path):
    folder = tmp_path / "runs" / "new"
    with locked(folder):
        mine = content(folder)
        assert (mine["process"], mine["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(OSError) as caught, locked(folder):
            pass
        message = str(caught.value)
        assert message.startswith(
            f"{folder} is in use: process {os.getpid()} on {socket.gethostname()} (since 20"
        )
        assert "another --workdir" in message
        assert content(folder)["token"] == mine["token"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_stays(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "x").write_text("")
    assert [x.name for x in (tmp_path / "run").iterdir()] == ["x"]


def test_an_error_inside_removes_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert taken(tmp_path)


def test_a_killed_process_blocks_nobody(tmp_path, holder, capsys):
    assert not taken(tmp_path)
    holder.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert taken(tmp_path)
    assert time.monotonic() - began < 0.3 and capsys.readouterr().err == ""


def test_what_a_killed_process_was_writing_goes(tmp_path, holder):
    (tmp_path / "predictions").mkdir()
    torn = [tmp_path / "config.json", tmp_path / "predictions" / "step_00000006.png"]
    left = [path.with_name(f"{path.name}.{holder.pid}.tmp") for path in torn]
    others = [tmp_path / f"eval.json.{holder.pid}7.tmp", tmp_path / "notes.tmp"]
    for path in left + others:
        path.touch()
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)


def test_a_process_may_take_a_moment_to_die(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock, "DYING_SECONDS", 30)
    threading.Timer(0.3, holder.kill).start()
    assert taken(tmp_path)


def test_a_stopped_process_holds_it(tmp_path, holder):
    """As Ctrl-Z leaves it: it would go on."""
    holder.send_signal(signal.SIGSTOP)
    assert not taken(tmp_path)


@pytest.mark.parametrize("text", [b"", b"\0" * 512, b"{", b"[]", b"{}"])
def test_a_damaged_file_blocks_nobody(tmp_path, text):
    (tmp_path / lock.NAME).write_bytes(text)
    assert taken(tmp_path)


def test_of_another_machine_it_counts_as_long_as_it_beats(tmp_path, capsys, monkeypatch):
    """There, flock may not tell."""
    with locked(tmp_path):
        text = (tmp_path / lock.NAME).read_bytes()
    about = json.loads(text) | {"machine": "another", "process": 7, "host": "tpu-3"}
    file = tmp_path / lock.NAME
    file.write_text(json.dumps(about))
    began = time.monotonic()
    assert taken(tmp_path)
    assert time.monotonic() - began >= 0.5
    note = f"process 7 on tpu-3 (since {about['since']}) was training in {tmp_path}; waiting 0.5 s"
    assert note in capsys.readouterr().err

    file.write_text(json.dumps(about))
    threading.Timer(0.2, lambda: file.write_text(json.dumps(about | {"beat": 9}))).start()
    assert not taken(tmp_path)
    assert content(tmp_path)["host"] == "tpu-3"

    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 30.0)
    threading.Timer(0.2, file.unlink).start()  # it has ended meanwhile
    assert taken(tmp_path)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_the_beat_tells(tmp_path):
    with locked(tmp_path):
        first = content(tmp_path)["beat"]
        assert not taken(tmp_path)
        assert content(tmp_path)["beat"] > first
    assert list(tmp_path.iterdir()) == []
    dead = Lock(tmp_path)
    dead.take()
    dead._released.set()  # no more beats
    assert taken(tmp_path)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_one_of_several_that_start_at_once(tmp_path):
    results: list[bool] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        try:
            with locked(tmp_path):
                time.sleep(1)
            results.append(True)
        except OSError:
            results.append(False)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]


@pytest.mark.usefixtures("no_flock")
def test_who_loses_it_ends(tmp_path, monkeypatch, capsys):
    """A process that was suspended for so long that another one has taken over."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    with locked(tmp_path):
        other = {"token": "x", "process": 7, "host": "tpu-3", "since": "now"}
        (tmp_path / lock.NAME).write_text(json.dumps(other))
        time.sleep(0.3)
        assert statuses[0] == 2
        assert "process 7 on tpu-3 (since now) has taken over" in capsys.readouterr().err
        (tmp_path / lock.NAME).write_text(json.dumps(other))
    monkeypatch.undo()


def test_a_deleted_folder_is_no_error(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run" / lock.NAME).unlink()
        (tmp_path / "run").rmdir()
        time.sleep(0.2)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_workdir_that_is_no_folder(tmp_path, place):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError) as caught, locked(tmp_path / place):
        pass
    assert f"{tmp_path / place}" in str(caught.value)
    assert (tmp_path / "file").read_text() == "text"


def test_a_workdir_that_is_not_writable(tmp_path, monkeypatch):
    def refuse(*_, **__) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    message = rf"Nothing can be written into {tmp_path}/run \(Permission denied\)"
    with pytest.raises(OSError, match=message), locked(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
