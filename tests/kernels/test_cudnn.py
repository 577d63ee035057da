"""Attention by cuDNN, without a GPU: what it is asked for, and that JAX does not refuse it."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as library

from wonn_jax.kernels import cudnn
from wonn_jax.kernels.attention import attention
from wonn_jax.nn.coupling import AttentionCoupling, causal_mask

TOKENS = (1, 2, 3, 36, 81, 99, 900)
MASKS = {"none": None, "one": (1, 1), "examples": (2, 1), "heads": (1, 3), "both": (2, 3)}


@pytest.fixture
def lowered(monkeypatch):
    """The StableHLO for NVIDIA GPUs of a function of arrays of these shapes and dtypes."""
    monkeypatch.setattr(library, "check_cudnn_version", lambda: 91000)

    def lower(function, *arguments: tuple[tuple[int, ...], type]) -> str:
        shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in arguments]
        traced = jax.jit(function).trace(*shapes)
        return traced.lower(lowering_platforms=("cuda",)).as_text()

    return lower


def library_refuses(tokens: int, width: int, dtype, *, masked: bool, training: bool) -> bool:
    """What the checks of the library say of operands as they are."""
    x = jax.ShapeDtypeStruct((2, tokens, 3, width), dtype)
    layout = library.AttentionLayout.BTNH
    # JAX counts an empty bias, too, where it traces a derivative.
    biased = masked or training
    try:
        library.check_layout(x, x, x, None, None, None, None, None, None, None, layout)
        library.check_is_flash_attention(x, x, x, layout.value, 91000, biased, training)
    except NotImplementedError:
        return True
    return False


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.float32], ids=lambda x: x.__name__
)
@pytest.mark.parametrize("width", [2, 4, 8, 12, 16, 24, 64, 120, 128, 136, 256])
def test_refuses_what_the_library_refuses(width, dtype):
    refused = cudnn.refusal(width, dtype) is not None
    for tokens in TOKENS:
        padded = tokens + tokens % 2
        for masked in (False, True):
            for training in (False, True):
                found = library_refuses(padded, width, dtype, masked=masked, training=training)
                assert found == refused, (tokens, masked, training)
    # If the library takes odd numbers some day, padding is no longer needed.
    assert library_refuses(81, 16, jnp.bfloat16, masked=False, training=True)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_is_lowered_in_training_and_inference(lowered, tokens, mask):
    arrays = [((2, tokens, 3, 8), jnp.bfloat16)] * 3
    if MASKS[mask]:
        arrays.append(((*MASKS[mask], tokens, tokens), jnp.bool_))

    def apply(query, key, value, mask=None):
        return attention(query, key, value, mask=mask, platform="gpu")

    def train(query, key, value, *mask):
        out, pull = jax.vjp(lambda *x: apply(*x, *mask), query, key, value)
        return pull(out)

    assert lowered(apply, *arrays).count("@__cudnn$fmha") == 1
    assert lowered(train, *arrays).count("@__cudnn$fmha") == 2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=lambda x: x.__name__)
@pytest.mark.parametrize("tokens", [9, 10])
def test_sequences_with_masks_and_padding(lowered, tokens, dtype):
    coupling = AttentionCoupling(16, 2, norm="token", dtype=dtype)
    coupling = coupling.clone(placement=coupling.placement._replace(platform="gpu"))

    def loss(params, influences, valid):
        mask = causal_mask(tokens)
        return coupling.apply(params, influences, mask=mask, valid=valid).astype(jnp.float32).sum()

    influences = jnp.ones((2, tokens, 16))
    params = coupling.clone(attention="plain").init(jax.random.key(0), influences)
    text = lowered(
        functools.partial(jax.grad(loss, (0, 1)), params),
        *[((2, tokens, 16), jnp.float32), ((2, tokens), jnp.bool_)],
    )
    assert text.count("@__cudnn$fmha") == 2


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("tokens", [1, 4, 7])
def test_padding_changes_nothing(monkeypatch, tokens, mask):
    """The same function by XLA in place of cuDNN: values and gradients."""
    by_xla = functools.partial(jax.nn.dot_product_attention)
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *x, **y: by_xla(*x, **y | {"implementation": "xla"})
    )
    rng = np.random.default_rng(0)
    shape = (2, tokens, 3, 8)
    query, key, value, cotangent = (jnp.asarray(rng.normal(size=shape), "float32") for _ in "qkvc")
    seen = None
    if MASKS[mask]:
        seen = jnp.asarray(rng.random((*MASKS[mask], tokens, tokens)) < 0.5)
        seen |= jnp.eye(tokens, dtype=bool)
    out, pull = jax.vjp(lambda *x: cudnn.cudnn_attention(*x, seen), query, key, value)
    right, pull_right = jax.vjp(lambda *x: attention(*x, mask=seen), query, key, value)
    np.testing.assert_allclose(out, right, atol=2e-6)
    for found, expected in zip(pull(cotangent), pull_right(cotangent), strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize(
    ("capability", "reason"),
    [
        ("9.0", None),
        ("8.0", None),
        ("10.3", None),
        ("7.5", "needs a GPU of compute capability 8.0 or later; Some GPU has 7.5"),
        ("gfx942", "needs an NVIDIA GPU, not Some GPU"),
        ("", "needs an NVIDIA GPU, not Some GPU"),
    ],
)
def test_gpus(monkeypatch, capability, reason):
    device = SimpleNamespace(compute_capability=capability, device_kind="Some GPU")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert cudnn.refusal(16, jnp.bfloat16) == reason
