"""Processes of one run: how they join, compare, save, stop and end, on one machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import ROOT, among, command, ends, free_port, start, write_mazes

from wonn_jax.parallel import hosts
from wonn_jax.train.agenda import Agenda

WORKER = str(ROOT / "tests" / "parallel" / "host_worker.py")
ENDED_BY_JAX = -signal.SIGABRT


def workers(
    what: str, folder: Path, places: list[tuple[int, int]], seconds: float = 60, port: int = 0
) -> list[subprocess.Popen]:
    """Processes of `host_worker.py`, each with its index and what it takes for the count."""
    coordinator = f"localhost:{port or free_port()}"
    folder.mkdir(exist_ok=True)
    return [
        start([sys.executable, WORKER, what, str(folder), coordinator, *map(str, rest)])
        for rest in [(index, count, seconds) for index, count in places]
    ]


TWO = [(0, 2), (1, 2)]


def test_a_process_alone_agrees_with_itself(tmp_path):
    assert not hosts.several()
    assert hosts.gather(3) == [3] and hosts.broadcast(lambda: 4) == 4
    hosts.barrier("x")
    hosts.compare("x", {"field": 1}, "")
    hosts.compare_devices()
    hosts.check_same_folder(tmp_path, lambda: False)
    assert not hosts.lost(ValueError("Gloo all-reduce failed"))
    hosts.finish()
    with pytest.raises(SystemExit, match="7"):
        hosts.leave(7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_alone_grants_its_requests(number):
    before = signal.getsignal(number)
    agenda = Agenda()
    assert [agenda.save_due(False), agenda.save_due(True)] == [False, True]
    assert agenda.stop_due() == 0
    signal.raise_signal(number)
    assert agenda.stop_due() == number
    agenda.close()
    assert signal.getsignal(number) == before


# --- Joining --------------------------------------------------------------------------------------


def test_processes_that_cannot_join(tmp_path):
    """All end within the time to join, those that JAX does not abort with our message."""
    taken = socket.create_server(("", 0))
    missing = "error: not all 3 processes met at localhost:{port} within 8 s"
    scenarios = {
        "no coordinator": ([(1, 3)], missing),
        "one missing": ([(0, 3), (2, 3)], missing),
        "out of range": ([(2, 2)], "--process_id=2 with --num_processes=2 is not the number"),
        "port taken": ([(0, 2)], "cannot listen on port {port}"),
    }
    ports = {what: free_port() for what in scenarios} | {"port taken": taken.getsockname()[1]}
    running = {
        what: workers("join_only", tmp_path, places, 8, ports[what])
        for what, (places, _) in scenarios.items()
    }
    same = workers("join_only", tmp_path, [(0, 3), (1, 3), (1, 3)], 8)
    for what, (_, message) in scenarios.items():
        for status, output, errors in ends(running[what]):
            assert (status, output) == (2, ""), (what, errors)
            assert "error: " in errors and message.format(port=ports[what]) in errors
    # Of two with one index, JAX aborts one at once; then one is missing.
    results = ends(same)
    assert sorted(status for status, _, _ in results) == [ENDED_BY_JAX, 2, 2], results
    assert any("ALREADY_EXISTS" in errors for _, _, errors in results)
    assert all("joining  process " in errors for _, _, errors in results)
    taken.close()


@pytest.mark.parametrize("coordinator", ["localhost", "localhost:x", ":1234", "localhost:99999"])
def test_a_coordinator_that_is_not_an_address(coordinator):
    with pytest.raises(ValueError, match="is not an address; use --coordinator=HOST:PORT"):
        hosts.join(coordinator, 0, 2)


def test_no_cluster_to_detect(tmp_path):
    worker = start([sys.executable, WORKER, "join_only", str(tmp_path), "auto", "-", "-", "20"])
    ((status, _, errors),) = ends([worker])
    assert status == 2 and "JAX could not connect the processes" in errors
    assert "--distributed=on with --coordinator" in errors


# --- Agreeing -------------------------------------------------------------------------------------


STRAY = (b'{"do":"hello"}\n', b"[1,2]\n", bytes(range(256)), bytes(2**20), b"")


def throw_at(port: int) -> None:
    for text in STRAY:
        for address in ("127.0.0.1", "::1"):
            try:
                with socket.create_connection((address, port), 2) as connection:
                    connection.sendall(text)
            except OSError:
                pass  # refused, or closed before all was sent


def listening(process: subprocess.Popen) -> set[int]:
    """Ports that a process listens on."""
    lines = [
        line.split()
        for file in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]
    ]
    ports = {f"socket:[{x[9]}]": int(x[1].rpartition(":")[2], 16) for x in lines if x[3] == "0A"}
    files = [os.readlink(x) for x in Path(f"/proc/{process.pid}/fd").iterdir() if x.is_symlink()]
    return {ports[file] for file in files if file in ports}


def wait_until_ready(folder: Path, running: list[subprocess.Popen]) -> None:
    while len(list(folder.glob("ready *"))) < len(running):
        assert all(process.poll() is None for process in running), ends(running)
        time.sleep(0.05)


def test_hosts_agree_whatever_comes_to_their_ports(tmp_path):
    """And a disk that is full on process 0 ends both."""
    port = free_port()
    both = workers("agree", tmp_path, TWO, port=port)
    wait_until_ready(tmp_path, both)
    ports = set().union(*map(listening, both))
    assert port in ports and len(ports) > 1  # Gloo's, too
    for each in ports:
        throw_at(each)
    (tmp_path / "go").write_text("")
    results = ends(both)
    for index, (_, output, errors) in enumerate(results):
        lines = output.splitlines()
        for expected in (
            "gathered ['x', 'xxxxxxxxxx']",
            "broadcast 0",
            "The hosts disagree about the weather:",
            "  rain: False on host 0, True on host 1",
            "Move house.",
            "locked ['lock.json']",
            f"{tmp_path}/a file is a file; give the path of a folder.",
            # What process 0 requests after step 3 is known after step 4, on both.
            "saved [4, 10]",
            "restored",
        ):
            assert expected in lines, (index, output, errors)
        assert "wind" not in output
        assert f"/of host {index}/run of host 0 is not the one of host 1" in output
    # Folders in which nothing was written were not left behind.
    assert not list(tmp_path.glob("of host *")) and not (tmp_path / "shared").exists()
    assert results[0][0] == 2 and "error: A checkpoint needs" in results[0][2]
    assert results[1][0] in (ENDED_BY_JAX, hosts.LOST)
    assert [x.name for x in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path):
    results = ends(workers("stop", tmp_path, TWO))
    assert [status for status, _, _ in results] == [128 + signal.SIGTERM, 128 + signal.SIGINT]
    first, second = (output.splitlines()[-1] for _, output, _ in results)
    assert first == second and first.startswith("stopped after ")
    assert 5 < int(first.split()[-1]) < 100


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
        second = [*second, "--config.train.batch_size=8", "--num_processes=3"]
        expected = [
            "config.train.batch_size: 16 on host 0, 8 on host 1",
            "num_processes: 2 on host 0, 3 on host 1",
            "code: ",
        ]
    elif what == "their devices":
        environment = {"JAX_NUM_CPU_DEVICES": "2"}
        expected = ["devices: 1 × cpu on host 0, 2 × cpu on host 1"]
    else:
        other = write_mazes(tmp_path / "other", train=41)
        second.append(f"--config.data.path={other}")
        expected = ["training: ", "copy --config.data.path"]
    processes = [start(first), start(second, cwd, **environment)]
    for status, _, errors in ends(processes):
        assert status == 2
        assert f"error: The hosts disagree about {what}:" in errors
        assert all(text in errors for text in expected), errors
    assert not (tmp_path / "run").exists()


# --- Ending together ------------------------------------------------------------------------------


def test_all_print_an_error_that_all_have(tmp_path):
    both = workers("fail_together", tmp_path, TWO)
    (tmp_path / "go").write_text("")
    for status, _, errors in ends(both):
        assert status == 2 and "error: a wrong setting" in errors


def test_a_host_that_ends_takes_the_others_along(tmp_path):
    """By an error or killed, whether or not the others compute; four runs side by side."""
    # The workers wait for 6 s of silence, a run longer; in all a minute.
    assert hosts._HEARTBEAT_SECONDS + hosts._LEAVE_SECONDS < 45
    runs = {"fail_alone": 1, "unforeseen": 0, "killed": 1, "killed first": 0}
    running = {what: workers(what.split()[0], tmp_path / what, TWO) for what in runs}
    for what, both in running.items():
        wait_until_ready(tmp_path / what, both)
    for what in running:
        (tmp_path / what / "go").write_text("")
    for what, victim in runs.items():
        if what.startswith("killed"):
            running[what][victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    results = {what: ends(both, 45) for what, both in running.items()}
    assert time.monotonic() - began < 30
    for what, (status, message) in {
        "fail_alone": (2, "error: the disk is full"),
        "unforeseen": (1, "KeyError: 'a mistake of ours'"),
        "killed": (-signal.SIGKILL, ""),
        "killed first": (-signal.SIGKILL, ""),
    }.items():
        victim = runs[what]
        assert results[what][victim][0] == status, (what, results[what])
        assert message in results[what][victim][2]
        other = results[what][1 - victim]
        assert other[0] in (ENDED_BY_JAX, hosts.LOST), (what, other)
        assert "JAX distributed service detected fatal errors" in other[2] or (
            "Another host has probably ended" in other[2]
        )
