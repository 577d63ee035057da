"""Processes of one run: how they assemble, disagree, agree, save and end, on one machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import ROOT, among, command, ends, free_port, start, write_mazes

from wonn_jax.dist import hosts


def workers(
    what: str, folder: Path, places: list[tuple[int, int]], seconds: float = 30, port: int = 0
) -> list[subprocess.Popen]:
    """Processes of `host_worker.py`, each with its number and what it takes for the count."""
    port = port or free_port()
    script = str(ROOT / "tests" / "dist" / "host_worker.py")
    return [
        start([sys.executable, script, what, str(folder), f"localhost:{port}", *map(str, rest)])
        for rest in [(index, count, seconds) for index, count in places]
    ]


TWO = [(0, 2), (1, 2)]


def test_a_process_by_itself_has_nothing_to_say(tmp_path):
    assert not hosts.several()
    assert hosts.gather("x", 3) == [3] and hosts.first_says("x", lambda: 4) == 4
    hosts.compare("x", {"field": 1}, "")
    hosts.check_same_folder(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    agenda = hosts.Agenda()
    assert [agenda.after(1, ""), agenda.after(2, "save")] == ["", "save"]
    hosts.finish()


# --- Assembling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "seconds", "message"),
    [
        ([(1, 2)], 2, "did not answer host 1 within 2 s"),
        ([(0, 3)], 2, "Within 2 s hosts 1 and 2 of 3 did not join host 0"),
        ([(0, 3), (2, 3)], 6, "Within 6 s host 1 of 3 did not join host 0"),
        ([(0, 3), (1, 3), (1, 3)], 30, "Two processes have --process_id=1"),
        ([(0, 2), (1, 3)], 30, "--num_processes differs: 2 on host 0"),
        ([(2, 2)], 30, "--process_id=2 is not below --num_processes=2"),
    ],
    ids=["no coordinator", "alone", "one missing", "same id", "other count", "out of range"],
)
def test_processes_that_do_not_assemble(tmp_path, places, seconds, message):
    began = time.monotonic()
    for status, output, errors in ends(workers("agree", tmp_path, places, seconds), 60):
        assert (status, output) == (2, ""), errors
        assert errors.startswith("error: ") and message in errors
    assert time.monotonic() - began < seconds + 25


# --- What must be the same everywhere -------------------------------------------------------------


def test_a_record_that_differs(tmp_path):
    for status, _, errors in ends(workers("disagree", tmp_path, TWO)):
        assert status == 2
        assert "about the weather, and stop:\n  rain: False on host 0, True on host 1\n" in errors
        assert "wind" not in errors


def test_workdirs_that_are_not_one_folder(tmp_path):
    for status, output, errors in ends(workers("folders", tmp_path, TWO)):
        assert status == 2 and "shared" in output
        assert "of host 0 is not the one of host 1" in errors and "--workdir" in errors
    # The refused one was not left behind, and the other holds no token.
    assert os.listdir(tmp_path) == ["shared"] and not any((tmp_path / "shared/run").iterdir())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mazes(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("what", ["command and code", "their devices", "the data"])
def test_hosts_that_were_started_differently(data, tmp_path, what):
    """Both stop, both say why, and nothing was written."""
    port = free_port()
    first, second = ([*command(data, tmp_path / "run"), *among(2, i, port)] for i in range(2))
    cwd, environment = ROOT, {}
    if what == "command and code":
        cwd = tmp_path / "copy"
        shutil.copytree(ROOT / "wonn_jax", cwd / "wonn_jax")
        with (cwd / "wonn_jax" / "rng.py").open("a") as file:
            file.write("# Another version.\n")
        second.append("--config.train.batch_size=8")
        expected = ["config.train.batch_size: 16 on host 0, 8 on host 1", "code: "]
    elif what == "their devices":
        environment = {"JAX_NUM_CPU_DEVICES": "2"}
        expected = ["number: 1 on host 0, 2 on host 1"]
    else:
        other = write_mazes(tmp_path / "other", train=41)
        second.append(f"--config.data.path={other}")
        expected = ["training: ", "copy --config.data.path"]
    processes = [start(first), start(second, cwd, **environment)]
    for status, _, errors in ends(processes):
        assert status == 2
        assert f"The hosts disagree about {what}, and stop" in errors
        assert all(text in errors for text in expected), errors
    assert not (tmp_path / "run").exists()


# --- Agreeing and saving --------------------------------------------------------------------------


def test_wishes_are_granted_after_the_same_step(tmp_path):
    results = ends(workers("agree", tmp_path, TWO))
    assert [status for status, _, _ in results] == [0, 0], results
    lines = [output.splitlines()[-1] for _, output, _ in results]
    assert lines[0] == lines[1] == "did [(4, 'save'), (11, 'stop')]"
    assert all("first says host 0" in output for _, output, _ in results)


def test_arrays_split_over_processes_are_saved_and_restored(tmp_path):
    """And a disk that is full on process 0 ends both."""
    results = ends(workers("save", tmp_path, TWO))
    assert [status for status, _, _ in results] == [2, 2], results
    assert all("restored" in output for _, output, _ in results), results
    assert "error: A checkpoint needs" in results[0][2]
    assert "error: host 0 stopped: A checkpoint needs" in results[1][2]
    assert [x.name for x in (tmp_path / "checkpoints").iterdir()] == ["1"]


# --- Ending together ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "failing", "message", "status"),
    [
        ("fail_alone", 1, "the disk is full", 2),
        ("fail_first", 0, "the disk is full", 2),
        ("unforeseen", 1, "KeyError: 'a mistake of ours'", 1),
    ],
)
def test_a_host_that_fails_takes_the_others_along(tmp_path, what, failing, message, status):
    """Even those that wait for a device, within half a minute."""
    results = ends(workers(what, tmp_path, TWO), 45)
    assert results[failing][0] == status and message in results[failing][2]
    assert results[1 - failing][0] == 2
    assert f"error: host {failing} stopped: {message}" in results[1 - failing][2]


@pytest.mark.parametrize("victim", [1, 0])
def test_a_host_that_is_killed(tmp_path, victim):
    """The others say which it was; a stranger with its number does not disturb them before."""
    port = free_port()
    processes = workers("killed", tmp_path, TWO, port=port)
    while len(os.listdir(tmp_path)) < 2 and all(p.poll() is None for p in processes):
        time.sleep(0.05)
    if victim == 1:
        ((status, _, errors),) = ends(workers("killed", tmp_path, [(1, 2)], 2, port))
        assert status == 2 and "no run that is about to start" in errors
        assert [p.poll() for p in processes] == [None, None]
    processes[victim].send_signal(signal.SIGKILL)
    results = ends(processes, 45)
    assert results[victim][0] == -signal.SIGKILL
    status, _, errors = results[1 - victim]
    assert status == 2 and errors.count(f"error: host {victim} is gone") == 1
