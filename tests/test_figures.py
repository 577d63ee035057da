"""Figures from a run: that they are drawn, and that bad input is said."""

import sys

import numpy as np
from PIL import Image
from runs import command, run, write_mazes

from experiments.figures import over_time
from wonn_jax.solve import Answer


def test_a_maze_over_time_from_a_run(tmp_path):
    workdir, picture = tmp_path / "run", tmp_path / "maze.png"
    run(command(write_mazes(tmp_path), workdir)).check_returncode()
    script = [sys.executable, "-m", "experiments.figures.over_time"]
    found = run([*script, "maze", str(workdir), str(picture), "--board=1"])
    assert found.returncode == 0, found.stderr
    assert np.asarray(Image.open(picture)).std() > 10
    for more, message in (
        (["maze", str(workdir), "--board=99"], "--board=99 must be from 0 to 15"),
        (["sudoku", str(workdir)], "is a run on maze"),
        (["maze", str(tmp_path)], "holds no run"),
    ):
        found = run([*script, *more[:2], str(picture), *more[2:]])
        assert found.returncode == 2 and message in found.stderr, found.stderr


def test_a_sudoku_over_time(tmp_path):
    rng = np.random.default_rng(0)
    chances = rng.random((5, 9, 9, 9))
    found = Answer(chances[-1].argmax(-1), chances, np.arange(5.0), np.zeros(1))
    given, target = rng.integers(0, 10, (9, 9)), rng.integers(0, 9, (9, 9))
    over_time.draw(tmp_path / "out.png", "sudoku", given, target, found, "a title")
    assert np.asarray(Image.open(tmp_path / "out.png")).std() > 10
