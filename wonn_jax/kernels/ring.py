"""Attention over tokens that are split over devices: keys and values go round the ring.

Every device keeps its queries. It attends to the keys and values it holds, passes them on to the
next device and receives those of the one before, until it has seen all; the parts are joined by
their log-sum-exps (Liu et al., Ring Attention, arXiv 2310.01889). In the backward pass the
gradients of keys and values travel along with them, and come home after a full turn. Kept are
the device's own operands, its output and the log-sum-exp: no device ever has all tokens, nor an
array of tokens × tokens of more than its share.

The turns are written out, not looped over: a device can compute with what it has while the next
part is on its way.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dist.grid import passed_on
from wonn_jax.kernels import blockwise
from wonn_jax.kernels.blockwise import from_systems, named, to_systems


def ring_attention(
    query: Array, key: Array, value: Array, axis_name: str, implementation: str
) -> Array:
    """As `kernels.attention.attention`, of the tokens of all devices of an axis of the mesh.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`, those of this device.
      axis_name: over which the tokens are split in equal parts, inside `shard_map`.
      implementation: of a part, 'plain' or 'blockwise'.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`, of this device's queries.
    """
    batch, tokens, heads, _ = query.shape
    # Blocks of one part; None for all of it at once.
    shape = blockwise.cut(batch, heads, tokens) if implementation == "blockwise" else None
    q, k, v = map(to_systems, (query, key, value))
    return from_systems(_ring(q, k, v, axis_name, shape), batch)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _ring(q: Array, k: Array, v: Array, axis_name: str, shape: blockwise.Shape | None) -> Array:
    """q, k, v and the result `[systems, width, tokens]`."""
    return _forward(q, k, v, axis_name, shape)[0]


def _forward(q: Array, k: Array, v: Array, axis_name: str, shape: blockwise.Shape | None):
    out, logsumexp = _part(q, k, v, shape)
    out = out.astype(logsumexp.dtype)
    for _ in range(jax.lax.axis_size(axis_name) - 1):
        k, v = (passed_on(x, axis_name) for x in (k, v))
        more, of_more = _part(q, k, v, shape)
        total = jnp.logaddexp(logsumexp, of_more)
        out = out * _share(logsumexp, total) + more * _share(of_more, total)
        logsumexp = total
    return out.astype(q.dtype), logsumexp


def _share(logsumexp: Array, total: Array) -> Array:
    return jnp.exp(logsumexp - total)[:, None, :]


def _forward_rule(q: Array, k: Array, v: Array, axis_name: str, shape: blockwise.Shape | None):
    out, logsumexp = named(*_forward(q, k, v, axis_name, shape))
    return out, (q, k, v, out, logsumexp)


def _backward_rule(axis_name: str, shape: blockwise.Shape | None, residuals, cotangent: Array):
    q, k, v, out, logsumexp = residuals

    def gradients(k: Array, v: Array) -> list[Array]:
        found = _part_gradient(q, k, v, shape, out, logsumexp, cotangent)
        return [x.astype(logsumexp.dtype) for x in found]

    grad_q, grad_k, grad_v = gradients(k, v)
    for _ in range(jax.lax.axis_size(axis_name) - 1):
        k, v, grad_k, grad_v = (passed_on(x, axis_name) for x in (k, v, grad_k, grad_v))
        more_q, more_k, more_v = gradients(k, v)
        grad_q, grad_k, grad_v = grad_q + more_q, grad_k + more_k, grad_v + more_v
    # Home, to the device whose keys and values these are.
    grad_k, grad_v = (passed_on(x, axis_name) for x in (grad_k, grad_v))
    return grad_q.astype(q.dtype), grad_k.astype(k.dtype), grad_v.astype(v.dtype)


_ring.defvjp(_forward_rule, _backward_rule)


# --- One part: own queries, somebody's keys and values --------------------------------------------


def _part(q: Array, k: Array, v: Array, shape: blockwise.Shape | None) -> tuple[Array, Array]:
    """Output and log-sum-exp."""
    if shape is not None:
        return blockwise.attend(q, k, v, None, shape)
    logits = _logits(q, k)
    logsumexp = jax.nn.logsumexp(logits, axis=-1)
    weights = jnp.exp(logits - logsumexp[..., None]).astype(v.dtype)
    return _product("sqk,sdk->sdq", weights, v), logsumexp


def _part_gradient(
    q: Array,
    k: Array,
    v: Array,
    shape: blockwise.Shape | None,
    out: Array,
    logsumexp: Array,
    cotangent: Array,
) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v; `out` and `logsumexp` are those of all parts."""
    if shape is not None:
        return blockwise.attend_gradient(q, k, v, None, shape, out, logsumexp, cotangent)
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


def _product(axes: str, x: Array, y: Array) -> Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum(axes, x, y, preferred_element_type=wide)
