"""Runs of several processes that are killed, asked to stop, and go on with other numbers."""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import (
    QUICK,
    ROOT,
    among,
    arrays,
    command,
    ends,
    free_port,
    run,
    signal_at,
    start,
    start_all,
    write_mazes,
)

from wonn_jax.parallel.hosts import LOST
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lines import read_lines

# Adam divides a gradient that is 0 up to rounding by its size, so some parameters would wander.
CALM = "--config.optimizer.eps=1e-3"


def recorded(arguments: list[str], file: Path) -> list[str]:
    """The same run, which writes down its examples."""
    flags = arguments[arguments.index("wonn_jax.main") + 1 :]
    worker = ROOT / "tests" / "parallel" / "elastic_worker.py"
    return [sys.executable, str(worker), str(file), *flags]


def ids(file: Path) -> dict[int, list[int]]:
    """Rows that a process got, by step."""
    return {step: rows for step, rows in map(json.loads, file.read_text().splitlines())}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_mazes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory) -> Path:
    """One process that nobody disturbed, and `ids` beside its workdir."""
    folder = tmp_path_factory.mktemp("alone")
    arguments = recorded(command(data, folder / "run", CALM), folder / "ids")
    result = run(arguments, PYTHONPATH=str(ROOT), **QUICK)
    assert result.returncode == 0, result.stderr
    return folder


def assert_agrees(run: Path, alone: Path) -> None:
    """The same lines and the same arrays, to rounding."""
    ours, theirs = (read_lines(w / "metrics.jsonl") for w in (run, alone))
    assert [(x["step"], x["kind"]) for x in ours] == [(x["step"], x["kind"]) for x in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        name = "loss" if mine["kind"] == "train" else "ema_loss"
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-4)
    mine, other = arrays(run), arrays(alone)
    for name, x in other.items():
        if name.startswith(("params", "ema")):
            np.testing.assert_allclose(mine[name], x, atol=1e-4, err_msg=name)


def test_four_processes_lose_one_and_two_go_on(data, alone, tmp_path):
    arguments = command(data, tmp_path / "run", CALM)
    # The clock of process 0 says when to save.
    clock = [*arguments, "--config.checkpoint.every=0.001 minutes"]
    port = free_port()
    four = [
        start([*recorded(clock, tmp_path / f"ids-4-{i}"), *among(4, i, port)]) for i in range(4)
    ]
    signal_at(9, arguments, four, [four[2]], signal.SIGKILL)
    killed = time.monotonic()
    results = ends(four, 60)
    assert time.monotonic() - killed < 60
    statuses = [status for status, _, _ in results]
    assert statuses.pop(2) == -signal.SIGKILL, results
    assert set(statuses) <= {LOST, -signal.SIGABRT}, results

    port = free_port()
    flags = [*arguments, "--config.devices.cpu_devices=2"]
    two = [start([*recorded(flags, tmp_path / f"ids-2-{i}"), *among(2, i, port)]) for i in range(2)]
    results = ends(two)
    assert [status for status, _, _ in results] == [0, 0], results
    assert "4 × cpu on 2 hosts" in results[0][1]
    resumed = int(results[0][1].partition("start    step ")[2].partition(",")[0])
    assert 0 < resumed < 30
    assert "workdir" not in results[1][1]  # process 0 alone prints

    # Every host read its rows and nobody else's; together they are the batch of one process.
    whole = ids(alone / "ids")
    assert sorted(whole) == list(range(30))
    for hosts, first in ((4, 0), (2, resumed)):
        parts = [ids(tmp_path / f"ids-{hosts}-{i}") for i in range(hosts)]
        assert all(min(part) == first for part in parts)
        steps = range(first, 9 if hosts == 4 else 30)
        for step in steps:
            rows = [part[step] for part in parts]
            assert {len(x) for x in rows} == {16 // hosts}
            assert sorted(sum(rows, [])) == sorted(whole[step]), step
    assert_agrees(tmp_path / "run", alone / "run")


def test_asked_to_stop_all_save_once_and_one_goes_on(data, alone, tmp_path):
    arguments = command(data, tmp_path, CALM, "--config.checkpoint.every=never")
    # What both have in parts, one goes on with.
    two = start_all([*arguments, "--config.mesh.fsdp=2"], 2)
    signal_at(6, arguments, two, [two[1]], signal.SIGTERM)
    results = ends(two, 60)
    assert [status for status, _, _ in results] == [128 + signal.SIGTERM] * 2, results
    with Checkpoints(tmp_path / "checkpoints", 3) as checkpoints:
        (step,) = checkpoints.steps()
    assert 6 <= step < 30
    for _, _, message in results:
        assert f"stopped by SIGTERM after step {step}, saved" in message
    result = run(arguments, **QUICK)
    assert result.returncode == 0, result.stderr
    assert f"start    step {step}, resumed" in result.stdout
    assert_agrees(tmp_path, alone / "run")
