"""Energy voting: the rules by hand, and that batches and devices change nothing."""

import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniatures import Experiment, fresh_variables, miniature, random_batch
from PIL import Image
from runs import QUICK_OPTIONS, command, run

from wonn_jax import solve
from wonn_jax.common.rng import stream_key
from wonn_jax.evaluators.voting import (
    RULES,
    Votes,
    chosen,
    correlation,
    groups,
    make_vote_step,
    read_at,
    summarise,
    table,
)


def test_numbers_of_steps_and_groups():
    assert read_at(1) == (1,)
    assert read_at(25) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 25)
    assert groups(3) == [(0, 1), (1, 1), (2, 1), (0, 2), (0, 3)]
    assert groups(4) == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2), (0, 4)]


def test_the_rules_by_hand():
    # Three examples, four draws, read once; the right draws of the first are the lowest.
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


@pytest.mark.parametrize("task", ["maze", "sudoku", "image"])
def test_votes_are_those_of_single_draws(task, quick_compilation):
    """Energies and answers of each draw are those of the model run on it alone."""
    e = Experiment(miniature(task))
    variables = fresh_variables(e)
    batch = random_batch(e, 4)
    votes = jax.device_get(make_vote_step(e, 3)(variables, batch))
    assert votes.final.shape == (3, 4, 3)  # after 1, 2 and 3 steps; examples; draws

    prepared = e.task.prepare(jax.tree.map(jnp.asarray, batch))
    model = e.alone.model
    apply = jax.jit(
        lambda theta, steps: model.apply(
            variables, prepared["input"], theta, steps=steps, energies=True
        ),
        static_argnums=1,
        compiler_options=QUICK_OPTIONS,
    )
    for draw in range(3):
        (theta,) = e.method.start(prepared, stream_key(0, "evaluation phases", draw))
        for place, steps in enumerate((1, 2, 3)):
            output = apply(theta, steps)
            np.testing.assert_allclose(
                votes.final[place, :, draw], output.layers[-1].energies[-1], rtol=1e-3, atol=2e-3
            )
            total = sum(layer.energies.sum(0) for layer in output.layers)
            np.testing.assert_allclose(votes.total[place, :, draw], total, rtol=1e-3, atol=2e-3)
            right = e.task.verdicts(output.logits.argmax(-1), prepared)["accuracy"]
            np.testing.assert_array_equal(votes.right["accuracy"][place, :, draw], right)


def test_batches_change_nothing():
    e = Experiment(miniature("maze"), devices=jax.devices()[:1])
    variables = fresh_variables(e)
    batch = random_batch(e, 6)
    step = make_vote_step(e, 3)
    whole = step(variables, batch)
    for rows in (2, 3):
        parts = [
            step(variables, {name: x[i : i + rows] for name, x in batch.items()})
            for i in range(0, 6, rows)
        ]
        joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)
        jax.tree.map(np.testing.assert_array_equal, whole, joined)
    # Another number of draws at a time is another program: equal to rounding.
    found = make_vote_step(e, 3, at_once=5)(variables, batch)
    np.testing.assert_allclose(found.final, whole.final, rtol=1e-3, atol=2e-3)


@pytest.fixture(scope="module")
def voted(maze_run, tmp_path_factory):
    """A run that was voted on, on one device and on four, and what both have written."""
    workdir = shutil.copytree(maze_run, tmp_path_factory.mktemp("voted") / "run")
    results = []
    for devices in (1, 4):
        more = [
            "--mode=eval",
            "--config.eval.votes=5",
            "--config.eval.steps=4",
            "--config.eval.stop=prediction",
            "--config.eval.max_steps=6",
            f"--config.devices.cpu_devices={devices}",
            f"--config.eval.batch_size={4 + devices}",
        ]
        found = run(command(maze_run.parent / "data", workdir, *more))
        assert found.returncode == 0, found.stderr
        assert "lowest final energy" in found.stdout
        assert "as many fixed steps" in found.stdout
        adaptive = json.loads((workdir / "eval.json").read_text())["adaptive"]
        assert all(result.pop("seconds")["fixed"] > 0 for result in adaptive.values())
        results.append(((workdir / "voting.json").read_text(), adaptive))
    return workdir, results


def test_one_device_and_four_write_the_same(voted):
    workdir, results = voted
    assert results[0] == results[1]
    assert set(RULES) <= json.loads(results[0][0])["ema"]["accuracy"].keys()
    assert (workdir / "voting_raw.png").stat().st_size > 10_000


def test_solve_reads_the_run(voted, tmp_path, capsys):
    workdir, _ = voted
    puzzle = tmp_path / "maze.txt"
    puzzle.write_text("S..\n.#.\n..G\n")
    pictures = [f"--animate={tmp_path / 'out.gif'}", f"--picture={tmp_path / 'out.png'}"]
    # In a process of its own, as a user does.
    found = run(
        [sys.executable, "-m", "wonn_jax.solve", "maze", str(puzzle)]
        + [f"--workdir={workdir}", "--votes=2", *pictures]
    )
    assert found.returncode in (0, 1), found.stderr
    assert "energy" in found.stdout and "shortest path" in found.stdout
    with Image.open(tmp_path / "out.gif") as movie:
        assert movie.n_frames > 2
    for task, text, flag, message in (
        ("sudoku", "." * 81, "--votes=8", "is a run on maze, not on sudoku"),
        ("maze", "S#G\n", "--votes=8", "has no solution: from the start"),
        ("maze", "S.\n", "--votes=8", "no goal"),
    ):
        puzzle.write_text(text)
        assert solve.main([task, str(puzzle), f"--workdir={workdir}", flag]) == 2
        assert message in capsys.readouterr().err
    # Flags that the parser refuses end there.
    with pytest.raises(SystemExit) as refused:
        solve.main(["maze", str(puzzle), f"--workdir={workdir}", "--votes=0"])
    assert refused.value.code == 2
    assert "--votes: '0' must be an integer of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval__votes": 0}, "config.eval.votes=0 must be at least 1"),
        ({"eval__steps": -1}, "config.eval.steps=-1"),
        ({"eval__at_once": 2}, "has no effect without voting"),
        ({"eval__votes": 4, "model__initial_phase": "zeros"}, "all the same"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        miniature("maze", **fields)


def test_no_correlation_with_energies_that_are_all_the_same():
    right = np.array([[True, False], [False, True]])
    found = correlation(right, np.zeros((2, 2)))
    assert found == {"pooled": None, "within": None, "right_is_lower": 0.5, "mixed": 2}
