"""Adaptive steps: each example stops where its own answers and energies say so, on any mesh."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_voting import batch_of, small

from wonn_jax.config import default_config, freeze
from wonn_jax.dist.mesh import MeshConfig
from wonn_jax.evaluators.adaptive import Found, make_step, stop_of, summarise, table
from wonn_jax.models.base import Stop
from wonn_jax.rng import stream_key
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.step import batch_phases, init_variables

LIMIT = 12


def first_quiet(change: np.ndarray, tolerance: float, patience: int) -> np.ndarray:
    """Steps until `change` `[steps - 1, B]` is small so often in a row, or all."""
    still = np.lib.stride_tricks.sliding_window_view(change <= tolerance, patience, axis=0)
    still = still.all(-1)
    return np.where(still.any(0), still.argmax(0) + patience + 1, len(change) + 1)


@pytest.mark.parametrize(
    "task, signal", [("maze", "energy"), ("sudoku", "prediction"), ("image", "prediction")]
)
def test_examples_stop_where_their_record_says(task, signal):
    e = Experiment(small(task), devices=jax.devices()[:1])
    variables = init_variables(e.model, e.task, e.config)
    batch = e.task.prepare({n: jnp.asarray(x) for n, x in batch_of(e, 4).items()})
    theta = batch_phases(e.model, batch, stream_key(0, "evaluation phases", 0), e.config)
    lengths = (3,) * (e.config.model.layers - 1) + (LIMIT,)  # the last layer is the one to watch
    model = e.model.clone(steps=lengths)
    marks = tuple(range(1, LIMIT + 1))

    def run(model=e.model, **more):
        program = jax.jit(lambda: model.apply(variables, batch["input"], theta, **more))
        return jax.device_get(program())

    record = run(model, trajectory=True, energies=True, readings=marks)
    if signal == "energy":
        energies = np.asarray(record.layers[-1].energies)
        change = np.abs(np.diff(energies, axis=0) / energies[1:])
        tolerance = float(np.median(change))
    else:
        classes = np.asarray(record.readings.argmax(-1)).reshape(LIMIT, 4, -1)
        change = (np.diff(classes, axis=0) != 0).mean(-1)
        tolerance = float(np.median(change))

    found = run(model, stop=Stop(signal, tolerance=tolerance, patience=2))
    expected = first_quiet(change, tolerance, 2)
    assert expected.min() < LIMIT
    np.testing.assert_array_equal(found.layers[-1].taken, expected)
    at_stop = record.readings[expected - 1, np.arange(4)]
    np.testing.assert_allclose(found.logits, at_stop, rtol=1e-3, atol=2e-3)
    for layer in found.layers[:-1]:  # these go by their own energies, or do not stop
        assert (layer.taken is None) == (signal == "prediction")
    never = run(stop=Stop(signal, limit=3, tolerance=-1.0))
    np.testing.assert_array_equal(never.layers[-1].taken, [3, 3, 3, 3])


@pytest.mark.parametrize("signal, tolerance", [("energy", 0.3), ("prediction", 0.3)])
def test_devices_change_nothing(signal, tolerance):
    """Split over examples and rows: no device waits for another, and the answers are the same."""
    config = small("maze", stop=signal, tolerance=tolerance, limit=LIMIT, patience=1)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, height=6, width=6),
        model=dataclasses.replace(config.model, step_size=0.3),
    )
    results = []
    for mesh, devices in ((MeshConfig(), 1), (MeshConfig(), 4), (MeshConfig(2, 1, 2), 4)):
        split = dataclasses.replace(config, mesh=mesh)
        e = Experiment(split, devices=jax.devices()[:devices])
        variables = init_variables(e.model, e.task, e.config)
        # Larger maps than at the start of training, so that answers change.
        variables = {**variables, "params": jax.tree.map(lambda x: 4 * x, variables["params"])}
        step = make_step(e.model, e.task, e.config, e.mesh, steps=(3,), stop=stop_of(config))
        results.append(jax.device_get(step(variables, batch_of(e, 4))))
    assert len(np.unique(results[0].taken)) > 1
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


def test_the_summary_by_hand():
    def found(right, taken):
        return Found({"accuracy": np.array(right, bool)}, np.array(taken))

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


def test_bad_settings():
    for fields, message in (
        ({"stop": "later"}, "config.eval.stop='later' is unknown"),
        ({"stop": "energy", "patience": 0}, "config.eval.patience=0 must be at least 1"),
        ({"stop": "energy", "tolerance": -1.0}, "config.eval.tolerance=-1.0 must be at least 0"),
        ({"limit": 8}, "config.eval.limit=8 has no effect where nothing stops"),
    ):
        config = default_config()
        config.eval.update(fields)
        with pytest.raises(ValueError, match=message):
            freeze(config)
    with pytest.raises(ValueError, match="signal='phase' is unknown"):
        Stop("phase").of_layer(True, 3, lambda theta: theta)
