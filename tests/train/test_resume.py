"""A run that was killed and went on equals the run that was not, bit for bit."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from runs import arrays, command, run, run_until, write_mazes

from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.metrics import read_lines


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_mazes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    result = run(command(data, workdir))
    assert result.returncode == 0, result.stderr
    return workdir


def assert_same_run(left: Path, right: Path) -> None:
    ours, theirs = arrays(left), arrays(right)
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], err_msg=name)
    assert (left / "metrics.jsonl").read_bytes() == (right / "metrics.jsonl").read_bytes()


def test_killed_twice_equals_undisturbed(data, undisturbed, tmp_path):
    arguments = command(data, tmp_path)
    assert run_until(arguments, 7) == -signal.SIGKILL
    assert run_until(arguments, 18) == -signal.SIGKILL
    result = run(arguments)
    assert result.returncode == 0, result.stderr
    assert "resumed from" in result.stdout
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_saves_first(data, undisturbed, tmp_path, number):
    arguments = command(data, tmp_path, "--config.checkpoint.every=never")
    assert run_until(arguments, 6, number) == 128 + number
    with Checkpoints(tmp_path / "checkpoints", 3) as checkpoints:
        (step,) = checkpoints.steps()
    assert 6 <= step < 30
    result = run(arguments)
    assert f"start    step {step}, resumed" in result.stdout
    assert_same_run(tmp_path, undisturbed)


def test_another_number_of_devices_and_mesh_goes_on(data, undisturbed, tmp_path):
    """Same examples, same phases: equal to rounding (see test_mesh for how equal one step is)."""
    arguments = command(data, tmp_path)
    assert run_until(arguments, 9) == -signal.SIGKILL
    result = run([*arguments, "--config.devices.cpu_devices=4", "--config.mesh.fsdp=2"])
    assert result.returncode == 0, result.stderr
    assert "4 × cpu, mesh data 2 × fsdp 2" in result.stdout and "resumed from" in result.stdout
    ours, theirs = (read_lines(w / "metrics.jsonl") for w in (tmp_path, undisturbed))
    assert [(x["step"], x["kind"]) for x in ours] == [(x["step"], x["kind"]) for x in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if mine["kind"] == "train":
            np.testing.assert_allclose(mine["loss"], other["loss"], rtol=1e-2)


def _damage(checkpoint: Path, how: str) -> None:
    files = sorted((checkpoint / "state" / "d").iterdir(), key=lambda f: f.stat().st_size)
    if how == "truncated":
        files[-1].write_bytes(files[-1].read_bytes()[:100])
    elif how == "flipped":
        content = bytearray(files[-1].read_bytes())
        for place in range(len(content) // 3, len(content), 101):
            content[place] ^= 0xFF
        files[-1].write_bytes(bytes(content))
    elif how == "gone":
        shutil.rmtree(checkpoint / "state")
    else:
        (checkpoint / "meta" / "metadata").write_text("{")


@pytest.mark.parametrize("how", ["truncated", "flipped", "gone", "meta"])
def test_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    data, undisturbed, tmp_path, how
):
    shutil.copytree(undisturbed, tmp_path / "run")
    _damage(tmp_path / "run" / "checkpoints" / "30", how)
    result = run(command(data, tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    assert "checkpoints/30 is damaged" in result.stderr
    assert "start    step 28, resumed from" in result.stdout
    assert (tmp_path / "run" / "damaged" / "checkpoints-30").is_dir()
    assert_same_run(tmp_path / "run", undisturbed)


def test_half_written_checkpoint_is_reported(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "30").rename(checkpoints / "30.orbax-checkpoint-tmp")
    result = run(command(data, tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    assert "Removing the incomplete checkpoint" in result.stderr
    assert "start    step 28, resumed from" in result.stdout
    assert_same_run(tmp_path / "run", undisturbed)


def test_only_damaged_checkpoints_is_an_error_not_a_fresh_start(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        _damage(checkpoint, "truncated")
    result = run(command(data, tmp_path / "run"))
    assert result.returncode == 2
    assert "All checkpoints in" in result.stderr and "another --workdir" in result.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert lines == (undisturbed / "metrics.jsonl").read_bytes()
