"""What a run writes down, and what a person reads."""

import errno
import os

import pytest
from etils import epath

from experiments.faults.runs import scalars
from wonn_jax.train.lines import read_lines
from wonn_jax.train.metrics import MetricWriter, scaled
from wonn_jax.train.scalars import SummaryWriter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 flop"),
        (999, "999 flop"),
        (999.6, "1 kflop"),
        (41_234_567, "41.2 Mflop"),
        (989e12, "989 Tflop"),
        (4e15, "4 Pflop"),
        (4e18, "4 Eflop"),
    ],
)
def test_scaled(value, text):
    assert scaled(value, "flop") == text


def test_a_line_is_written_after_the_scalars_of_its_step(tmp_path, monkeypatch):
    """An evaluation whose line is there is not repeated, so a kill before it must lose nothing."""

    def killed(self):
        raise KeyboardInterrupt

    writer = MetricWriter(epath.Path(tmp_path), 0, tensorboard=True, active=True)
    monkeypatch.setattr(SummaryWriter, "flush", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.write(4, "test", {"loss": 0.5})
    lines = tmp_path / "metrics.jsonl"
    assert not lines.exists() or not lines.read_bytes()


def test_the_time_of_an_evaluation_that_is_repeated_is_written_once(tmp_path):
    """A kill between both files leaves the time, and the evaluation is repeated."""
    for step, metrics in ((4, True), (8, False)):
        writer = MetricWriter(epath.Path(tmp_path), step, tensorboard=False, active=True)
        writer.time(step, "train", {"compile_seconds": 1.0})
        writer.time(step, "test", {"seconds": 1.0})
        if metrics:
            writer.write(step, "test", {"loss": 0.5})
        writer.close()
    MetricWriter(epath.Path(tmp_path), 8, tensorboard=False, active=True).close()
    lines = read_lines(tmp_path / "timing.jsonl")
    assert [(x["step"], x["kind"]) for x in lines] == [(4, "train"), (4, "test"), (8, "train")]


def test_scalars_of_the_step_that_a_run_resumes_from_are_shown_once(tmp_path):
    """A kill between scalars and line of an evaluation, after the checkpoint of the same step."""
    writer = MetricWriter(epath.Path(tmp_path), 0, tensorboard=True, active=True)
    writer.write(4, "train", {"loss": 0.75})
    writer.write(4, "test", {"loss": 0.5})
    writer.close()
    text = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text(text[0])
    writer = MetricWriter(epath.Path(tmp_path), 4, tensorboard=True, active=True)
    writer.write(4, "test", {"loss": 0.5})
    writer.close()
    shown = scalars(tmp_path / "tensorboard")
    assert shown == {"train/loss": [(4, 0.75)], "test/loss": [(4, 0.5)]}


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    """TensorBoard's files are often the first that find no room."""

    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = MetricWriter(epath.Path(tmp_path), 0, tensorboard=True, active=True)
    monkeypatch.setattr(SummaryWriter, "flush", full)
    with pytest.raises(OSError, match="No space left") as error:
        writer.write(4, "test", {"loss": 0.5})
    assert error.value.filename == str(tmp_path / "tensorboard")
