"""Patches and learned interactions against their definition as loops; who hears of whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.nn.interactions import (
    ChannelMLP,
    LearnedSensitivity,
    PatchInfluence,
    patches,
    spread,
    trigonometric,
)

SHAPE = (2, 5, 7, 3)  # neither side is a multiple of 2 or 4


def phases(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(-np.pi, np.pi, shape or SHAPE).astype(np.float32)


def filled(module, x):
    """Weights of which none is 0, for a module on `x`."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [phases(*leaf.shape, seed=7) / 3 for leaf in leaves])


def mlp(params, channel: int, x: np.ndarray) -> float:
    """W₂ · ReLU(W₁ x + b₁) + b₂ of one channel, x `[K]`."""
    p = {name: np.asarray(leaf, np.float64)[channel] for name, leaf in params.items()}
    hidden = np.maximum(p["kernel_1"] @ x + p["bias_1"], 0)
    return p["kernel_2"] @ hidden + p["bias_2"]


def window(x: np.ndarray, row: int, column: int, group: int) -> np.ndarray:
    """The `[H, W]` cells of one patch row by row, 0 beyond the edges."""
    cells = np.zeros(group * group)
    for i in range(group):
        for j in range(group):
            y, z = row * group + i, column * group + j
            if y < x.shape[0] and z < x.shape[1]:
                cells[i * group + j] = x[y, z]
    return cells


@pytest.mark.parametrize("group", [1, 2, 4])
def test_patches_are_windows_row_by_row(group):
    x = phases()
    rows, columns = -(-5 // group), -(-7 // group)
    result = np.asarray(patches(jnp.asarray(x), group))
    assert result.shape == (3, group * group, 2, rows, columns)
    for channel, example, row, column in np.ndindex(3, 2, rows, columns):
        np.testing.assert_array_equal(
            result[channel, :, example, row, column],
            window(x[example, :, :, channel], row, column, group).astype(np.float32),
        )


@pytest.mark.parametrize("group", [1, 2, 4])
def test_spread_gives_every_cell_the_field_of_its_patch(group):
    field = phases(2, -(-5 // group), -(-7 // group), 3)
    result = np.asarray(spread(jnp.asarray(field), group, 5, 7))
    assert result.shape == SHAPE
    for row, column in np.ndindex(5, 7):
        np.testing.assert_array_equal(
            result[:, row, column], field[:, row // group, column // group]
        )


def test_fixed_interaction_is_cosine_and_sine():
    theta = phases()
    np.testing.assert_allclose(trigonometric().sensitivity(theta), np.cos(theta), atol=2e-7)
    np.testing.assert_allclose(trigonometric().influence(theta), np.sin(theta), atol=2e-7)


def test_channel_mlp_is_its_definition():
    x = phases(3, 5, 4)
    params = filled(ChannelMLP(6), x)
    result = jax.jit(ChannelMLP(6).apply)(params, x)
    assert result.shape == (3, 4)
    for channel, column in np.ndindex(3, 4):
        expected = mlp(params["params"], channel, x[channel, :, column])
        np.testing.assert_allclose(result[channel, column], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [LearnedSensitivity(), PatchInfluence(2, "trig"), PatchInfluence(2, "mlp")],
    ids=["sensitivity", "trig", "mlp"],
)
def test_channels_do_not_see_each_other(module):
    theta = phases()
    params = filled(module, theta)
    apply = jax.jit(module.apply)
    before = apply(params, theta)
    for channel in range(3):
        moved = theta.copy()
        moved[..., channel] += 1
        changed = (apply(params, moved) != before).any((0, 1, 2))
        np.testing.assert_array_equal(changed, np.arange(3) == channel)


def test_learned_sensitivity_is_its_definition():
    theta = phases()
    module = LearnedSensitivity(ratio=3)
    params = filled(module, theta)
    assert params["params"]["mlp"]["kernel_1"].shape == (3, 3, 2)
    result = jax.jit(module.apply)(params, theta)
    assert result.shape == SHAPE and result.dtype == jnp.float32
    for place in np.ndindex(*SHAPE):
        waves = np.array([np.sin(theta[place]), np.cos(theta[place])], np.float64)
        expected = mlp(params["params"]["mlp"], place[-1], waves)
        np.testing.assert_allclose(result[place], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["trig", "mlp"])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_patch_influence_is_its_definition(group, kind):
    theta = phases()
    module = PatchInfluence(group, kind)
    params = filled(module, theta)
    inputs = (1 if kind == "trig" else 2) * group**2
    assert params["params"]["mlp"]["kernel_1"].shape == (3, 2 * inputs, inputs)
    result = jax.jit(module.apply)(params, theta)
    assert result.shape == (2, -(-5 // group), -(-7 // group), 3) and result.dtype == jnp.float32
    for example, row, column, channel in np.ndindex(*result.shape):
        cells = theta[example, :, :, channel].astype(np.float64)
        # The waves are padded, not the phases: beyond the edge the cosine is 0 too.
        waves = [window(wave, row, column, group) for wave in (np.sin(cells), np.cos(cells))]
        x = waves[0] if kind == "trig" else np.concatenate(waves)
        expected = mlp(params["params"]["mlp"], channel, x)
        np.testing.assert_allclose(
            result[example, row, column, channel], expected, rtol=1e-5, atol=2e-5
        )


@pytest.mark.parametrize(
    "module",
    [LearnedSensitivity(), PatchInfluence(2, "trig"), PatchInfluence(2, "mlp")],
    ids=["sensitivity", "trig", "mlp"],
)
def test_a_turn_changes_nothing(module, x64):
    theta = phases().astype(np.float64)
    params = filled(module, theta)
    turns = np.random.default_rng(0).integers(-3, 4, SHAPE)
    turned = module.apply(params, theta + 2 * np.pi * turns)
    np.testing.assert_allclose(turned, module.apply(params, theta), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "inputs"), [("trig", 4), ("mlp", 8)])
def test_weights_start_within_the_square_root_of_fan_in(kind, inputs):
    theta = jnp.zeros((1, 2, 2, 400))
    params = PatchInfluence(2, kind).init(jax.random.key(0), theta)["params"]["mlp"]
    fan_in = {"kernel_1": inputs, "bias_1": inputs, "kernel_2": 2 * inputs, "bias_2": 2 * inputs}
    for name, weights in params.items():
        bound = 1 / np.sqrt(fan_in[name])
        assert 0.97 * bound < float(jnp.abs(weights).max()) <= bound
        assert abs(float(weights.mean())) < 0.1 * bound
        assert np.unique(weights).size > 0.99 * weights.size  # channels start differently


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (LearnedSensitivity, SHAPE),
        (lambda dtype: PatchInfluence(2, "mlp", dtype=dtype), (2, 3, 4, 3)),
    ],
    ids=["sensitivity", "influence"],
)
def test_bfloat16_products_keep_the_precision_of_phases(module, shape):
    theta = phases()
    low, full = module(dtype=jnp.bfloat16), module(dtype=jnp.float32)
    params = low.init(jax.random.key(0), theta)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    result, exact = low.apply(params, theta), full.apply(params, theta)
    assert result.dtype == jnp.float32 and result.shape == shape
    np.testing.assert_allclose(result, exact, atol=0.03)
    assert (result != exact).any()
    np.testing.assert_array_equal(result, result.astype(jnp.bfloat16))
