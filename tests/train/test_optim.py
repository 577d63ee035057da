"""Learning rates at their borders, and the optimizers against their equations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wonn_jax.train.optim import Adam, AdamW, OptimizerConfig, freeze_some

PEAK, END = 1e-3, 1e-6
BASE = Adam(learning_rate=PEAK, end_learning_rate=END)


def rates(steps: int, count: int | None = None, **settings) -> np.ndarray:
    schedule = dataclasses.replace(BASE, **settings).make_schedule(steps, steps_per_epoch=16)
    return np.asarray(jax.vmap(schedule)(jnp.arange(count or steps)))


def test_constant():
    np.testing.assert_allclose(rates(50), PEAK, rtol=1e-6)


def test_warmup_starts_at_a_tenth_and_is_a_line():
    rate = rates(100, warmup="20 steps")
    expected = PEAK * (0.1 + 0.9 * np.arange(21) / 20)
    np.testing.assert_allclose(rate[:21], expected, rtol=1e-5)
    np.testing.assert_allclose(rate[20:], PEAK, rtol=1e-6)


def test_cosine_over_the_last_steps():
    """The recipe of Maze: constant, then a cosine at the end."""
    rate = rates(200, 260, schedule="cosine", decay="40 steps")
    np.testing.assert_allclose(rate[:161], PEAK, rtol=1e-6)
    share = np.arange(41) / 40
    cosine = END + (PEAK - END) * (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(rate[160:201], cosine, rtol=1e-5, atol=1e-11)
    np.testing.assert_allclose(rate[200:], END, rtol=1e-4)
    assert rate[161] < PEAK


def test_warmup_and_cosine_over_all_the_rest():
    """The recipe of ImageNet-1K."""
    rate = rates(116, 130, schedule="cosine", warmup="1 epoch")
    np.testing.assert_allclose(rate[[0, 16]], [PEAK / 10, PEAK], rtol=1e-6)
    np.testing.assert_allclose(rate[66], (PEAK + END) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate[116:], END, rtol=1e-4)


def test_linear_decay_ends_where_it_should():
    rate = rates(100, 120, schedule="linear", decay="1 epochs", warmup="3 steps")
    np.testing.assert_allclose(rate[3:85], PEAK, rtol=1e-6)
    line = PEAK + (END - PEAK) * np.arange(17) / 16
    np.testing.assert_allclose(rate[84:101], line, rtol=1e-4)
    np.testing.assert_allclose(rate[100:], END, rtol=1e-4)


def test_a_learning_rate_of_zero_is_allowed():
    np.testing.assert_array_equal(
        rates(10, schedule="cosine", learning_rate=0.0, end_learning_rate=0.0), 0
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup": "101 steps"},
        {"schedule": "cosine", "warmup": "100 steps"},
        {"schedule": "cosine", "warmup": "61 steps", "decay": "40 steps"},
        {"schedule": "linear", "decay": "7 epochs"},
    ],
)
def test_what_does_not_fit_into_the_run(settings):
    with pytest.raises(ValueError, match=r"do not fit into a run of 100 steps; use"):
        rates(100, **settings)


# --- optimizers -----------------------------------------------------------------------------


def run(config: OptimizerConfig, gradients: np.ndarray, start: np.ndarray, rate=0.1):
    optimizer = config.build(lambda count: rate / (1 + count))
    params = {"kernel": jnp.asarray(start[:-1]), "bias": jnp.asarray(start[-1:])}
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, row):
        updates, state = optimizer.update({"kernel": row[:-1], "bias": row[-1:]}, state, params)
        return optax.apply_updates(params, updates), state

    for row in gradients:
        params, state = update(params, state, row)
    return np.concatenate([params["kernel"], params["bias"]])


def adam(gradients, start, decay=0.0, clip=np.inf, b1=0.9, b2=0.999, eps=1e-8, rate=0.1):
    """Adam, with decoupled decay (Loshchilov & Hutter 2019), in float64."""
    x = start.astype(np.float64)
    first, second = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients.astype(np.float64), start=1):
        g = g * min(1, clip / np.sqrt((g**2).sum()))
        first = b1 * first + (1 - b1) * g
        second = b2 * second + (1 - b2) * g**2
        step = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + eps)
        x = x - rate / t * (step + decay * x)
    return x


RNG = np.random.default_rng(0)
START = RNG.normal(size=5).astype(np.float32)
GRADIENTS = RNG.normal(size=(12, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "config, reference",
    [
        (Adam(), {}),
        (Adam(b1=0.5, b2=0.9, eps=1e-2), {"b1": 0.5, "b2": 0.9, "eps": 1e-2}),
        (AdamW(weight_decay=0.3), {"decay": 0.3}),
        (Adam(clip_norm=0.5, eps=0.1), {"clip": 0.5, "eps": 0.1}),
        (AdamW(clip_norm=2.0, eps=0.1), {"clip": 2.0, "eps": 0.1}),
    ],
    ids=["adam", "betas", "adamw", "clip", "adamw-clip"],
)
def test_optimizer_is_its_equations(config, reference):
    gradients = GRADIENTS * np.linspace(0.1, 3, 12, dtype=np.float32)[:, None]
    expected = adam(gradients, START, **reference)
    np.testing.assert_allclose(run(config, gradients, START), expected, rtol=2e-5, atol=2e-5)


def test_decay_shrinks_every_parameter_without_gradients():
    config = AdamW(weight_decay=0.5)
    result = run(config, np.zeros((1, 5), np.float32), START)
    np.testing.assert_allclose(result, START * (1 - 0.1 * 0.5), rtol=1e-6)


def test_clipping_is_of_the_whole_gradient_and_off_at_zero():
    """Adam forgets the length of its first gradient, so eps is made to remember it."""
    gradient = np.array([[3, 0, 0, 0, 4]], np.float32)  # length 5, over two parameters
    for clip, share in ((0.0, 1.0), (10.0, 1.0), (1.0, 0.2)):
        config = Adam(eps=1e3, clip_norm=clip)
        moved = run(config, gradient, np.zeros(5, np.float32))
        g = gradient[0] * share
        np.testing.assert_allclose(moved, -0.1 * g / (np.abs(g) + 1e3), rtol=1e-4)


def test_frozen_parameters_stay():
    optimizer = freeze_some(Adam().build(lambda _: 0.1), {"kernel": "train", "bias": "freeze"})
    params = {"kernel": jnp.ones(3), "bias": jnp.ones(2)}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)
    plain = Adam().build(lambda _: 0.1)
    assert freeze_some(plain, None) is plain
