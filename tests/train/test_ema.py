"""The moving average against a simulation of its rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.train.ema import EmaConfig, ema_decay, update_ema

PAPER = EmaConfig(decay=0.995, every=10, after=100)


def simulated(values: np.ndarray, decay: float, every: int, after: int):
    """The average after every update, in float64; `values[n]` is there after update n + 1."""
    average, history = None, []
    for count, value in enumerate(values):  # looked at after updates 1, 1 + every, …
        if count % every == 0:
            if count <= after:
                average = value.copy()
            else:
                k = count - after
                share = min(decay, 1 - (1 + k) ** (-2 / 3))
                average = share * average + (1 - share) * value
        history.append(average)
    return np.stack(history)


@pytest.mark.parametrize(
    "config",
    [
        PAPER,
        EmaConfig(decay=0.99, every=1, after=25),
        EmaConfig(decay=0.9, every=7, after=0),  # the limit is reached
    ],
)
def test_average_is_the_rule(config):
    rng = np.random.default_rng(0)
    values = (np.cumsum(rng.normal(size=(400, 3)), axis=0) + 5).astype(np.float32)

    def tree(row):
        return {"params": {"kernel": row}, "batch_stats": {"mean": row[:2], "batches": 0}}

    def update(average, row_and_step):
        row, step = row_and_step
        current = tree(row)
        current["batch_stats"]["batches"] = step
        average = update_ema(average, current, step, config)
        return average, average

    start = jax.tree.map(jnp.asarray, tree(np.full(3, -100, np.float32)))
    _, history = jax.lax.scan(update, start, (values, jnp.arange(1, 401, dtype=jnp.int32)))
    expected = simulated(values.astype(np.float64), config.decay, config.every, config.after)
    np.testing.assert_allclose(history["params"]["kernel"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        history["batch_stats"]["mean"], expected[:, :2], rtol=1e-4, atol=1e-4
    )
    # The counter of batches is an integer: it is copied whenever the average is looked at.
    looked_at = np.arange(400) // config.every * config.every + 1
    np.testing.assert_array_equal(history["batch_stats"]["batches"], looked_at)
    # Copies are exact, and so is doing nothing.
    copied = [n for n in range(400) if n % config.every == 0 and n <= config.after]
    np.testing.assert_array_equal(history["params"]["kernel"][np.array(copied)], values[copied])
    idle = np.array([n for n in range(1, 400) if n % config.every], int)
    kernel = np.asarray(history["params"]["kernel"])
    np.testing.assert_array_equal(kernel[idle], kernel[idle - 1])


def test_decay_at_the_borders():
    decay = {step: float(ema_decay(step, PAPER)) for step in (1, 2, 10, 11, 101, 102, 111, 121)}
    assert decay[1] == decay[11] == decay[101] == 0
    assert decay[2] == decay[10] == decay[102] == 1
    np.testing.assert_allclose(decay[111], 1 - 11 ** (-2 / 3), rtol=1e-6)
    np.testing.assert_allclose(decay[121], 1 - 21 ** (-2 / 3), rtol=1e-6)


def test_decay_reaches_its_limit_and_stays():
    # 1 − (1 + k)^(−2/3) = 0.995 at k = 200^1.5 − 1 ≈ 2827.
    before, after, late = (float(ema_decay(step, PAPER)) for step in (2921, 2931, 1_000_001))
    assert before < 0.995
    assert after == late == np.float32(0.995)


def test_dtypes_and_structure_are_kept():
    tree = {"a": jnp.ones(3), "b": {"c": jnp.zeros((), jnp.int32)}}
    for step in (1, 2, 111):
        new = update_ema(tree, tree, step, PAPER)
        assert jax.tree.structure(new) == jax.tree.structure(tree)
        same = jax.tree.map(lambda x, y: x.dtype == y.dtype and x.shape == y.shape, new, tree)
        assert all(jax.tree.leaves(same))
