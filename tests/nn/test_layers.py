"""Maps and norms: initial weights, batch statistics, groups."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from wonn_jax.nn.layers import BatchNorm, GroupNorm, conv, dense, uniform_init
from wonn_jax.nn.transitions import PhaseEmbedding

EPS = 1e-5


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng([seed, *shape]).normal(size=shape)
    return (2 * draw + np.arange(shape[-1])).astype(np.float32)  # every channel another mean


# --- initial weights ------------------------------------------------------------------------


def assert_uniform(weights, bound: float):
    weights = np.abs(np.asarray(weights)).ravel()
    assert weights.max() <= bound
    if weights.size > 1000:
        assert weights.max() > 0.99 * bound
        np.testing.assert_allclose(weights.mean(), bound / 2, rtol=0.1)
        np.testing.assert_allclose(np.square(weights).mean(), bound**2 / 3, rtol=0.1)


@pytest.mark.parametrize("inputs", [4, 50])
def test_dense_starts_uniform(inputs):
    module = dense(inputs, 2000, dtype=jnp.float32, name="map")
    params = module.init(jax.random.key(0), jnp.zeros((1, inputs)))["params"]
    assert params["kernel"].shape == (inputs, 2000)
    assert_uniform(params["kernel"], inputs**-0.5)
    assert_uniform(params["bias"], inputs**-0.5)


@pytest.mark.parametrize("side", [1, 3])
def test_convolution_starts_uniform(side):
    module = conv(20, 1500, side, bias=True, dtype=jnp.float32, name="map")
    params = module.init(jax.random.key(0), jnp.zeros((1, 4, 4, 20)))["params"]
    assert params["kernel"].shape == (side, side, 20, 1500)
    assert_uniform(params["kernel"], (20 * side * side) ** -0.5)
    assert_uniform(params["bias"], (20 * side * side) ** -0.5)


def test_phase_embedding_is_its_definition_and_starts_uniform():
    theta = normal(2, 3, 4000)
    out, variables = PhaseEmbedding().init_with_output(jax.random.key(0), theta)
    p = variables["params"]
    for name in ("cos", "sin", "bias"):  # a linear map of cos and sin: fan-in 2
        assert_uniform(p[name], 2**-0.5)
    expected = p["cos"] * np.cos(theta) + p["sin"] * np.sin(theta) + p["bias"]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_uniform_init_uses_its_key():
    draw = uniform_init(4)
    first = draw(jax.random.key(0), (5,))
    assert first.dtype == jnp.float32
    np.testing.assert_array_equal(first, draw(jax.random.key(0), (5,)))
    assert (first != draw(jax.random.key(1), (5,))).all()


def test_convolution_keeps_the_size_and_pads_with_zeros():
    module = conv(1, 1, 3, bias=False, dtype=jnp.float32, name="map")
    ones = jnp.ones((1, 4, 5, 1))
    out = module.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, ones)[0, ..., 0]
    padded = np.pad(np.ones((4, 5)), 1)
    expected = [[padded[i : i + 3, j : j + 3].sum() for j in range(5)] for i in range(4)]
    np.testing.assert_array_equal(out, expected)


# --- BatchNorm ------------------------------------------------------------------------------


def variables(channels: int = 3):
    """Weights and running statistics of which none is 0 or 1."""
    rows = np.random.default_rng(5).uniform(0.5, 2, (4, channels)).astype(np.float32)
    return {
        "params": {"scale": rows[0], "bias": rows[1]},
        "batch_stats": {"mean": rows[2], "var": rows[3], "batches": np.int32(7)},
    }


def normalised(x, mean, var, before):
    params = before["params"]
    return (x - mean) / np.sqrt(var + EPS) * params["scale"] + params["bias"]


def train_step(x, weight=None, before=None, **settings):
    out, after = BatchNorm(**settings).apply(
        before or variables(), x, train=True, weight=weight, mutable=["batch_stats"]
    )
    return out, after["batch_stats"]


def test_batch_norm_in_training_is_its_definition():
    x, before = normal(4, 2, 5, 3), variables()
    out, after = train_step(x)
    rows = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(out, normalised(x, rows.mean(0), rows.var(0), before), atol=1e-5)
    running = before["batch_stats"]
    mean = 0.9 * running["mean"] + 0.1 * rows.mean(0)
    unbiased = 0.9 * running["var"] + 0.1 * rows.var(0, ddof=1)
    np.testing.assert_allclose(after["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(after["var"], unbiased, rtol=1e-5)
    assert after["batches"] == 8


def test_batch_norm_in_evaluation_uses_running_statistics():
    x, before = normal(4, 2, 5, 3), variables()
    out, after = BatchNorm().apply(before, x, train=False, mutable=["batch_stats"])
    running = before["batch_stats"]
    expected = normalised(x, running["mean"], running["var"], before)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], running)


def test_initialisation_does_not_move_the_statistics():
    start = BatchNorm().init(jax.random.key(0), normal(4, 3), train=True)
    np.testing.assert_array_equal(start["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(start["batch_stats"]["var"], np.ones(3))
    np.testing.assert_array_equal(start["params"]["scale"], np.ones(3))
    np.testing.assert_array_equal(start["params"]["bias"], np.zeros(3))
    assert start["batch_stats"]["batches"] == 0


def test_rows_of_weight_zero_count_nowhere():
    x = normal(5, 2, 2, 3)
    keep = np.array([1, 0, 1, 1, 0])
    padded = np.where(keep[:, None, None, None], x, np.float32(1e4))
    out, after = train_step(padded, weight=keep)
    short, short_after = train_step(x[keep == 1])
    np.testing.assert_allclose(out[keep == 1], short, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), after, short_after)


def test_a_batch_of_padding_leaves_the_statistics_alone():
    out, after = train_step(normal(4, 2, 3), weight=np.zeros(4))
    before = variables()["batch_stats"]
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(after["mean"], before["mean"])
    np.testing.assert_array_equal(after["var"], before["var"])


@pytest.mark.parametrize(
    "weight",
    [np.ones(8), np.array([1, 1, 1, 0, 1, 0, 0, 0])],
    ids=["full", "padded"],  # padded: uneven over the devices, the last has nothing at all
)
def test_batch_norm_over_devices_is_that_of_the_whole_batch(weight, mesh):
    x, before = normal(8, 2, 3), variables()
    weight = weight.astype(np.float32)

    def loss(params, x, weight, axis_names=()):
        given = {**before, "params": params}
        out, after = train_step(x, weight, given, axis_names=axis_names)
        return (jnp.sin(out) * weight[:, None, None]).sum(), (out, after)

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=((P(), (P("data"), P())), (P(), P("data"))),
    )
    def sharded(params, x, weight):
        def total(params, x):
            value, aux = loss(params, x, weight, ("data",))
            return jax.lax.psum(value, "data"), aux

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, x)

    single = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, sharded(before["params"], x, weight), single(before["params"], x, weight))


def test_batch_norm_computes_in_float32():
    x = jnp.asarray(normal(16, 3) + 200, jnp.bfloat16)
    out, after = train_step(x, dtype=jnp.bfloat16)
    assert out.dtype == jnp.bfloat16
    assert after["var"].dtype == jnp.float32
    exact, _ = train_step(x.astype(jnp.float32))
    np.testing.assert_allclose(out.astype(np.float32), exact, rtol=1e-2, atol=1e-2)


# --- GroupNorm ------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tokens", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_its_definition(groups, over_tokens):
    x = normal(2, 4, 6)
    valid = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    x[~valid] = 50
    scale, bias = normal(2, 6, seed=1)
    module = GroupNorm(groups, over_tokens)
    out = jax.jit(module.apply)({"params": {"scale": scale, "bias": bias}}, x, valid)
    size = 6 // groups
    for row in range(2):
        tokens = np.flatnonzero(valid[row])
        for group in range(groups):
            channels = np.arange(group * size, (group + 1) * size)
            for token in tokens:
                counted = tokens if over_tokens else [token]
                block = x[row][np.ix_(counted, channels)].astype(np.float64)
                value = (x[row, token, channels] - block.mean()) / np.sqrt(block.var() + EPS)
                expected = value * scale[channels] + bias[channels]
                np.testing.assert_allclose(out[row, token, channels], expected, atol=2e-5)


def test_group_norm_starts_as_the_identity_after_normalising():
    params = GroupNorm(2).init(jax.random.key(0), jnp.zeros((1, 2, 4)))["params"]
    np.testing.assert_array_equal(params["scale"], np.ones(4))
    np.testing.assert_array_equal(params["bias"], np.zeros(4))


def test_group_norm_agrees_with_flax():
    x = jnp.asarray(normal(2, 5, 8))
    theirs = nn.GroupNorm(4, epsilon=EPS).init_with_output(jax.random.key(0), x)[0]
    ours = GroupNorm(4).init_with_output(jax.random.key(0), x)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
