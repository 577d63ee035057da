"""The attention kernels against each other and against the formula."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.kernels import attention as kernels
from wonn_jax.kernels import blockwise
from wonn_jax.kernels.attention import attention

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
@pytest.mark.parametrize("implementation", ["auto", "plain", "blockwise"])
def test_is_the_formula(implementation, name, x64):
    query, key, value, _ = operands(4, jnp.float64)
    mask = masks()[name]
    out = attention(query, key, value, mask=mask, implementation=implementation)
    assert out.dtype == jnp.float64
    expected = written_out(*(np.asarray(x) for x in (query, key, value)), mask)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
def test_blockwise_is_plain(dtype, name, x64):
    arguments = (*operands(4, dtype), masks()[name])
    assert_same(
        value_and_gradients(*arguments, "blockwise"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[dtype],
    )


@pytest.mark.parametrize("name", ["none", "per example and head"])
@pytest.mark.parametrize(
    ("together", "rows"), [(1, TOKENS), (2, TOKENS), (3, TOKENS), (1, 1), (1, 3), (2, 4)]
)
def test_blockwise_is_plain_with_every_tiling(together, rows, name, monkeypatch):
    """TOKENS is 7: a last block of 3 has one query, and one of 4 has three."""
    tiling = blockwise.Tiling(BATCH, HEADS, together, rows)
    monkeypatch.setattr(blockwise, "choose_tiling", lambda *_: tiling)
    value_and_gradients.clear_cache()
    arguments = (*operands(4), masks()[name])
    assert_same(
        value_and_gradients(*arguments, "blockwise"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[jnp.float32],
    )
    value_and_gradients.clear_cache()


def test_tilings():
    assert blockwise.choose_tiling(8, 8, 900) == (8, 8, 1, 900)  # a whole head
    assert blockwise.choose_tiling(3, 2, 36) == (3, 2, 6, 36)  # six whole heads
    assert blockwise.choose_tiling(1, 8, 3600) == (1, 8, 1, 277)  # 13 blocks
    for tokens in (1, 1024, 1025, 14_400):
        assert 1 <= blockwise.choose_tiling(1, 1, tokens).rows * tokens <= blockwise.CACHED.block
    assert 60 < blockwise.choose_tiling(1, 1, 57_601).rows <= blockwise.MIN_BLOCK_ROWS


def test_a_gpu_makes_more_logits_at_a_time():
    assert blockwise.choose_tiling(64, 8, 784, "gpu") == (64, 8, 64, 784)
    assert blockwise.choose_tiling(1, 8, 3600, "gpu") == (1, 8, 4, 3600)
    assert blockwise.choose_tiling(1, 8, 14_400, "gpu") == (1, 8, 1, 3600)  # four blocks
    assert blockwise.choose_tiling(64, 8, 784, "tpu") == blockwise.choose_tiling(64, 8, 784, "cpu")


@pytest.mark.parametrize("tokens", [1024, 2048, 4096])
def test_blockwise_memory_is_linear(tokens):
    """Forward and backward, at twice the tokens twice the memory: operands and one block."""
    shape = jax.ShapeDtypeStruct((2, tokens, 4, 16), jnp.float32)
    compiled = value_and_gradients.lower(shape, shape, shape, shape, None, "blockwise").compile()
    operand = 4 * math.prod(shape.shape)
    block = 4 * blockwise.CACHED.block
    assert compiled.memory_analysis().temp_size_in_bytes < 12 * operand + 4 * block


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(
    ("width", "tokens"), [(2, 49), (4, 1), (8, 36), (16, 3), (16, 225), (32, 81), (4, 1025)]
)
def test_blockwise_is_plain_at_every_size(width, tokens, dtype):
    arguments = (*operands(width, dtype, tokens), None)
    assert_same(
        value_and_gradients(*arguments, "blockwise"),
        value_and_gradients(*arguments, "plain"),
        TOLERANCE[dtype],
    )


@pytest.mark.parametrize("policy", [True, False], ids=["kept", "recomputed"])
def test_gradients_through_checkpoint(policy):
    query, key, value, cotangent = operands(4)
    names = jax.checkpoint_policies.save_only_these_names(*blockwise.RESIDUALS) if policy else None

    def loss(implementation, *x):
        return (attention(*x, implementation=implementation) * cotangent).sum()

    kept = jax.checkpoint(functools.partial(loss, "blockwise"), policy=names)
    plain = functools.partial(loss, "plain")
    assert_same(
        jax.jit(jax.grad(kept, (0, 1, 2)))(query, key, value),
        jax.grad(plain, (0, 1, 2))(query, key, value),
        TOLERANCE[jnp.float32],
    )


@pytest.mark.parametrize("implementation", ["plain", "blockwise"])
def test_a_query_that_sees_nothing_gets_the_mean(implementation):
    query, key, value, cotangent = operands(4)
    mask = masks()["causal"].at[:, :, 3].set(False)
    out, *gradients = value_and_gradients(query, key, value, cotangent, mask, implementation)
    np.testing.assert_allclose(out[:, 3], value.mean(1), atol=1e-6)
    assert_same(
        gradients,
        value_and_gradients(query, key, value, cotangent, mask, "plain")[1:],
        TOLERANCE[jnp.float32],
    )
    assert not gradients[0][:, 3].any()


@pytest.mark.parametrize("implementation", ["plain", "blockwise"])
def test_large_logits_stay_finite(implementation):
    query, key, value, cotangent = operands(4)
    results = value_and_gradients(1e4 * query, 1e4 * key, value, cotangent, None, implementation)
    assert all(jnp.isfinite(x).all() for x in results)


@pytest.mark.parametrize("implementation", ["plain", "blockwise"])
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
    for implementation in ("plain", "blockwise"):
        out = attention(query, key, value, implementation=implementation)
        expected = 1 / (1 + np.exp(-0.5 / np.sqrt(2)))
        np.testing.assert_allclose(np.asarray(out, np.float32), expected, atol=5e-3)


@pytest.mark.parametrize(
    ("implementation", "reason"),
    [
        ("fast", "'fast' is unknown.*blockwise"),
        ("cudnn", "'cudnn' needs an NVIDIA GPU, not a CPU; use 'blockwise' or 'auto'"),
        ("pallas", "'pallas' needs a TPU, not a CPU"),
    ],
)
def test_refused(implementation, reason):
    with pytest.raises(ValueError, match=reason):
        attention(*operands(4)[:3], implementation=implementation)


@pytest.mark.parametrize(
    ("implementation", "platform", "width", "dtype", "reason"),
    [
        ("cudnn", "gpu", 16, jnp.bfloat16, None),
        ("cudnn", "gpu", 16, jnp.float32, "takes bfloat16 or float16, not float32"),
        ("cudnn", "gpu", 12, jnp.bfloat16, "not 12"),
        ("cudnn", "gpu", 256, jnp.bfloat16, "not 256"),
        ("plain", "gpu", 2, jnp.float32, None),
        ("blockwise", "tpu", 2, jnp.float32, None),
    ],
)
def test_reasons(implementation, platform, width, dtype, reason):
    found = kernels.refusal(implementation, platform, width, dtype)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("platform", "shape", "dtype", "masked", "choice"),
    [
        ("cpu", (8, 900, 8, 16), jnp.float32, False, "blockwise"),
        ("cpu", (8, 81, 8, 32), jnp.bfloat16, True, "blockwise"),
        ("gpu", (64, 900, 8, 16), jnp.bfloat16, False, "cudnn"),
        ("gpu", (100, 81, 8, 32), jnp.float16, True, "cudnn"),
        ("gpu", (16, 900, 8, 16), jnp.float32, False, "plain"),
        ("gpu", (64, 900, 8, 16), jnp.float32, False, "blockwise"),
        ("gpu", (16, 81, 8, 4), jnp.bfloat16, False, "plain"),
        ("tpu", (64, 900, 8, 16), jnp.float32, False, "pallas"),
        ("tpu", (64, 900, 8, 16), jnp.float32, True, "blockwise"),
        ("tpu", (64, 81, 8, 32), jnp.bfloat16, False, "plain"),
    ],
)
def test_auto(platform, shape, dtype, masked, choice):
    assert kernels.choose(shape, dtype, masked=masked, platform=platform) == choice


def test_the_kernel_of_a_tpu_is_lowered_where_there_is_none():
    x = jax.ShapeDtypeStruct((2, 256, 2, 16), jnp.float32)
    call = jax.jit(functools.partial(attention, platform="tpu"))
    assert "tpu_custom_call" in call.trace(x, x, x).lower(lowering_platforms=("tpu",)).as_text()
    assert "tpu_custom_call" not in jax.jit(attention).lower(x, x, x).as_text()
