"""Adaptive steps: each example stops where its own answers and energies say so, on any mesh."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniatures import Experiment, fresh_variables, miniature, random_batch
from runs import QUICK_OPTIONS

from wonn_jax.common.rng import stream_key
from wonn_jax.evaluators.adaptive import (
    AdaptiveConfig,
    Answers,
    make_adaptive_step,
    summarise,
    table,
)
from wonn_jax.models.base import Stop
from wonn_jax.parallel.mesh import MeshConfig

MAX_STEPS = 12


def steps_taken(change: np.ndarray, tolerance: float, patience: int) -> np.ndarray:
    """Steps after which `change` `[steps - 1, B]` was small `patience` times in a row, or all."""
    still = np.lib.stride_tricks.sliding_window_view(change <= tolerance, patience, axis=0)
    still = still.all(-1)
    return np.where(still.any(0), still.argmax(0) + patience + 1, len(change) + 1)


@pytest.mark.parametrize(
    "task, signal", [("maze", "energy"), ("sudoku", "prediction"), ("image", "prediction")]
)
def test_examples_stop_where_their_record_says(task, signal):
    e = Experiment(miniature(task), devices=jax.devices()[:1])
    variables = fresh_variables(e)
    batch = e.task.prepare(jax.tree.map(jnp.asarray, random_batch(e, 4)))
    (theta,) = e.method.start(batch, stream_key(0, "evaluation phases", 0))
    # The last layer is the one to watch.
    lengths = (3,) * (e.config.model.layers - 1) + (MAX_STEPS,)
    model = e.model.clone(steps=lengths)
    marks = tuple(range(1, MAX_STEPS + 1))

    def run(model=e.model, **more):
        def apply():
            return model.apply(variables, batch["input"], theta, **more)

        return jax.device_get(jax.jit(apply, compiler_options=QUICK_OPTIONS)())

    record = run(model, trajectory=True, energies=True, read_at=marks)
    if signal == "energy":
        energies = np.asarray(record.layers[-1].energies)
        change = np.abs(np.diff(energies, axis=0) / energies[1:])
        tolerance = float(np.median(change))
    else:
        classes = np.asarray(record.read_early.argmax(-1)).reshape(MAX_STEPS, 4, -1)
        change = (np.diff(classes, axis=0) != 0).mean(-1)
        tolerance = float(np.median(change))

    found = run(model, stop=Stop(signal, tolerance=tolerance, patience=2))
    expected = steps_taken(change, tolerance, 2)
    assert expected.min() < MAX_STEPS
    np.testing.assert_array_equal(found.layers[-1].taken, expected)
    at_stop = record.read_early[expected - 1, np.arange(4)]
    np.testing.assert_allclose(found.logits, at_stop, rtol=1e-3, atol=2e-3)
    for layer in found.layers[:-1]:  # these go by their own energies, or do not stop
        assert (layer.taken is None) == (signal == "prediction")
    never = run(stop=Stop(signal, max_steps=3, tolerance=-1.0))
    np.testing.assert_array_equal(never.layers[-1].taken, [3, 3, 3, 3])


@pytest.mark.parametrize("signal", ["energy", "prediction"])
def test_devices_change_nothing(signal, quick_compilation):
    """Split over examples and rows: no device waits for another, and the answers are the same."""
    stop = Stop(signal, MAX_STEPS, tolerance=0.3, patience=1)
    config = miniature("maze", data__height=6, data__width=6, model__step_size=0.3)
    variables = jax.device_get(fresh_variables(Experiment(config)))
    # Larger maps than at the start of training, so that answers change.
    variables = {**variables, "params": jax.tree.map(lambda x: 4 * x, variables["params"])}
    results = []
    for mesh, devices in ((MeshConfig(), 1), (MeshConfig(), 4), (MeshConfig(2, 1, 2), 4)):
        split = dataclasses.replace(config, mesh=mesh)
        e = Experiment(split, devices=jax.devices()[:devices])
        step = make_adaptive_step(e, steps=(3,), stop=stop)
        results.append(jax.device_get(step(variables, random_batch(e, 4))))
    assert len(np.unique(results[0].taken)) > 1
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


def test_the_summary_by_hand():
    def found(right, taken):
        return Answers({"accuracy": np.array(right, bool)}, np.array(taken))

    fixed = found([1, 1, 0, 0], [[10], [10], [10], [10]])
    adaptive = found([1, 0, 1, 1], [[2], [4], [6], [12]])
    same = found([1, 0, 0, 0], [[6]] * 4)
    result = summarise(fixed, adaptive, same, [12])
    assert result["mean steps"] == 6 and result["steps saved"] == pytest.approx(0.4)
    assert result["at the limit"] == 0.25 and result["quantiles"]["50 %"] == 5
    scores = result["metrics"]["accuracy"]
    assert (scores["fixed"], scores["adaptive"], scores["difference"]) == (0.5, 0.75, 0.25)
    assert scores["as many fixed steps"] == 0.25
    assert scores["standard error"] == pytest.approx(np.std([0, -1, 1, 1], ddof=1) / 2)
    text = table(
        json.loads(json.dumps(result)),
        dict.fromkeys(("fixed", "adaptive", "as many fixed steps"), 1.0),
    )
    assert "40.0 % of the steps saved" in text


def test_settings_become_a_criterion():
    config = miniature("maze", eval__stop="energy", eval__max_steps=40, eval__patience=3)
    (adaptive,) = [e for e in config.eval.evaluators if isinstance(e, AdaptiveConfig)]
    assert adaptive.active and adaptive.criterion() == Stop("energy", 40, 1e-3, 3)
    without = dataclasses.replace(adaptive, max_steps=0)
    assert without.criterion().max_steps is None  # as many as without stopping
    assert not AdaptiveConfig().active


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval__stop": "later"}, "config.eval.stop='later' is unknown"),
        (
            {"eval__stop": "energy", "eval__patience": 0},
            "config.eval.patience=0 must be at least 1",
        ),
        (
            {"eval__stop": "energy", "eval__tolerance": -1.0},
            "config.eval.tolerance=-1.0 must be at least 0",
        ),
        ({"eval__max_steps": 8}, "config.eval.max_steps=8 has no effect where nothing stops"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        miniature("maze", **fields)


def test_an_unknown_signal():
    with pytest.raises(ValueError, match="signal='phase' is unknown"):
        Stop("phase").of_layer(True, 3, lambda theta: theta)
