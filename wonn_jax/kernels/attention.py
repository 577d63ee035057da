"""Scaled dot-product attention behind one signature, with several kernels.

- `plain`: as it is written down, with a tokens × tokens array for every example and head.
- `blockwise`: memory linear in the tokens, in pure JAX, see `wonn_jax.kernels.blockwise`.
- `cudnn`: NVIDIA's fused kernel, in half precision, through `jax.nn.dot_product_attention`.
- `pallas`: a fused kernel for TPUs, see `wonn_jax.kernels.pallas`.
- `auto`: what `choose` picks for the backend and the shapes.

All compute the same function; `plain` is the truth they are tested against. Where the tokens are
split over devices, `plain` and `blockwise` go round them, see `wonn_jax.kernels.ring`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.blockwise import blockwise_attention, masked_logit
from wonn_jax.kernels.ring import ring_attention

IMPLEMENTATIONS = ("auto", "plain", "blockwise", "cudnn", "pallas")

AT_ONCE = 2**28
"""Logits that `auto` lets `plain` hold at a time on an accelerator: 1 GiB in float32."""

FEWEST = 256
"""Tokens from which on `auto` takes `pallas`."""


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    implementation: str = "auto",
    ring_axis: str | None = None,
) -> Array:
    """softmax(q kᵀ / √d) v, with logits and softmax in float32 at least.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`.
      mask: booleans `[batch | 1, heads | 1, tokens, tokens]`, True where a query (third
        axis) may see a key (fourth). A query that may see nothing gets the mean of all values.
      implementation: one of `IMPLEMENTATIONS`.
      ring_axis: mesh axis over which the tokens are split in equal parts, inside `shard_map`;
        the operands are then this device's. There can be no mask.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.

    Raises:
      ValueError: an unknown implementation, or one that cannot take these arrays here.
    """
    masked, split = mask is not None, ring_axis is not None
    if masked and split:
        raise ValueError("attention over tokens that are split over devices takes no mask.")
    if implementation == "auto":
        implementation = choose(query.shape, query.dtype, masked=masked, split=split)
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"attention implementation {implementation!r} is unknown; it must be one of "
            f"{', '.join(IMPLEMENTATIONS)}."
        )
    backend, width = jax.default_backend(), query.shape[-1]
    if reason := refusal(implementation, backend, width, query.dtype, masked=masked, split=split):
        raise ValueError(
            f"attention implementation {implementation!r} {reason}; use 'blockwise' or 'auto'."
        )
    if ring_axis is not None:
        return ring_attention(query, key, value, ring_axis, implementation)
    if implementation == "blockwise":
        return blockwise_attention(query, key, value, mask)
    if implementation == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")
    if implementation == "pallas":
        from wonn_jax.kernels.pallas import pallas_attention

        return pallas_attention(query, key, value)
    return _plain(query, key, value, mask)


def choose(shape: tuple[int, ...], dtype, *, masked: bool = False, split: bool = False) -> str:
    """The kernel of `auto` for `[batch, tokens, heads, head_width]` on the default backend.

    On a CPU `blockwise`. On a GPU `cudnn` where it can. On a TPU `pallas` where it can, from 256
    tokens on: by the compiler's schedules for a TPU v5e it takes a third of the time of `plain`
    at 900 tokens, and three times as long at 128 (`experiments/benchmarks/tpu_attention.py`).
    Otherwise `plain` while its logits take up to 1 GiB, and `blockwise` beyond.
    """
    backend = jax.default_backend()
    batch, tokens, heads, width = shape
    fused = {"gpu": "cudnn", "tpu": "pallas"}.get(backend)
    enough = tokens >= (FEWEST if fused == "pallas" else 1)
    if fused and enough:
        reason = refusal(fused, backend, width, dtype, masked=masked, split=split)
        if reason is None:
            return fused
    small = batch * heads * tokens**2 <= AT_ONCE
    return "plain" if small and backend != "cpu" else "blockwise"


def refusal(
    implementation: str,
    backend: str,
    width: int,
    dtype,
    *,
    masked: bool = False,
    split: bool = False,
) -> str | None:
    """Why a kernel cannot be used, to follow its name; None where it can.

    Args:
      implementation: one of `IMPLEMENTATIONS`.
      backend: such as `jax.default_backend()`.
      width: of one head.
      dtype: of the operands.
      masked: whether there is a mask.
      split: whether the tokens are split over devices.
    """
    if split and implementation in ("cudnn", "pallas"):
        return "cannot go round a ring of devices"
    if implementation == "pallas":
        from wonn_jax.kernels import pallas as tpu_attention

        return tpu_attention.refusal(width, dtype, masked=masked, backend=backend)
    if implementation == "cudnn":
        if backend != "gpu":
            return f"needs an NVIDIA GPU, not a {backend.upper()}"
        if dtype not in (jnp.bfloat16, jnp.float16):
            return f"takes bfloat16 or float16, not {jnp.dtype(dtype).name}"
        if width % 8 or width > 128:
            return f"takes heads of a multiple of 8 up to 128 wide, not {width}"
    return None


def _plain(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    # Not jax.nn.dot_product_attention: that one computes logits of float64 in float32.
    wide = jnp.promote_types(query.dtype, jnp.float32)
    query = query * jnp.asarray(1.0 / math.sqrt(query.shape[-1]), query.dtype)
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=wide)
    if mask is not None:
        logits = jnp.where(mask, logits, masked_logit(wide))
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value, preferred_element_type=wide).astype(
        query.dtype
    )
