"""Scaled dot-product attention behind one signature, with several kernels.

- `plain`: the formula as written, with a tokens × tokens array for every example and head.
- `blockwise`: memory linear in the tokens, in pure JAX, see `wonn_jax.kernels.blockwise`.
- `cudnn`: NVIDIA's fused kernels, in half precision, see `wonn_jax.kernels.cudnn`.
- `pallas`: a fused kernel for TPUs, see `wonn_jax.kernels.pallas`.
- `auto`: whatever `choose` picks for the platform and the shapes.

All compute the same function; `plain` is the reference that the others are tested against. If the
tokens are split over devices, `plain` and `blockwise` run as ring attention, see
`wonn_jax.kernels.ring`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels import cudnn, pallas
from wonn_jax.kernels.blockwise import blockwise_attention, masked_logit
from wonn_jax.kernels.ring import ring_attention
from wonn_jax.parallel.placement import target

IMPLEMENTATIONS = ("auto", "plain", "blockwise", "cudnn", "pallas")

MAX_PLAIN_LOGITS = 2**28
"""`auto` takes `plain` on an accelerator up to so many logits: 1 GiB in float32."""

MIN_PALLAS_TOKENS = 256
"""`auto` takes `pallas` from so many tokens on."""


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    implementation: str = "auto",
    ring_axis: str | None = None,
    platform: str | None = None,
) -> Array:
    """softmax(q kᵀ / √d) v, with logits and softmax in float32 at least.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`.
      mask: booleans `[batch | 1, heads | 1, tokens, tokens]`, True where a query (third axis) may
        attend to a key (fourth axis). A query with no allowed key gets the mean of all values (with
        `cudnn` in float16 a weighted mean).
      implementation: one of `IMPLEMENTATIONS`.
      ring_axis: mesh axis over which the tokens are split in equal parts, inside `shard_map`; the
        operands are then this device's part, and there can be no mask.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.

    Raises:
      ValueError: the implementation is unknown, or does not support these arrays or the platform.
    """
    masked, split = mask is not None, ring_axis is not None
    if masked and split:
        raise ValueError("attention over tokens that are split over devices takes no mask.")
    platform = target(platform)
    if implementation == "auto":
        implementation = choose(
            query.shape, query.dtype, masked=masked, split=split, platform=platform
        )
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"attention implementation {implementation!r} is unknown; it must be one of "
            f"{', '.join(IMPLEMENTATIONS)}."
        )
    width = query.shape[-1]
    if reason := refusal(implementation, platform, width, query.dtype, masked=masked, split=split):
        raise ValueError(
            f"attention implementation {implementation!r} {reason}; use 'blockwise' or 'auto'."
        )
    with jax.named_scope(f"attention-{'ring-' if split else ''}{implementation}"):  # in profiles
        if ring_axis is not None:
            return ring_attention(query, key, value, ring_axis, implementation, platform)
        if implementation == "blockwise":
            return blockwise_attention(query, key, value, mask, platform)
        if implementation == "cudnn":
            return cudnn.cudnn_attention(query, key, value, mask)
        if implementation == "pallas":
            return pallas.pallas_attention(query, key, value)
        return _plain(query, key, value, mask)


def choose(
    shape: tuple[int, ...],
    dtype,
    *,
    masked: bool = False,
    split: bool = False,
    platform: str | None = None,
) -> str:
    """The implementation that `auto` stands for.

    On a CPU it is `blockwise`, on a GPU `cudnn` and on a TPU `pallas` if they support the operands.
    `pallas` needs 256 tokens to be worth it: by the compiler's schedules for a TPU v5e it takes a
    third of the time of `plain` at 900 tokens, but three times as long at 128
    (`experiments/benchmarks/tpu_attention.py`). In all other cases `plain` is chosen if its logits
    take at most 1 GiB, and `blockwise` otherwise; on a GPU, where that makes 256 MiB of them at a
    time, it costs no more than `plain` would (see `blockwise.LAUNCHED`).

    Args:
      shape: `[batch, tokens, heads, head_width]` of the query.
      dtype: of the operands.
      masked: whether there is a mask.
      split: whether the tokens are split over devices.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    platform = target(platform)
    batch, tokens, heads, width = shape
    fused = {"gpu": "cudnn", "tpu": "pallas"}.get(platform)
    enough = tokens >= (MIN_PALLAS_TOKENS if fused == "pallas" else 1)
    if fused and enough:
        reason = refusal(fused, platform, width, dtype, masked=masked, split=split)
        if reason is None:
            return fused
    small = batch * heads * tokens**2 <= MAX_PLAIN_LOGITS
    return "plain" if small and platform != "cpu" else "blockwise"


def refusal(
    implementation: str,
    platform: str,
    width: int,
    dtype,
    *,
    masked: bool = False,
    split: bool = False,
) -> str | None:
    """Why an implementation cannot be used, as a clause that follows its name; None if it can.

    Args:
      implementation: one of `IMPLEMENTATIONS`.
      platform: 'cpu', 'gpu' or 'tpu'.
      width: of one head.
      dtype: of the operands.
      masked: whether there is a mask.
      split: whether the tokens are split over devices.
    """
    if split and implementation in ("cudnn", "pallas"):
        return "cannot go round a ring of devices"
    if implementation == "pallas":
        return pallas.refusal(width, dtype, masked=masked, platform=platform)
    if implementation == "cudnn":
        return cudnn.refusal(width, dtype, platform=platform)
    return None


def _plain(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    # Not jax.nn.dot_product_attention, which computes the logits of float64 operands in float32.
    wide = jnp.promote_types(query.dtype, jnp.float32)
    query = query * jnp.asarray(1.0 / math.sqrt(query.shape[-1]), query.dtype)
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=wide)
    if mask is not None:
        logits = jnp.where(mask, logits, masked_logit(wide))
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value, preferred_element_type=wide).astype(
        query.dtype
    )
