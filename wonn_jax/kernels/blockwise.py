"""Attention with memory linear in the tokens, in pure JAX.

Heads go one by one, on short sequences a few of the batch together, on long ones in blocks of
queries, so that no array of tokens × tokens exists for more than one head, or of more than
`AT_ONCE` numbers (`ROWS` × tokens if that is more). The derivative is written here: it keeps the
output and the log-sum-exp, and recomputes the weights.

On a CPU the logits of a head of 900 tokens stay in the cache, which those of a whole batch do
not. A training step there takes, in units of the same with plain attention (width 32, 4 heads,
remat=1): 1.0 at 36 tokens, 0.78 at 64, 0.68 at 100; attention alone a third to a quarter at 900.
Slower there were: strictly one head at a time (a third at 36 tokens, a seventh at 64); all heads
of the batch at once (a twentieth at 100); operands laid out `[tokens, width]`, where two products
of the derivative contract rows (a tenth at 36 tokens); a product that transposes q on its way
(a twentieth).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from wonn_jax.kernels.recompute import largest_divisor

RESIDUALS = ("attention_output", "attention_logsumexp")
"""Names of what is kept for the derivative, for a `jax.checkpoint` policy."""

TOGETHER = 2**15
"""Logits up to which whole heads are taken together: 128 KiB in float32, a CPU core's cache."""

AT_ONCE = 2**20
"""Logits of one head beyond which its queries are taken in blocks: 4 MiB in float32."""

ROWS = 64
"""Queries of a block at least, however many the keys: thinner products are slow."""


class Shape(NamedTuple):
    """How the operands are cut.

    batch, heads: examples and heads, `batch · heads` systems in all.
    together: systems that are worked on together.
    rows: queries in a block.
    """

    batch: int
    heads: int
    together: int
    rows: int


def blockwise_attention(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    """As `wonn_jax.kernels.attention.attention`: `[batch, tokens, heads, head_width]` each."""
    batch, tokens, heads, _ = query.shape
    q, k, v = map(to_systems, (query, key, value))
    return from_systems(_attend(q, k, v, mask, cut(batch, heads, tokens)), batch)


def to_systems(x: Array) -> Array:
    """`[batch, tokens, heads, head_width]` → `[batch · heads, head_width, tokens]`.

    Channel-major, so that no product has to contract rows of an array of tokens × tokens.
    """
    batch, tokens, heads, width = x.shape
    return x.transpose(0, 2, 3, 1).reshape(batch * heads, width, tokens)


def from_systems(x: Array, batch: int) -> Array:
    """The inverse of `to_systems`."""
    systems, width, tokens = x.shape
    return x.reshape(batch, systems // batch, width, tokens).transpose(0, 3, 1, 2)


def cut(batch: int, heads: int, tokens: int) -> Shape:
    """The whole of one head up to `AT_ONCE` logits, several up to `TOGETHER`."""
    together = largest_divisor(batch * heads, TOGETHER // tokens**2)
    # As few blocks as the bound allows, as equal as possible.
    blocks = -(-tokens // max(ROWS, AT_ONCE // tokens))
    return Shape(batch, heads, together, -(-tokens // blocks))


def masked_logit(dtype) -> float:
    """A logit for what must not be seen: finite, so that a row of nothing else is no NaN."""
    return 0.5 * float(jnp.finfo(dtype).min)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: Array, k: Array, v: Array, mask: Array | None, shape: Shape) -> Array:
    """q, k, v and the result `[batch · heads, width, tokens]`."""
    return attend(q, k, v, mask, shape)[0]


def _map(function, shape: Shape, *operands: Array):
    """`lax.map` over systems, with the number of each as first argument."""
    numbers = jnp.arange(shape.batch * shape.heads)
    # A batch of one would still be a batched product, which is slower than a plain one.
    size = shape.together if shape.together > 1 else None
    return jax.lax.map(lambda args: function(*args), (numbers, *operands), batch_size=size)


def _blocks(x: Array, rows: int) -> Array:
    """`[..., tokens]` → `[blocks, ..., rows]`, 0 beyond the last token."""
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % rows)])
    return jnp.moveaxis(x.reshape(*x.shape[:-1], -1, rows), -2, 0)


def _unblock(x: Array, tokens: int) -> Array:
    """The inverse of `_blocks`."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :tokens]


def _logits(
    q: Array, k: Array, mask: Array | None, number: Array, block: Array | int, shape: Shape
) -> tuple[Array, Array | None]:
    """Masked logits `[rows, tokens]` of a block of queries of one system, and what is seen."""
    scale = 1.0 / math.sqrt(q.shape[0])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    # The barrier has the transpose written out; fused into the product it is slower.
    rows = jax.lax.optimization_barrier((q * jnp.asarray(scale, q.dtype)).T)
    logits = jnp.matmul(rows, k, preferred_element_type=wide)
    if mask is None:
        return logits, None
    example, head = number // shape.heads, number % shape.heads
    seen = mask[jnp.minimum(example, mask.shape[0] - 1), jnp.minimum(head, mask.shape[1] - 1)]
    if shape.rows < k.shape[1]:
        row = jnp.arange(shape.rows) + block * shape.rows
        seen = seen.at[row].get(mode="clip")  # what stands beyond the last token is cut off again
    # Not the least logit in a row of nothing else: a log-sum-exp near it is not exact.
    hidden = jnp.where(seen.any(axis=1, keepdims=True), masked_logit(wide), 0)
    return jnp.where(seen, logits, hidden), seen


def attend(q: Array, k: Array, v: Array, mask: Array | None, shape: Shape) -> tuple[Array, Array]:
    """Attention and the log-sum-exp of its logits.

    Args:
      q, k, v: `[batch · heads, width, tokens]`.
      mask: as in `wonn_jax.kernels.attention.attention`.
      shape: from `cut`.

    Returns:
      The output, as q, and `[batch · heads, tokens]` in float32 at least.
    """
    tokens = q.shape[-1]

    def rows(number: Array, block: Array | int, q: Array, k: Array, v: Array):
        logits, _ = _logits(q, k, mask, number, block, shape)
        top = logits.max(axis=1, keepdims=True)
        weights = jnp.exp(logits - top)
        total = weights.sum(axis=1, keepdims=True)
        out = jnp.matmul(weights.astype(v.dtype), v.T, preferred_element_type=weights.dtype)
        return (out / total).T.astype(q.dtype), (top + jnp.log(total))[:, 0]

    def system(number: Array, q: Array, k: Array, v: Array):
        if shape.rows == tokens:
            return rows(number, 0, q, k, v)
        q = _blocks(q, shape.rows)
        out = jax.lax.map(lambda x: rows(number, x[0], x[1], k, v), (jnp.arange(len(q)), q))
        return jax.tree.map(lambda x: _unblock(x, tokens), out)

    return _map(system, shape, q, k, v)


def named(out: Array, logsumexp: Array) -> tuple[Array, Array]:
    """The two by their names in `RESIDUALS`."""
    return checkpoint_name(out, RESIDUALS[0]), checkpoint_name(logsumexp, RESIDUALS[1])


def _forward_rule(q: Array, k: Array, v: Array, mask: Array | None, shape: Shape):
    out, logsumexp = named(*attend(q, k, v, mask, shape))
    return out, (q, k, v, mask, out, logsumexp)


def _backward_rule(shape: Shape, residuals, cotangent: Array):
    q, k, v, mask, out, logsumexp = residuals
    return (*attend_gradient(q, k, v, mask, shape, out, logsumexp, cotangent), None)


def attend_gradient(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    shape: Shape,
    out: Array,
    logsumexp: Array,
    cotangent: Array,
) -> tuple[Array, Array, Array]:
    """Gradients with respect to q, k and v.

    With the output and the log-sum-exp over more keys than these, what these contribute.
    """
    tokens = q.shape[-1]
    scale = 1.0 / math.sqrt(q.shape[1])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    dot = functools.partial(jnp.matmul, preferred_element_type=wide)

    def rows(number: Array, block: Array | int, of_queries, k: Array, v: Array):
        """Of a block of queries: its gradient, and what it adds to those of keys and values."""
        q, out, logsumexp, grad = of_queries
        logits, seen = _logits(q, k, mask, number, block, shape)
        weights = jnp.exp(logits - logsumexp[:, None])
        grad_weights = dot(grad.T, v)
        # Σ_j p_ij (∂L/∂p_ij) without a second pass over the weights: it is dO · O.
        correction = (grad.astype(wide) * out.astype(wide)).sum(axis=0)
        grad_logits = weights * (grad_weights - correction[:, None]) * scale
        if seen is not None:
            grad_logits = jnp.where(seen, grad_logits, 0)
        grad_logits = grad_logits.astype(q.dtype)
        return (
            dot(grad_logits, k.T).T.astype(q.dtype),
            dot(q, grad_logits),
            dot(grad, weights.astype(grad.dtype)),
        )

    def system(number: Array, k: Array, v: Array, *of_queries: Array):
        if shape.rows == tokens:
            grad_q, grad_k, grad_v = rows(number, 0, of_queries, k, v)
        else:
            blocks = [_blocks(x, shape.rows) for x in of_queries]

            def add(sums, x):
                block, of_queries = x
                grad_q, *more = rows(number, block, of_queries, k, v)
                return jax.tree.map(jnp.add, sums, more), grad_q

            # From the first block, not from zeros: under `shard_map` these would be of another
            # type.
            first, *sums = rows(number, 0, [x[0] for x in blocks], k, v)
            rest = (jnp.arange(1, len(blocks[0])), [x[1:] for x in blocks])
            (grad_k, grad_v), grad_q = jax.lax.scan(add, sums, rest)
            grad_q = _unblock(jnp.concatenate([first[None], grad_q]), tokens)
        return grad_q, grad_k.astype(k.dtype), grad_v.astype(v.dtype)

    return _map(system, shape, k, v, q, out, logsumexp, cotangent)


_attend.defvjp(_forward_rule, _backward_rule)
