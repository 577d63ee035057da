"""A run that was killed and went on equals the run that was not, bit for bit."""

import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from runs import QUICK, arrays, command, run, run_until, tiny

from wonn_jax.tools.network import config_of_run
from wonn_jax.tools.runs import read_run
from wonn_jax.train.card import Config
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import Interrupted, train
from wonn_jax.train.metrics import MetricWriter


def assert_same_run(left: Path, right: Path, config: Config | None = None, step: int = 30) -> None:
    ours, theirs = (arrays(workdir, config, step) for workdir in (left, right))
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], err_msg=name)
    assert (left / "metrics.jsonl").read_bytes() == (right / "metrics.jsonl").read_bytes()


# --- Processes that are killed ----------------------------------------------------------------


@pytest.fixture(scope="module")
def arguments(mazes, compiled):
    """The command line of a run in a folder."""

    def of(workdir: Path, *more: str) -> list[str]:
        cache = f"--config.devices.compilation_cache={compiled}"
        return command(mazes, workdir, cache, *more)

    return of


def finish(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    result = run(arguments, **QUICK)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    finish(arguments(workdir))
    return workdir


@pytest.fixture(scope="module")
def killed(arguments, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("killed")
    # Step 8 is saved when step 4 is on disk.
    assert run_until(arguments(workdir), 9, **QUICK) == -signal.SIGKILL
    return workdir


def test_killed_twice_equals_undisturbed(arguments, killed, undisturbed, tmp_path):
    workdir = shutil.copytree(killed, tmp_path / "run")
    assert run_until(arguments(workdir), 18, **QUICK) == -signal.SIGKILL
    assert "resumed from" in finish(arguments(workdir)).stdout
    assert_same_run(workdir, undisturbed)


def test_asked_to_stop_saves_first(arguments, tmp_path):
    """How it goes on is tested below."""
    never = arguments(tmp_path, "--config.checkpoint.every=never")
    assert run_until(never, 6, signal.SIGTERM, **QUICK) == 128 + signal.SIGTERM
    with Checkpoints(tmp_path / "checkpoints", 3, writable=False) as checkpoints:
        (step,) = checkpoints.steps()
    assert 6 <= step < 30


def test_another_number_of_devices_and_mesh_goes_on(arguments, killed, undisturbed, tmp_path):
    """Same examples, same phases: equal to rounding (see test_mesh for how equal one step is)."""
    workdir = shutil.copytree(killed, tmp_path / "run")
    split = ["--config.devices.cpu_devices=4", "--config.mesh.fsdp=2"]
    text = finish(arguments(workdir, *split)).stdout
    assert "4 × cpu, mesh data 2 × fsdp 2" in text and "resumed from" in text
    ours, theirs = (read_lines(w / "metrics.jsonl") for w in (workdir, undisturbed))
    assert [(x["step"], x["kind"]) for x in ours] == [(x["step"], x["kind"]) for x in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if mine["kind"] == "train":
            np.testing.assert_allclose(mine["loss"], other["loss"], rtol=1e-2)


# --- In this process --------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_after_the_step(mazes, finished, tmp_path, monkeypatch, number):
    write = MetricWriter.write

    def write_and_interrupt(self, step, kind, values):
        write(self, step, kind, values)
        if step == 2:
            signal.raise_signal(number)

    config = tiny(mazes, checkpoint__every="never")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", write_and_interrupt)
        with pytest.raises(Interrupted, match=f"stopped by {number.name} after step 3") as caught:
            train(config, tmp_path)
    assert caught.value.number == number and signal.getsignal(number) == before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["3"]
    train(config, tmp_path)
    assert_same_run(tmp_path, finished, config, 6)


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


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("how", ["truncated", "flipped", "gone", "meta"])
def test_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    mazes, finished, tmp_path, how, caplog, capsys
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    _damage(workdir / "checkpoints" / "6", how)
    train(tiny(mazes), workdir)
    assert "checkpoints/6 is damaged" in caplog.text
    assert "start    step 4, resumed from" in capsys.readouterr().out
    assert (workdir / "damaged" / "checkpoints-6").is_dir()
    assert_same_run(workdir, finished, tiny(mazes), 6)


@pytest.mark.usefixtures("quick_compilation")
def test_half_written_checkpoint_is_reported(mazes, finished, tmp_path, caplog, capsys):
    workdir = shutil.copytree(finished, tmp_path / "run")
    checkpoints = workdir / "checkpoints"
    (checkpoints / "6").rename(checkpoints / "6.orbax-checkpoint-tmp")
    train(tiny(mazes), workdir)
    assert "Removing the incomplete checkpoint" in caplog.text
    assert "start    step 4, resumed from" in capsys.readouterr().out
    assert_same_run(workdir, finished, tiny(mazes), 6)


@pytest.mark.usefixtures("quick_compilation")
def test_a_torn_line_of_metrics_goes_alone(mazes, finished, tmp_path, caplog):
    workdir = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "6")
    lines = (workdir / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    torn = [*lines[:2], lines[2][:30] + b"\n", *lines[3:]]
    (workdir / "metrics.jsonl").write_bytes(b"".join(torn))
    (workdir / "timing.jsonl").write_bytes(b"\0" * 100)
    train(tiny(mazes), workdir)
    assert f"{workdir}/metrics.jsonl: malformed lines are removed: line 3 (" in caplog.text
    assert f"{workdir}/timing.jsonl: malformed lines are removed: line 1 (NUL" in caplog.text
    assert len(lines) == 8 and len(caplog.text.splitlines()) == 2
    assert (workdir / "metrics.jsonl").read_bytes() == b"".join(lines[:2] + lines[3:])


@pytest.mark.usefixtures("quick_compilation")
def test_a_damaged_config_is_named_and_can_be_deleted(mazes, finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    written = workdir / "config.json"
    before = written.read_bytes()
    for damaged in (b"", b"\0" * 100, before[:99], b"\xff", b"{}", b'{"task": "maze"}', b"[]"):
        written.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"config\.json is damaged .* or delete it"):
            train(tiny(mazes), workdir)
        for read in (config_of_run, read_run):
            with pytest.raises(ValueError, match=r"config\.json is damaged .* or delete it"):
                read(workdir)
    written.unlink()
    train(tiny(mazes), workdir)
    assert written.read_bytes() == before


def test_only_damaged_checkpoints_is_an_error_not_a_fresh_start(mazes, finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    for checkpoint in (workdir / "checkpoints").iterdir():
        _damage(checkpoint, "truncated")
    with pytest.raises(ValueError, match="All checkpoints in .* another --workdir"):
        train(tiny(mazes), workdir)
    lines = (workdir / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()
