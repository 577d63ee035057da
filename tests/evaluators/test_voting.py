"""Energy voting: the rules by hand, and that batches and devices change nothing."""

import dataclasses
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import command, run

from wonn_jax.config import default_config, freeze
from wonn_jax.evaluators.voting import (
    RULES,
    Votes,
    chosen,
    correlation,
    groups,
    make_vote_step,
    readings,
    summarise,
    table,
)
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.step import init_variables


def test_readings_and_groups():
    assert readings(1) == (1,)
    assert readings(25) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 25)
    assert groups(3) == [(0, 1), (1, 1), (2, 1), (0, 2), (0, 3)]
    assert groups(4) == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (0, 4)]


def test_the_rules_by_hand():
    # Three examples, four draws, one reading; the right draws of the first are the lowest.
    right = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], bool)
    final = np.array([[-4, -1, -3, -2], [-9, -1, -2, -3], [0, 0, 0, 0]], float)
    majority = np.zeros((1, 3, len(groups(4))), bool)
    majority[0, 2] = True
    votes = Votes(final[None], -final[None], {"accuracy": right[None]}, {"accuracy": majority})
    found = summarise(votes, (7,))
    assert found["lowest final energy"] == pytest.approx(2 / 3)
    assert found["lowest energy sum"] == pytest.approx(1 / 3)
    assert found["majority of each cell"] == pytest.approx(1 / 3)
    assert found["any draw (oracle)"] == 1
    assert found["single draw"] == pytest.approx(7 / 12)
    assert found["gain"] == pytest.approx(2 / 3 - 7 / 12)
    pairs = found["by_draws"][1]  # blocks of two draws: (0, 1) and (2, 3)
    assert pairs["lowest final energy"] == pytest.approx(np.mean([1, 0, 1, 1, 1, 1]))
    within = found["correlation"]["final energy"]
    # All four pairs of the first example are right; one of three of the second.
    assert within["right_is_lower"] == pytest.approx((1 + 2 / 3) / 2)
    assert within["mixed"] == 2
    assert "by_steps" in json.loads(json.dumps(found)) and "66.67 %" in table(found)


def test_nothing_to_correlate():
    found = correlation(np.ones((2, 3), bool), np.zeros((2, 3)))
    assert found == {"pooled": None, "within": None, "right_is_lower": None, "mixed": 0}
    assert chosen(np.array([[False, True]]), np.array([[1.0, 1.0]])).tolist() == [0.0]


def small(task: str, **evaluation):
    config = default_config()
    config.task = task
    config.model.width, config.model.heads, config.model.steps = 8, 2, (3,)
    config.eval.update(votes=3, batch_size=4, **evaluation)
    if task == "image":
        config.data.image_size, config.model.layers, config.model.group = 4, 2, 2
    else:
        config.data.height = config.data.width = 9 if task == "sudoku" else 5
    return freeze(config)


def batch_of(experiment: Experiment, rows: int):
    """Random examples."""
    shapes = experiment.task.abstract_batch(experiment.config, rows)
    rng = np.random.default_rng(0)
    arrays = {n: rng.integers(0, 4, x.shape).astype(x.dtype) for n, x in shapes.items()}
    if "valid" in arrays:
        arrays["valid"] = np.ones_like(arrays["valid"])
    return {**arrays, "id": np.arange(rows, dtype=np.int32)}


@pytest.mark.parametrize("task", ["maze", "sudoku", "image"])
def test_votes_are_those_of_single_draws(task):
    """Energies and answers of each draw are those of the model run on it alone."""
    config = small(task)
    e = Experiment(config)
    variables = init_variables(e.model, e.task, e.config)
    batch = batch_of(e, 4)
    votes = jax.device_get(make_vote_step(e.model, e.task, e.config, e.mesh)(variables, batch))
    assert votes.final.shape == (3, 4, 3)  # after 1, 2 and 3 steps; examples; draws

    from wonn_jax.rng import stream_key
    from wonn_jax.train.step import batch_phases

    prepared = e.task.prepare({name: jnp.asarray(x) for name, x in batch.items()})
    for draw in range(3):
        key = stream_key(config.seed, "evaluation phases", draw)
        theta = batch_phases(e.model, prepared, key, config)
        for reading, steps in enumerate((1, 2, 3)):
            output = e.model.apply(variables, prepared["input"], theta, steps=steps, energies=True)
            np.testing.assert_allclose(
                votes.final[reading, :, draw], output.layers[-1].energies[-1], rtol=1e-3, atol=2e-3
            )
            total = sum(layer.energies.sum(0) for layer in output.layers)
            np.testing.assert_allclose(votes.total[reading, :, draw], total, rtol=1e-3, atol=2e-3)
            right = e.task.verdicts(output.logits.argmax(-1), prepared)["accuracy"]
            np.testing.assert_array_equal(votes.right["accuracy"][reading, :, draw], right)


def test_batches_change_nothing():
    config = small("maze")
    e = Experiment(config, devices=jax.devices()[:1])
    variables = init_variables(e.model, e.task, config)
    batch = batch_of(e, 6)
    whole = make_vote_step(e.model, e.task, config, e.mesh)(variables, batch)
    for rows in (2, 3):
        parts = [
            make_vote_step(e.model, e.task, config, e.mesh)(
                variables, {name: x[i : i + rows] for name, x in batch.items()}
            )
            for i in range(0, 6, rows)
        ]
        joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)
        jax.tree.map(np.testing.assert_array_equal, whole, joined)
    # Another number of draws at a time is another program: equal to rounding.
    other = dataclasses.replace(config, eval=dataclasses.replace(config.eval, at_once=5))
    found = make_vote_step(e.model, e.task, other, e.mesh)(variables, batch)
    np.testing.assert_allclose(found.final, whole.final, rtol=1e-3, atol=2e-3)


def test_one_device_and_four_write_the_same_and_solve_reads_the_run(maze_run, tmp_path):
    workdir = shutil.copytree(maze_run, tmp_path / "run")
    data = maze_run.parent / "data"
    results = []
    for devices in (1, 4, 1):
        more = [
            "--mode=eval",
            "--config.eval.votes=5",
            "--config.eval.steps=4",
            "--config.eval.stop=prediction",
            "--config.eval.limit=6",
            f"--config.devices.cpu_devices={devices}",
            f"--config.eval.batch_size={4 + devices}",
        ]
        found = run(command(data, workdir, *more))
        assert found.returncode == 0, found.stderr
        assert "lowest final energy" in found.stdout
        assert "as many fixed steps" in found.stdout
        adaptive = json.loads((workdir / "eval.json").read_text())["adaptive"]
        assert all(result.pop("seconds")["fixed"] > 0 for result in adaptive.values())
        results.append(((workdir / "voting.json").read_text(), adaptive))
    assert results[0] == results[1] == results[2]
    assert set(RULES) <= json.loads(results[0][0])["ema"]["accuracy"].keys()
    assert (workdir / "voting_raw.png").stat().st_size > 10_000

    puzzle = tmp_path / "maze.txt"
    puzzle.write_text("S..\n.#.\n..G\n")
    solve = [sys.executable, "-m", "wonn_jax.solve"]
    pictures = [f"--animate={tmp_path / 'out.gif'}", f"--picture={tmp_path / 'out.png'}"]
    found = run([*solve, "maze", str(puzzle), f"--workdir={workdir}", "--votes=2", *pictures])
    assert found.returncode in (0, 1), found.stderr
    assert "energy" in found.stdout and "shortest path" in found.stdout
    from PIL import Image

    with Image.open(tmp_path / "out.gif") as movie:
        assert movie.n_frames > 2
    for task, text, message in (
        ("sudoku", "." * 81, "is a run on maze, not on sudoku"),
        ("maze", "S#G\n", "has no solution: from the start"),
        ("maze", "S.\n", "no goal"),
    ):
        puzzle.write_text(text)
        found = run(
            [sys.executable, "-m", "wonn_jax.solve", task, str(puzzle), f"--workdir={workdir}"]
        )
        assert found.returncode == 2 and message in found.stderr, found.stderr
        assert "Traceback" not in found.stderr
    found = run([*solve, "maze", str(puzzle), "--votes=0"])
    assert found.returncode == 2 and "--votes=0 must be at least 1" in found.stderr


def test_bad_settings():
    for field, value, message in (
        ("votes", 0, "config.eval.votes=0 must be at least 1"),
        ("steps", -1, "config.eval.steps=-1"),
        ("at_once", 2, "has no effect without voting"),
    ):
        config = default_config()
        config.eval[field] = value
        with pytest.raises(ValueError, match=message):
            freeze(config)
    config = default_config()
    config.eval.votes, config.model.initial_phase = 4, "zeros"
    with pytest.raises(ValueError, match="all the same"):
        freeze(config)
