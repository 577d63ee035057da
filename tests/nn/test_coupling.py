"""The attention coupling against its definition as loops, and who hears of whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rotations import turned

from wonn_jax.dynamics import interaction_energy
from wonn_jax.kernels.rotary import grid_positions
from wonn_jax.nn.coupling import AttentionCoupling, causal_mask, norm_groups

WIDTH, HEADS, TOKENS = 16, 2, 6


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def make(norm: str, **settings):
    """A coupling and weights of which none is 0 or 1."""
    module = AttentionCoupling(WIDTH, HEADS, norm=norm, groups=4, **settings)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, TOKENS, WIDTH)))
    leaves, tree = jax.tree.flatten(shapes)
    filled = [0.3 * normal(*leaf.shape, seed=k) for k, leaf in enumerate(leaves)]
    return module, jax.tree.unflatten(tree, filled)


def written_out(params, x, positions, norm, mask=None):
    """One example `[N, C]`, from the equations; mask `[heads, N, N]`."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    tokens, head_width = len(x), WIDTH // HEADS
    qkv = x @ p["qkv"]["kernel"] + p["qkv"]["bias"]
    query, key, value = (
        part.reshape(tokens, HEADS, head_width) for part in np.split(qkv, 3, axis=-1)
    )
    query, key = turned(query, positions), turned(key, positions)
    mixed = np.zeros((tokens, WIDTH))
    for head in range(HEADS):
        for i in range(tokens):
            seen = [j for j in range(tokens) if mask is None or mask[head, i, j]]
            scores = np.array([query[i, head] @ key[j, head] for j in seen]) / np.sqrt(head_width)
            weights = np.exp(scores) / np.exp(scores).sum()
            out = sum(w * value[j, head] for w, j in zip(weights, seen, strict=True))
            mixed[i, head * head_width : (head + 1) * head_width] = out
    field = mixed @ p["out"]["kernel"] + p["out"]["bias"]
    if norm != "none":
        for i in range(tokens) if norm == "token" else [slice(None)]:
            for group in range(4):
                channels = slice(4 * group, 4 * group + 4)
                block = field[i, channels]
                field[i, channels] = (block - block.mean()) / np.sqrt(block.var() + 1e-5)
        field = field * p["norm"]["scale"] + p["norm"]["bias"]
    return np.maximum(field, 0)


@pytest.mark.parametrize("norm", ["group", "token", "none"])
def test_coupling_is_the_definition(norm):
    module, params = make(norm)
    x = normal(3, TOKENS, WIDTH, seed=1)
    positions = grid_positions(2, 3)
    mask = np.random.default_rng(0).random((3, HEADS, TOKENS, TOKENS)) < 0.6
    mask |= np.eye(TOKENS, dtype=bool)
    codes = module.position_codes(jnp.asarray(positions))
    apply = jax.jit(lambda x, mask=None: module.apply(params, x, codes, mask=mask))
    free, masked = apply(x), apply(x, mask)
    for row in range(3):
        expected = written_out(params, x[row], positions, norm)
        np.testing.assert_allclose(free[row], expected, atol=3e-5)
        expected = written_out(params, x[row], positions, norm, mask[row])
        np.testing.assert_allclose(masked[row], expected, atol=3e-5)
    assert (free >= 0).all() and (free == 0).any() and (free > 0).any()


def test_without_codes_the_order_of_tokens_is_unknown():
    module, params = make("group")
    x, order = normal(2, TOKENS, WIDTH), np.array([3, 1, 5, 0, 2, 4])
    field = jax.jit(module.apply)
    np.testing.assert_allclose(field(params, x[:, order]), field(params, x)[:, order], atol=1e-5)
    codes = module.position_codes(jnp.arange(TOKENS)[:, None])
    coded = field(params, x[:, order], codes)
    assert np.abs(coded - field(params, x, codes)[:, order]).max() > 1e-2


def influence_of(norm: str, mask) -> np.ndarray:
    """`[N, N]`: whether the field at a token (row) changes with another token (column)."""
    module, params = make(norm)
    codes = module.position_codes(jnp.arange(TOKENS)[:, None])
    x = normal(1, TOKENS, WIDTH)
    field = jax.jit(lambda x: module.apply(params, x, codes, mask=mask)[0])
    changed = [
        np.abs(field(x + 3 * np.eye(TOKENS, dtype=np.float32)[None, j, :, None]) - field(x))
        for j in range(TOKENS)
    ]
    return np.stack(changed, axis=1).max(-1) > 0


def test_causal_mask_isolates_the_future_with_a_norm_per_token():
    np.testing.assert_array_equal(
        influence_of("token", causal_mask(TOKENS)), np.tril(np.ones((TOKENS, TOKENS), bool))
    )


def test_a_norm_over_tokens_leaks_the_future():
    assert influence_of("group", causal_mask(TOKENS)).all()


def test_causal_mask():
    mask = causal_mask(3)
    assert mask.shape == (1, 1, 3, 3)
    np.testing.assert_array_equal(mask[0, 0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize("implementation", ["plain", "blockwise"])
@pytest.mark.parametrize("norm", ["group", "token", "none"])
@pytest.mark.parametrize("banded", [False, True])  # each token sees its neighbours only
def test_padding_is_as_if_it_were_not_there(norm, banded, implementation):
    module, params = make(norm, attention=implementation)
    x = normal(2, TOKENS, WIDTH)
    lengths = np.array([4, TOKENS])
    valid = np.arange(TOKENS) < lengths[:, None]
    x = np.where(valid[..., None], x, 1e3)  # what stands in the padding must not matter

    def field(x, valid=None):
        tokens = x.shape[1]
        codes = module.position_codes(jnp.arange(tokens)[:, None])
        places = np.arange(tokens)
        mask = np.abs(np.subtract.outer(places, places))[None, None] < 2 if banded else None
        return jax.jit(module.apply)(params, x, codes, mask=mask, valid=valid)

    padded = field(x, jnp.asarray(valid))
    assert np.isfinite(padded).all()
    for row, length in enumerate(lengths):
        short = field(x[row : row + 1, :length])
        np.testing.assert_allclose(padded[row, :length], short[0], atol=1e-5)


def test_no_gradient_comes_from_padding():
    module, params = make("group")
    valid = jnp.arange(TOKENS)[None] < 4

    def loss(x):
        return (module.apply(params, x, valid=valid) * valid[..., None]).sum()

    gradient = jax.jit(jax.grad(loss))(jnp.asarray(normal(1, TOKENS, WIDTH)))
    np.testing.assert_array_equal(gradient[0, 4:], 0)
    assert np.abs(gradient[0, :4]).min(axis=-1).max() > 0


def test_maps_may_be_bfloat16_and_weights_stay_float32():
    module = AttentionCoupling(WIDTH, HEADS, dtype=jnp.bfloat16)
    x = jnp.asarray(normal(1, TOKENS, WIDTH))
    codes = module.position_codes(jnp.arange(TOKENS)[:, None])
    assert codes.cos.dtype == jnp.float32
    field, params = jax.jit(module.init_with_output)(jax.random.key(0), x, codes)
    assert field.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    exact = jax.jit(AttentionCoupling(WIDTH, HEADS).apply)(params, x, codes)
    np.testing.assert_allclose(field.astype(np.float32), exact, atol=0.1)


def test_norm_groups_is_the_largest_divisor_up_to_eight():
    for width in range(1, 70):
        groups = norm_groups(width)
        assert 1 <= groups <= 8 and width % groups == 0
        assert all(width % larger for larger in range(groups + 1, 9))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 12, "heads": 4}, r"width=12 .*multiple of twice the number of heads"),
        ({"norm": "batch"}, r"norm='batch' is unknown; use one of group, token, none"),
        ({"attention": "fast"}, r"'fast' is unknown"),
    ],
)
def test_messages(settings, message):
    module = AttentionCoupling(**{"width": WIDTH, "heads": HEADS, **settings})
    with pytest.raises(ValueError, match=message):
        module.init(jax.random.key(0), jnp.zeros((1, 3, module.width)))


def test_an_example_of_padding_alone_gives_no_nan():
    """A batch may be filled up with empty sequences; they must not poison the gradient."""
    model = AttentionCoupling(8, 2)
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    valid = jnp.array([[True] * 4 + [False], [False] * 5])
    params = model.init(jax.random.key(1), x)

    def loss(params):
        field = model.apply(params, x, valid=valid)
        return jnp.where(valid[:, :, None], jnp.square(field), 0.0).sum()

    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(jax.grad(loss)(params)))


@pytest.mark.parametrize("norm", ["group", "token"])
def test_padding_does_not_count_in_the_energy(norm):
    module, params = make(norm)
    theta = normal(1, TOKENS, WIDTH, seed=7)
    energies = []
    for padding in (0, 2, 8):
        valid = jnp.arange(TOKENS + padding)[None] < TOKENS
        longer = np.concatenate([theta, normal(1, padding, WIDTH, seed=8)], axis=1)
        energy = interaction_energy(
            longer,
            influence=jnp.sin,
            coupling=lambda x, valid=valid: module.apply(params, x, valid=valid),
            event_ndim=2,
        )
        energies.append(float(energy[0]))
    np.testing.assert_allclose(energies, energies[0], rtol=1e-5)
