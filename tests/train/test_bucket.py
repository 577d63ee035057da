"""Runs in a bucket: the same files as in a folder, whatever happens to them."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from bucket import bucket
from etils import epath
from runs import QUICK, ROOT, command, run, run_until, tiny

from wonn_jax import report
from wonn_jax.common.folders import parse_path
from wonn_jax.evaluators.run import run_eval
from wonn_jax.train import lock
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lines import LineFile
from wonn_jax.train.lock import locked
from wonn_jax.train.loop import train

RUN = epath.Path("gs://bucket/all runs/ü")


@pytest.fixture
def root(tmp_path):
    """Where the objects of the bucket are."""
    with bucket(tmp_path / "objects") as made:
        made.root.mkdir()
        yield made.root


@pytest.fixture
def workdir(root) -> Path:
    """Where those of `RUN` are."""
    return root / "bucket" / "all runs" / "ü"


def files(folder: Path) -> dict[str, int]:
    """The files of a run by their names, without the names that depend on the clock."""
    found = [x.relative_to(folder) for x in folder.rglob("*") if x.is_file()]
    return {str(x) for x in found if not {"checkpoints", "best", "tensorboard"} & set(x.parts)}


@pytest.mark.usefixtures("quick_compilation")
def test_a_run_leaves_what_it_leaves_in_a_folder(mazes, finished, workdir, capsys):
    results = train(tiny(mazes), RUN)
    assert files(workdir) == files(finished) - {"eval.json"}
    for name in ("metrics.jsonl", "config.json", "predictions/step_00000003.png"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes() or "config" in name
    (events,) = (workdir / "tensorboard").iterdir()
    (local,) = (finished / "tensorboard").iterdir()
    assert events.stat().st_size == local.stat().st_size
    with Checkpoints(RUN / "checkpoints", 3, writable=False) as saved:
        assert saved.steps() == [2, 4, 6]
    assert train(tiny(mazes), RUN) == pytest.approx(results, nan_ok=True)  # ended already
    assert f"start    step 6, resumed from {RUN}/checkpoints/6" in capsys.readouterr().out
    found = run_eval(tiny(mazes, eval__checkpoint="4", eval__votes=4), RUN)
    assert json.loads((workdir / "eval.json").read_text())["raw"]["loss"] == found["raw"]["loss"]
    assert (workdir / "voting.json").is_file() and (workdir / "voting_ema.png").is_file()
    assert report.main([str(RUN)]) == 0
    assert (workdir / "report.html").stat().st_size > 100_000


@pytest.mark.usefixtures("quick_compilation")
def test_damage_is_survived_and_a_trace_uploaded(mazes, finished, workdir, caplog, capsys):
    train(tiny(mazes), RUN)
    lines = (workdir / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_bytes(b"".join([*lines[:2], b"{\n", *lines[3:]]))
    (workdir / "checkpoints" / "6" / "state" / "manifest.ocdbt").write_bytes(b"")
    (workdir / "checkpoints" / "4" / "commit_success.txt").unlink()  # a save that was cut off
    train(tiny(mazes, profile__start=3, profile__steps=2), RUN)
    assert f"{RUN}/checkpoints/6 is damaged" in caplog.text
    assert f"{RUN}/metrics.jsonl: malformed lines are removed: line 3 (" in caplog.text
    assert f"start    step 2, resumed from {RUN}/checkpoints/2" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == b"".join(lines)
    assert (workdir / "damaged" / "checkpoints-6" / "meta" / "metadata").is_file()
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    with Checkpoints(RUN / "checkpoints", 3, writable=False) as saved:
        assert saved.steps() == [2, 4, 6]


def test_killed_equals_undisturbed(mazes, maze_run, compiled, tmp_path):
    """The lines that no checkpoint needs may be lost with the process, and come again."""
    workdir = tmp_path / "bucket" / "run"
    _, _, module, *flags = command(mazes, "gs://bucket/run")
    start = [sys.executable, str(ROOT / "tests" / "bucket.py"), str(tmp_path), module]
    start += [f"--workdir={workdir}"]  # where the signal is due; the one that follows counts
    start += [*flags, f"--config.devices.compilation_cache={compiled}"]
    # Lines are uploaded with step 12, when step 4 is complete.
    assert run_until(start, 12, PYTHONPATH=str(ROOT), **QUICK) == -signal.SIGKILL
    done = run(start, PYTHONPATH=str(ROOT), **QUICK)
    assert done.returncode == 0, done.stderr
    assert "was training in gs://bucket/run; waiting 2 s" in done.stderr
    assert "resumed from gs://bucket/run/checkpoints/" in done.stdout
    assert (workdir / "metrics.jsonl").read_bytes() == (maze_run / "metrics.jsonl").read_bytes()


def test_lines_are_uploaded_with_a_flush_or_now_and_then(root, monkeypatch):
    path, place = RUN / "metrics.jsonl", root / "bucket" / "all runs" / "ü" / "metrics.jsonl"
    file = LineFile(path, 0)
    for step in (1, 2):
        file.append({"step": step, "kind": "train"})
    assert not place.exists()
    file.flush()
    assert place.read_text().count("\n") == 2
    monkeypatch.setattr("wonn_jax.train.lines._UPLOAD_SECONDS", 0)
    file.append({"step": 3, "kind": "train"})
    assert place.read_text().count("\n") == 3
    LineFile(path, 2).append({"step": 3, "kind": "test"})
    assert [json.loads(x)["kind"] for x in place.read_text().splitlines()] == [
        "train",
        "train",
        "test",
    ]


@pytest.mark.usefixtures("root")
def test_the_lock_of_a_bucket(monkeypatch):
    with locked(RUN):
        with pytest.raises(OSError, match=rf"{RUN} is in use: process \d+ on"), locked(RUN):
            pass
        assert (RUN / lock.NAME).exists()
    assert not RUN.exists()
    with locked(RUN):
        pass


@pytest.mark.usefixtures("root")
def test_checkpoints_alone():
    tree = {"w": np.arange(6.0).reshape(2, 3)}
    with Checkpoints(RUN, keep=2) as saved:
        assert saved.steps() == [] and saved.restore(tree) is None
        for step in (1, 2, 3):
            saved.save(step, tree, {})
        saved.wait()
        assert saved.steps() == [2, 3]
        saved.forget_after(2)
        assert saved.steps() == [2]


class NoNetwork(Exception):
    """Of a client library."""


def test_a_bucket_that_cannot_be_reached(root, monkeypatch, tmp_path):
    def fail(*_) -> None:
        raise NoNetwork("401 Unauthorized\nand more")

    with bucket(root) as made:
        monkeypatch.setattr(made, "exists", fail)
        with pytest.raises(OSError, match=rf"{RUN} cannot be read or written \(NoNetwork: 401 Una"):
            parse_path(RUN)
        monkeypatch.undo()
        monkeypatch.setattr(type(made), "open", fail)
        with pytest.raises(OSError, match=rf"{RUN}/lock.json cannot be read or written"):
            train(tiny(tmp_path), RUN)
