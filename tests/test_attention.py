"""The attention kernels against each other and against the formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax import attention as kernels
from wonn_jax.attention import attention

BATCH, TOKENS, HEADS = 3, 7, 2
TOLERANCE = {jnp.float32: 2e-6, jnp.float64: 1e-14, jnp.bfloat16: 2e-2}


def operands(width: int, dtype=jnp.float32, tokens: int = TOKENS):
    """Query, key, value and a cotangent of the output."""
    rng = np.random.default_rng([width, tokens])
    shape = (BATCH, tokens, HEADS, width)
    return [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(4)]


def masks(tokens: int = TOKENS):
    """By name; every query sees itself at least."""
    rng = np.random.default_rng(0)

    def random(*shape: int):
        return jnp.asarray(
            (rng.random((*shape, tokens, tokens)) < 0.5) | np.eye(tokens, dtype=bool)
        )

    return {
        "none": None,
        "causal": jnp.tril(jnp.ones((1, 1, tokens, tokens), bool)),
        "per example": random(BATCH, 1),
        "per head": random(1, HEADS),
        "per example and head": random(BATCH, HEADS),
    }


@functools.partial(jax.jit, static_argnames="implementation")
def value_and_gradients(query, key, value, cotangent, mask, implementation):
    out, pull = jax.vjp(
        lambda *x: attention(*x, mask=mask, implementation=implementation), query, key, value
    )
    return out, *pull(cotangent)


def assert_same(arrays, references, tolerance: float):
    for array, reference in zip(arrays, references, strict=True):
        assert array.dtype == reference.dtype
        scale = max(1.0, float(jnp.abs(reference.astype(jnp.float32)).max()))
        np.testing.assert_allclose(
            np.asarray(array, np.float64),
            np.asarray(reference, np.float64),
            rtol=0,
            atol=tolerance * scale,
        )


def written_out(query, key, value, mask):
    """softmax(q kᵀ / √d) v in NumPy, float64."""
    logits = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, value)


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("implementation", ["auto", "plain", "per_head"])
def test_is_the_formula(implementation, name, x64):
    query, key, value, _ = operands(4, jnp.float64)
    mask = masks()[name]
    out = attention(query, key, value, mask=mask, implementation=implementation)
    assert out.dtype == jnp.float64
    expected = written_out(*(np.asarray(x) for x in (query, key, value)), mask)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
def test_per_head_is_plain(dtype, name, x64):
    arguments = (*operands(4, dtype), masks()[name])
    assert_same(
        value_and_gradients(*arguments, "per_head"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[dtype],
    )


@pytest.mark.parametrize("at_once", [1, 2, 3], ids=lambda heads: f"{heads} at once")
def test_per_head_is_plain_however_many_at_once(at_once, monkeypatch):
    monkeypatch.setattr(kernels, "AT_ONCE", at_once * TOKENS**2)
    value_and_gradients.clear_cache()
    arguments = (*operands(4), masks()["per example and head"])
    assert_same(
        value_and_gradients(*arguments, "per_head"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[jnp.float32],
    )
    value_and_gradients.clear_cache()


@pytest.mark.parametrize(("width", "tokens"), [(2, 49), (4, 1), (8, 36), (16, 3)])
def test_per_head_is_plain_at_every_size(width, tokens):
    arguments = (*operands(width, tokens=tokens), masks(tokens)["causal"])
    assert_same(
        value_and_gradients(*arguments, "per_head"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[jnp.float32],
    )


@pytest.mark.parametrize("policy", [True, False], ids=["kept", "recomputed"])
def test_gradients_through_checkpoint(policy):
    query, key, value, cotangent = operands(4)
    names = jax.checkpoint_policies.save_only_these_names(*kernels.RESIDUALS) if policy else None

    def loss(implementation, *x):
        return (attention(*x, implementation=implementation) * cotangent).sum()

    kept = jax.checkpoint(functools.partial(loss, "per_head"), policy=names)
    plain = functools.partial(loss, "plain")
    assert_same(
        jax.jit(jax.grad(kept, (0, 1, 2)))(query, key, value),
        jax.grad(plain, (0, 1, 2))(query, key, value),
        TOLERANCE[jnp.float32],
    )


@pytest.mark.parametrize("implementation", ["plain", "per_head"])
def test_a_query_that_sees_nothing_gets_the_mean(implementation):
    query, key, value, cotangent = operands(4)
    mask = masks()["causal"].at[:, :, 3].set(False)
    out, *gradients = value_and_gradients(query, key, value, cotangent, mask, implementation)
    np.testing.assert_allclose(out[:, 3], value.mean(1), atol=1e-6)
    assert all(jnp.isfinite(x).all() for x in gradients)


@pytest.mark.parametrize("implementation", ["plain", "per_head"])
def test_large_logits_stay_finite(implementation):
    query, key, value, cotangent = operands(4)
    results = value_and_gradients(1e4 * query, 1e4 * key, value, cotangent, None, implementation)
    assert all(jnp.isfinite(x).all() for x in results)


@pytest.mark.parametrize("implementation", ["plain", "per_head"])
def test_is_the_same_under_vmap(implementation):
    query, key, value, _ = operands(4)
    apply = functools.partial(attention, implementation=implementation)
    alone = jax.vmap(lambda *x: apply(*(a[None] for a in x))[0])(query, key, value)
    np.testing.assert_allclose(alone, apply(query, key, value), atol=1e-6)


def test_half_precision_has_logits_in_float32():
    """In bfloat16 logits of 200 would have a spacing of 1, and these two weights be equal."""
    query = jnp.asarray([[16.0, 0.5]] * 2, jnp.bfloat16)[None, :, None]
    key = jnp.asarray([[17.75, 0], [17.75, 1]], jnp.bfloat16)[None, :, None]
    value = jnp.asarray([[0.0, 0], [1, 1]], jnp.bfloat16)[None, :, None]
    for implementation in ("plain", "per_head"):
        out = attention(query, key, value, implementation=implementation)
        expected = 1 / (1 + np.exp(-0.5 / np.sqrt(2)))
        np.testing.assert_allclose(np.asarray(out, np.float32), expected, atol=5e-3)


def test_unknown_implementation():
    with pytest.raises(ValueError, match="'fast' is unknown.*per_head"):
        attention(*operands(4)[:3], implementation="fast")
