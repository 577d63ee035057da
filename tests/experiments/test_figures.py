"""Figures of runs: what they compute, that they are drawn, and messages about bad input."""

import shutil

import numpy as np
import pytest
from cards import card
from PIL import Image

from experiments.figures import (
    group_evolution,
    order_parameter,
    over_time,
    phase_distribution,
    phase_groups,
    training_energy,
)
from wonn_jax.dynamics import order_parameter as order
from wonn_jax.tools.puzzles import PUZZLES

FIGURES = (
    (phase_distribution, ["--examples=2"]),
    (phase_groups, ["--first=3", "--examples=2", "--use=raw"]),
    (group_evolution, ["--example=1"]),
    (order_parameter, ["--example=2", "--examples=12", "--steps=5"]),
    (over_time, ["--example=1", "--steps=4"]),
    (training_energy, []),
)


def drawn(path) -> bool:
    """Whether a picture is not blank: many shades, far apart."""
    pixels = np.asarray(Image.open(path).convert("L"))
    return pixels.std() > 10 and len(np.unique(pixels)) > 20


@pytest.mark.parametrize("figure, more", FIGURES, ids=[f.__name__[20:] for f, _ in FIGURES])
def test_figures_of_a_run(maze_run, tmp_path, figure, more, capsys):
    target = tmp_path / "new folder" / "out.png"
    movie = tmp_path / "out.gif"
    if figure in (group_evolution, over_time):
        more = [*more, f"--animate={movie}"]
    assert figure.main([str(maze_run), str(target), *more]) == 0, capsys.readouterr().err
    assert drawn(target)
    if figure in (group_evolution, over_time):
        with Image.open(movie) as frames:
            assert frames.n_frames > 2


def test_bad_input(maze_run, tmp_path, capsys):
    out = str(tmp_path / "out.png")
    old = tmp_path / "old"
    old.mkdir()
    for line in (tmp_path / "empty.txt", old / "metrics.jsonl"):
        line.write_text("")
    shutil.copy(maze_run / "config.json", old)
    image = tmp_path / "image"
    image.mkdir()
    (image / "config.json").write_text(card("cifar10", "resnet18").to_json())
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("[]")
    for figure, run, more, message in (
        (over_time, maze_run, ["--example=16"], "Example 16 does not exist; they go from 0 to 15"),
        (phase_groups, maze_run, ["--examples=0"], "--examples=0 must be at least 1"),
        (order_parameter, maze_run, ["--examples=1"], "--examples=1 must be at least 2"),
        (over_time, maze_run, ["--steps=-1"], "--steps=-1 must not be negative"),
        (over_time, maze_run, ["--checkpoint=7777"], "7777"),
        (over_time, tmp_path, [], "holds no run"),
        (phase_groups, old, [], "There is no checkpoint"),
        (training_energy, old, [], "no evaluation yet"),
        (training_energy, tmp_path, [], "holds no run"),
        (phase_groups, image, [], "which has no oscillators"),
        (phase_groups, damaged, [], "config.json is damaged (a list"),
        (phase_groups, maze_run, ["--checkpoint=besst"], "must be last, best or a step"),
    ):
        assert figure.main([str(run), out, *more]) == 2, (figure, more)
        assert message in capsys.readouterr().err
    (old / "metrics.jsonl").write_text('{"kind": "test", "step": 1, "raw_accuracy": 0.0}\n')
    assert training_energy.main([str(old), out]) == 2
    assert "has no energies" in capsys.readouterr().err
    (old / "metrics.jsonl").write_text('{"kind": "test", "step": 1, "raw_energy": 0.0}\n')
    assert training_energy.main([str(old), out]) == 2
    assert "lacks the field 'raw_accuracy'" in capsys.readouterr().err


def test_a_sudoku_over_time(tmp_path):
    rng = np.random.default_rng(0)
    chances = rng.random((5, 9, 9, 9))
    given, target = rng.integers(0, 10, (9, 9)), rng.integers(0, 9, (9, 9))
    picture = tmp_path / "out.png"
    over_time.draw_steps(
        picture, PUZZLES["sudoku"], given, target, chances, np.arange(5.0), "a title"
    )
    assert drawn(picture)


def test_orders_are_those_of_the_library():
    theta = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    whole, each = order_parameter.orders(theta)
    np.testing.assert_allclose(whole, np.abs(order(theta, (2, 3, 4))), rtol=1e-5)
    np.testing.assert_allclose(each, np.abs(order(theta, (2, 3))).mean(-1), rtol=1e-5)
