"""Ring attention: exact attention over tokens that are split over devices.

Every device keeps its queries. It attends to the keys and values that it holds, passes these on to
the next device and receives those of the previous one, until it has attended to all of them; the
partial results are combined by their log-sum-exps (Liu et al., Ring Attention, arXiv 2310.01889).
In the backward pass the gradients of keys and values travel along with them, and are back on their
own device after a full turn. A device stores its own operands, its output and the log-sum-exp; it
never holds all tokens, nor a tokens × tokens array of more than one shard.

The turns are unrolled rather than looped over, so that a device can compute on one shard while the
next is being transferred.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels import blockwise
from wonn_jax.kernels.blockwise import Tiling, fold_heads, name_residuals, unfold_heads
from wonn_jax.parallel.grid import ring_shifted


def ring_attention(
    query: Array,
    key: Array,
    value: Array,
    axis_name: str,
    implementation: str,
    platform: str | None = None,
) -> Array:
    """`wonn_jax.kernels.attention.attention` over the tokens of all devices along a mesh axis.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`, this device's shard.
      axis_name: mesh axis over which the tokens are split in equal parts, inside `shard_map`.
      implementation: of the attention to one shard, 'plain' or 'blockwise'.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`, for this device's queries.
    """
    batch, tokens, heads, _ = query.shape
    # The tiling of one shard; None for no tiling.
    tiling = None
    if implementation == "blockwise":
        tiling = blockwise.choose_tiling(batch, heads, tokens, platform)
    q, k, v = map(fold_heads, (query, key, value))
    return unfold_heads(_ring(q, k, v, axis_name, tiling), batch)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _ring(q: Array, k: Array, v: Array, axis_name: str, tiling: Tiling | None) -> Array:
    """q, k, v and the result `[batch · heads, width, tokens]`."""
    return _forward(q, k, v, axis_name, tiling)[0]


def _forward(q: Array, k: Array, v: Array, axis_name: str, tiling: Tiling | None):
    out, logsumexp = _attend_to_shard(q, k, v, tiling)
    out = out.astype(logsumexp.dtype)
    for _ in range(jax.lax.axis_size(axis_name) - 1):
        k, v = (ring_shifted(x, axis_name) for x in (k, v))
        shard_out, shard_logsumexp = _attend_to_shard(q, k, v, tiling)
        total = jnp.logaddexp(logsumexp, shard_logsumexp)
        out = out * _weight(logsumexp, total) + shard_out * _weight(shard_logsumexp, total)
        logsumexp = total
    return out.astype(q.dtype), logsumexp


def _weight(logsumexp: Array, total: Array) -> Array:
    return jnp.exp(logsumexp - total)[:, None, :]


def _forward_rule(q: Array, k: Array, v: Array, axis_name: str, tiling: Tiling | None):
    out, logsumexp = name_residuals(*_forward(q, k, v, axis_name, tiling))
    return out, (q, k, v, out, logsumexp)


def _backward_rule(axis_name: str, tiling: Tiling | None, residuals, cotangent: Array):
    q, k, v, out, logsumexp = residuals

    def gradients(k: Array, v: Array) -> list[Array]:
        grads = _shard_gradients(q, k, v, tiling, out, logsumexp, cotangent)
        return [x.astype(logsumexp.dtype) for x in grads]

    grad_q, grad_k, grad_v = gradients(k, v)
    for _ in range(jax.lax.axis_size(axis_name) - 1):
        k, v, grad_k, grad_v = (ring_shifted(x, axis_name) for x in (k, v, grad_k, grad_v))
        more_q, more_k, more_v = gradients(k, v)
        grad_q, grad_k, grad_v = grad_q + more_q, grad_k + more_k, grad_v + more_v
    # The last shift returns them to the device that owns these keys and values.
    grad_k, grad_v = (ring_shifted(x, axis_name) for x in (grad_k, grad_v))
    return grad_q.astype(q.dtype), grad_k.astype(k.dtype), grad_v.astype(v.dtype)


_ring.defvjp(_forward_rule, _backward_rule)


# --- One shard: this device's queries, the keys and values of one device --------------------------


def _attend_to_shard(q: Array, k: Array, v: Array, tiling: Tiling | None) -> tuple[Array, Array]:
    """Output and log-sum-exp."""
    if tiling is not None:
        return blockwise.attend(q, k, v, None, tiling)
    logits = _logits(q, k)
    logsumexp = jax.nn.logsumexp(logits, axis=-1)
    weights = jnp.exp(logits - logsumexp[..., None]).astype(v.dtype)
    return _product("sqk,sdk->sdq", weights, v), logsumexp


def _shard_gradients(
    q: Array,
    k: Array,
    v: Array,
    tiling: Tiling | None,
    out: Array,
    logsumexp: Array,
    cotangent: Array,
) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v; `out` and `logsumexp` are those over all shards."""
    if tiling is not None:
        return blockwise.attend_gradient(q, k, v, None, tiling, out, logsumexp, cotangent)
    weights = jnp.exp(_logits(q, k) - logsumexp[..., None])
    correction = (cotangent.astype(weights.dtype) * out.astype(weights.dtype)).sum(1)
    grad_weights = _product("sdq,sdk->sqk", cotangent, v)
    grad_logits = weights * (grad_weights - correction[..., None]) / math.sqrt(q.shape[1])
    grad_logits = grad_logits.astype(q.dtype)
    return (
        _product("sqk,sdk->sdq", grad_logits, k),
        _product("sqk,sdq->sdk", grad_logits, q),
        _product("sqk,sdq->sdk", weights.astype(cotangent.dtype), cotangent),
    )


def _logits(q: Array, k: Array) -> Array:
    scale = jnp.asarray(1.0 / math.sqrt(q.shape[1]), q.dtype)
    return _product("sdq,sdk->sqk", q * scale, k)


def _product(equation: str, x: Array, y: Array) -> Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum(equation, x, y, preferred_element_type=wide)
