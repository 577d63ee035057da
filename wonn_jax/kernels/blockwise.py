"""Attention with memory linear in the tokens, in pure JAX.

The heads of all examples are processed one after the other: several at a time if the sequence is
short, and in blocks of queries if it is long. How many logits are made at a time is bounded, see
`Bounds` (a block has `MIN_BLOCK_ROWS` queries at least, however many keys there are). The
derivative is written by hand: the forward pass stores the output and the log-sum-exp, and the
backward pass recomputes the weights.

On a CPU the logits of one head of 900 tokens stay in the cache, which those of a whole batch do
not. A training step (width 32, 4 heads, remat=1) takes 1.0 of its time with plain attention at 36
tokens, 0.78 at 64 and 0.68 at 100; attention alone takes a third to a quarter at 900. Alternatives
that were slower: always one head at a time (by a third at 36 tokens, a seventh at 64); all heads of
the batch at once (a twentieth at 100); the layout `[tokens, width]`, where two products of the
derivative contract rows (a tenth at 36 tokens); a product that transposes q as it reads it (a
twentieth).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from wonn_jax.kernels.recompute import largest_divisor
from wonn_jax.parallel.placement import target

RESIDUALS = ("attention_output", "attention_logsumexp")
"""Names of what the forward pass stores for the derivative, for a `jax.checkpoint` policy."""


class Bounds(NamedTuple):
    """Logits that are made at a time.

    group: of whole heads that are processed together.
    block: of one head; one with more is processed in blocks of queries.
    """

    group: int
    block: int


CACHED = Bounds(group=2**15, block=2**20)
"""128 KiB in float32, the cache of a CPU core, and 4 MiB."""

LAUNCHED = Bounds(group=2**26, block=2**26)
"""On a GPU, 256 MiB in float32: every turn of a loop launches kernels, and these have to be long.

A training step of ImageNet-100 compiled for an H100, 512 heads of 784 tokens in float32
(`python -m experiments.gpu_check --cards imagenet100:trig-128 --gpus h100 --set
model.attention=blockwise`, this bound varied; 26 November 2026):

| logits at a time | kernels | moved, GB | temporaries, GB | step, ms (estimate) |
|---|---:|---:|---:|---:|
| 2**20: one head | 370,693 | 767 | 4.8 | 233 |
| 2**22 | 82,748 | 653 | 4.8 | 199 |
| 2**24 | 22,268 | 640 | 4.8 | 195 |
| 2**26 | 7,148 | 640 | 5.0 | 195 |
| 2**28 | 3,332 | 640 | 6.0 | 195 |
| `plain`: all | 2,311 | 642 | 6.6 | 196 |
"""

MIN_BLOCK_ROWS = 64
"""Queries in a block, at least, however many keys there are: thinner products are slow."""


class Tiling(NamedTuple):
    """How the operands are divided.

    batch, heads: examples, and heads of each; `batch · heads` heads in all.
    together: heads that are processed at a time.
    rows: queries in a block.
    """

    batch: int
    heads: int
    together: int
    rows: int


def blockwise_attention(
    query: Array, key: Array, value: Array, mask: Array | None, platform: str | None = None
) -> Array:
    """See `wonn_jax.kernels.attention.attention`; `[batch, tokens, heads, head_width]` each."""
    batch, tokens, heads, _ = query.shape
    tiling = choose_tiling(batch, heads, tokens, platform)
    q, k, v = map(fold_heads, (query, key, value))
    return unfold_heads(_attend(q, k, v, mask, tiling), batch)


def fold_heads(x: Array) -> Array:
    """`[batch, tokens, heads, head_width]` → `[batch · heads, head_width, tokens]`.

    Channels before tokens, so that no product contracts the rows of a tokens × tokens array.
    """
    batch, tokens, heads, width = x.shape
    return x.transpose(0, 2, 3, 1).reshape(batch * heads, width, tokens)


def unfold_heads(x: Array, batch: int) -> Array:
    """The inverse of `fold_heads`."""
    rows, width, tokens = x.shape
    return x.reshape(batch, rows // batch, width, tokens).transpose(0, 3, 1, 2)


def choose_tiling(batch: int, heads: int, tokens: int, platform: str | None = None) -> Tiling:
    """Several heads, one head, or blocks of one, within the bounds of the platform.

    Args:
      batch, heads, tokens: of the operands.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    bounds = LAUNCHED if target(platform) == "gpu" else CACHED
    together = largest_divisor(batch * heads, bounds.group // tokens**2)
    # As few blocks as the bound allows, of sizes as equal as possible.
    blocks = -(-tokens // max(MIN_BLOCK_ROWS, bounds.block // tokens))
    return Tiling(batch, heads, together, -(-tokens // blocks))


def masked_logit(dtype) -> float:
    """The logit of a masked key: finite, so that a query with no allowed key gives no NaN."""
    return 0.5 * float(jnp.finfo(dtype).min)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: Array, k: Array, v: Array, mask: Array | None, tiling: Tiling) -> Array:
    """q, k, v and the result `[batch · heads, width, tokens]`."""
    return attend(q, k, v, mask, tiling)[0]


def _map(function, tiling: Tiling, *operands: Array):
    """`lax.map` over heads; the first argument of `function` is the index of the head."""
    indices = jnp.arange(tiling.batch * tiling.heads)
    # With a batch size of 1 the product would still be a batched one, which is slower.
    size = tiling.together if tiling.together > 1 else None
    return jax.lax.map(lambda args: function(*args), (indices, *operands), batch_size=size)


def _blocks(x: Array, rows: int) -> Array:
    """`[..., tokens]` → `[blocks, ..., rows]`, padded with 0 beyond the last token."""
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % rows)])
    return jnp.moveaxis(x.reshape(*x.shape[:-1], -1, rows), -2, 0)


def _unblock(x: Array, tokens: int) -> Array:
    """The inverse of `_blocks`."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)[..., :tokens]


def _logits(
    q: Array, k: Array, mask: Array | None, index: Array, block: Array | int, tiling: Tiling
) -> tuple[Array, Array | None]:
    """Masked logits `[rows, tokens]` of a block of queries of one head, and the mask used."""
    scale = 1.0 / math.sqrt(q.shape[0])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    # The barrier makes XLA write the transpose out; fused into the product it is slower.
    rows = jax.lax.optimization_barrier((q * jnp.asarray(scale, q.dtype)).T)
    logits = jnp.matmul(rows, k, preferred_element_type=wide)
    if mask is None:
        return logits, None
    example, head = index // tiling.heads, index % tiling.heads
    seen = mask[jnp.minimum(example, mask.shape[0] - 1), jnp.minimum(head, mask.shape[1] - 1)]
    if tiling.rows < k.shape[1]:
        row = jnp.arange(tiling.rows) + block * tiling.rows
        seen = seen.at[row].get(mode="clip")  # rows beyond the last token are cut off later
    # If no key is allowed, all logits are 0 rather than `masked_logit`: a log-sum-exp of that
    # magnitude would not be exact.
    hidden = jnp.where(seen.any(axis=1, keepdims=True), masked_logit(wide), 0)
    return jnp.where(seen, logits, hidden), seen


def attend(q: Array, k: Array, v: Array, mask: Array | None, tiling: Tiling) -> tuple[Array, Array]:
    """Attention and the log-sum-exp of its logits.

    Args:
      q, k, v: `[batch · heads, width, tokens]`.
      mask: as in `wonn_jax.kernels.attention.attention`.
      tiling: from `choose_tiling`.

    Returns:
      The output, in the shape and dtype of q, and the log-sum-exp `[batch · heads, tokens]` in
      float32 at least.
    """
    tokens = q.shape[-1]

    def rows(index: Array, block: Array | int, q: Array, k: Array, v: Array):
        logits, _ = _logits(q, k, mask, index, block, tiling)
        top = logits.max(axis=1, keepdims=True)
        weights = jnp.exp(logits - top)
        total = weights.sum(axis=1, keepdims=True)
        out = jnp.matmul(weights.astype(v.dtype), v.T, preferred_element_type=weights.dtype)
        return (out / total).T.astype(q.dtype), (top + jnp.log(total))[:, 0]

    def head(index: Array, q: Array, k: Array, v: Array):
        if tiling.rows == tokens:
            return rows(index, 0, q, k, v)
        q = _blocks(q, tiling.rows)
        out = jax.lax.map(lambda x: rows(index, x[0], x[1], k, v), (jnp.arange(len(q)), q))
        return jax.tree.map(lambda x: _unblock(x, tokens), out)

    return _map(head, tiling, q, k, v)


def name_residuals(out: Array, logsumexp: Array) -> tuple[Array, Array]:
    """Gives both arrays their names in `RESIDUALS`."""
    return checkpoint_name(out, RESIDUALS[0]), checkpoint_name(logsumexp, RESIDUALS[1])


def _forward_rule(q: Array, k: Array, v: Array, mask: Array | None, tiling: Tiling):
    out, logsumexp = name_residuals(*attend(q, k, v, mask, tiling))
    return out, (q, k, v, mask, out, logsumexp)


def _backward_rule(tiling: Tiling, residuals, cotangent: Array):
    q, k, v, mask, out, logsumexp = residuals
    return (*attend_gradient(q, k, v, mask, tiling, out, logsumexp, cotangent), None)


def attend_gradient(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    tiling: Tiling,
    out: Array,
    logsumexp: Array,
    cotangent: Array,
) -> tuple[Array, Array, Array]:
    """Gradients with respect to q, k and v.

    `out` and `logsumexp` may be over more keys than those in `k`, as in ring attention; the
    results are then the contributions of these keys and values.
    """
    tokens = q.shape[-1]
    scale = 1.0 / math.sqrt(q.shape[1])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    dot = functools.partial(jnp.matmul, preferred_element_type=wide)

    def rows(index: Array, block: Array | int, of_queries, k: Array, v: Array):
        """The gradient of a block of queries, and its contributions to those of keys and values."""
        q, out, logsumexp, grad = of_queries
        logits, seen = _logits(q, k, mask, index, block, tiling)
        weights = jnp.exp(logits - logsumexp[:, None])
        grad_weights = dot(grad.T, v)
        # Σ_j p_ij (∂L/∂p_ij) equals dO · O, which needs no second pass over the weights.
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

    def head(index: Array, k: Array, v: Array, *of_queries: Array):
        if tiling.rows == tokens:
            grad_q, grad_k, grad_v = rows(index, 0, of_queries, k, v)
        else:
            blocks = [_blocks(x, tiling.rows) for x in of_queries]

            def add(sums, x):
                block, of_queries = x
                grad_q, *more = rows(index, block, of_queries, k, v)
                return jax.tree.map(jnp.add, sums, more), grad_q

            # Start from the first block, not from zeros: under `shard_map` zeros would not vary
            # over the mesh axes, and the types of the carry would differ.
            first, *sums = rows(index, 0, [x[0] for x in blocks], k, v)
            rest = (jnp.arange(1, len(blocks[0])), [x[1:] for x in blocks])
            (grad_k, grad_v), grad_q = jax.lax.scan(add, sums, rest)
            grad_q = _unblock(jnp.concatenate([first[None], grad_q]), tokens)
        return grad_q, grad_k.astype(k.dtype), grad_v.astype(v.dtype)

    return _map(head, tiling, k, v, q, out, logsumexp, cotangent)


_attend.defvjp(_forward_rule, _backward_rule)
