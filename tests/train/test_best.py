"""The best state: what is compared with what, and that none is lost."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from miniatures import miniature
from runs import tiny

from wonn_jax.evaluators import Accuracy
from wonn_jax.tasks import Task
from wonn_jax.train.best import Best
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train


class Folder:
    """Evaluations of a state of one number after some steps, each in a run that was resumed."""

    def __init__(self, path: Path):
        self.path = path
        self.note = ""

    def evaluate(self, step: int, value: float | None, **changes) -> None:
        """One evaluation; without a value, the run ends before."""
        changes = {"checkpoint__best": "ema_accuracy"} | changes
        config = miniature("maze", **changes)
        task: Task = config.task.build(config.data, config.augment)
        metrics = self.path / "metrics.jsonl"
        with Checkpoints(self.path / "best", 1) as saved:
            best = Best(config, task, "data", saved, metrics)
            self.note = best.note
            if value is None:
                return
            results = {changes["checkpoint__best"]: value}
            best.offer(step, results, {"x": np.full(3, step)})
        with metrics.open("a") as file:
            values = {name: None if math.isnan(x) else x for name, x in results.items()}
            file.write(json.dumps({"step": step, "kind": "test"} | values) + "\n")

    def states(self, folder: str = "best") -> list[int]:
        """What the states kept in a folder hold."""
        if not (self.path / folder).exists():
            return []
        with Checkpoints(self.path / folder, 9, writable=False) as saved:
            like = {"x": np.zeros(3, int)}
            return [int(saved.restore_step(step, like).state["x"][0]) for step in saved.steps()]


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def test_the_highest_is_kept(folder):
    kept = []
    for step, value in enumerate((math.nan, 0.2, 0.5, 0.5, math.nan, 0.4, 0.6), 1):
        folder.evaluate(step, value)
        kept += folder.states()
        assert folder.note == ""
    assert kept == [2, 3, 3, 3, 3, 7]
    assert folder.states("earlier_best") == []


def test_of_losses_the_lowest_is_kept(folder):
    for step, value in enumerate((0.5, 0.6, 0.4, 0.45), 1):
        folder.evaluate(step, value, checkpoint__best="raw_loss")
    assert folder.states() == [3]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"checkpoint__best": "raw_accuracy"}, "checkpoint.best: 'ema_accuracy' there, 'raw_accu"),
        ({"eval__examples": 5}, "eval.examples: 0 there, 5 now"),
        ({"eval__draws": 3}, "eval.draws: 1 there, 3 now"),
        ({"eval__steps": 9}, "eval.steps: 0 there, 9 now"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_values_measured_in_another_way_are_not_compared(folder, changes, what):
    folder.evaluate(1, 0.9)
    folder.evaluate(2, None, **changes)
    assert f"best/1 is not compared with ({what}" in folder.note
    folder.evaluate(2, math.nan, **changes)
    assert folder.states() == [1]  # until there is a new one
    folder.evaluate(3, 0.1, **changes)
    assert folder.states() == [3] and folder.states("earlier_best") == [1]
    folder.evaluate(4, 0.05, **changes)
    assert folder.note == "" and folder.states() == [3]
    folder.evaluate(5, 0.2, **changes)
    assert folder.states() == [5] and folder.states("earlier_best") == [1]


def test_what_does_not_change_the_values(folder):
    folder.evaluate(1, 0.9)
    changes = {"eval__batch_size": 3, "eval__votes": 4, "eval__every": "3 steps", "mesh__grid": 1}
    folder.evaluate(2, 0.8, **changes, checkpoint__keep=5)
    assert folder.note == "" and folder.states() == [1]


def test_a_value_that_was_not_written(folder):
    """Another evaluator, or a file that is gone: the state is kept aside."""
    folder.evaluate(1, 0.9)
    (folder.path / "metrics.jsonl").unlink()
    folder.evaluate(2, 0.5)
    assert "(metrics.jsonl has no ema_accuracy of this step); it moves to earlier" in folder.note
    assert folder.states() == [2] and folder.states("earlier_best") == [1]


def test_a_state_that_was_saved_before_its_value_was_written(folder):
    """The run was killed between the two; the same evaluation comes again."""
    folder.evaluate(1, 0.9)
    (folder.path / "metrics.jsonl").unlink()
    folder.evaluate(1, 0.9)
    folder.evaluate(2, 0.8)
    assert folder.states() == [1] and folder.states("earlier_best") == []


def test_a_damaged_state_is_kept_aside(folder):
    folder.evaluate(1, 0.9)
    (folder.path / "best" / "1" / "meta" / "metadata").write_text("{")
    folder.evaluate(2, 0.5)
    assert "best/1 is damaged" in folder.note
    assert folder.states() == [2]
    assert [p.name for p in (folder.path / "earlier_best").iterdir()] == ["1"]


# --- In the loop ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_compilation")
def test_a_metric_that_earlier_evaluations_did_not_have(mazes, finished, tmp_path, capsys):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (before,) = [p.name for p in (workdir / "best").iterdir()]
    config = tiny(
        mazes,
        train__length="7 steps",
        eval__draws=2,
        checkpoint__best="raw_ensemble_accuracy",
        eval__pictures=0,
    )
    train(config, workdir)
    assert f"note     best/{before} is not compared with (checkpoint.best: " in (
        capsys.readouterr().out
    )
    assert "raw_ensemble_accuracy" in read_lines(workdir / "metrics.jsonl")[-1]
    assert [p.name for p in (workdir / "best").iterdir()] == ["7"]
    assert [p.name for p in (workdir / "earlier_best").iterdir()] == [before]


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("place", [(Accuracy, "evaluate"), (Best, "offer")], ids=lambda x: x[1])
def test_a_failing_evaluation_costs_neither_the_state_nor_the_results(
    mazes, finished, tmp_path, monkeypatch, place
):
    """After steps 3 and 6, of which 6 is saved; what fails, comes again."""
    cls, name = place
    works, calls = getattr(cls, name), []

    def fails_at_six(self, *args):
        calls.append(args)
        if len(calls) > (2 if cls is Accuracy else 1):  # of raw and of EMA weights
            raise RuntimeError("out of memory")
        return works(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(cls, name, fails_at_six)
        with pytest.raises(RuntimeError, match="out of memory"):
            train(tiny(mazes), tmp_path)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"2", "4", "6"}
    assert [x["step"] for x in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 3, 4, 5, 6]
    train(tiny(mazes), tmp_path)
    lines, theirs = ((w / "metrics.jsonl").read_bytes() for w in (tmp_path, finished))
    assert lines == theirs
    best, theirs = ([p.name for p in (w / "best").iterdir()] for w in (tmp_path, finished))
    assert best == theirs
