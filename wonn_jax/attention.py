"""Scaled dot-product attention behind one signature, with several kernels.

- `plain`: as it is written down, with a tokens × tokens array for every example and head.
- `cudnn`: NVIDIA's fused kernel, through `jax.nn.dot_product_attention` (bfloat16, float16).
- `per_head`: head by head, on short sequences a few heads of the batch at a time, with a
  derivative of its own that keeps the output and the log-sum-exp and recomputes the weights.
  Memory is one tokens × tokens array, or `AT_ONCE` numbers, whatever the batch. On a CPU that
  stays in the cache, which the batched form does not: 3 to 4 times faster there at 900 tokens.
- `auto`: `per_head` on a CPU, else `plain`.

A training step on a CPU takes, in units of the same with `plain` (width 32, 4 heads, remat=1):
1.0 at 36 tokens, 0.78 at 64, 0.68 at 100. Slower there were: strictly one head at a time (a
third at 36 tokens, a seventh at 64); all heads of the batch at once (a twentieth at 100);
operands laid out `[tokens, width]`, where two products of the derivative contract rows (a tenth
at 36 tokens); a product that transposes q on its way (a twentieth).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

IMPLEMENTATIONS = ("auto", "plain", "cudnn", "per_head")
RESIDUALS = ("attention_output", "attention_logsumexp")
"""Names of what the `per_head` kernel keeps, for a `jax.checkpoint` policy."""

AT_ONCE = 2**15
"""Logits that `per_head` holds at a time where one head has fewer: 128 KiB in float32."""


def attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    implementation: str = "auto",
) -> Array:
    """softmax(q kᵀ / √d) v, with logits and softmax in float32 at least.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`.
      mask: booleans `[batch | 1, heads | 1, tokens, tokens]`, True where a query (third
        axis) may see a key (fourth). A query that may see nothing gets the mean of all values.
      implementation: one of `IMPLEMENTATIONS`.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.

    Raises:
      ValueError: an unknown implementation.
    """
    if implementation == "auto":
        implementation = "per_head" if jax.default_backend() == "cpu" else "plain"
    if implementation == "plain":
        return _plain(query, key, value, mask)
    if implementation == "per_head":
        return _per_head(query, key, value, mask)
    if implementation == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")
    raise ValueError(
        f"attention implementation {implementation!r} is unknown; "
        f"it must be one of {', '.join(IMPLEMENTATIONS)}."
    )


def _plain(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    # Not jax.nn.dot_product_attention: that one computes logits of float64 in float32.
    wide = jnp.promote_types(query.dtype, jnp.float32)
    query = query * jnp.asarray(1.0 / math.sqrt(query.shape[-1]), query.dtype)
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=wide)
    if mask is not None:
        logits = jnp.where(mask, logits, _masked(wide))
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value, preferred_element_type=wide).astype(
        query.dtype
    )


def _masked(dtype) -> float:
    """A logit for what must not be seen: finite, so that a row of nothing else is no NaN."""
    return 0.5 * float(jnp.finfo(dtype).min)


def _per_head(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    batch, tokens, heads, width = query.shape
    # Channel-major operands [width, tokens]: no product has to contract rows of an array of
    # tokens × tokens.
    q, k, v = (
        x.transpose(0, 2, 3, 1).reshape(batch * heads, width, tokens) for x in (query, key, value)
    )
    out = _mapped_attention(q, k, v, mask, (batch, heads))
    return out.reshape(batch, heads, width, tokens).transpose(0, 3, 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _mapped_attention(q: Array, k: Array, v: Array, mask: Array | None, shape) -> Array:
    return _forward(q, k, v, mask, shape)[0]


def _map(function, operands):
    """`lax.map` over heads, as many at a time as `AT_ONCE` allows and divide their number."""
    heads, _, tokens = operands[1].shape
    limit = max(1, min(heads, AT_ONCE // tokens**2))
    size = max(n for n in range(1, limit + 1) if heads % n == 0)
    # A batch of one would still be a batched product, which is slower than a plain one.
    return jax.lax.map(function, operands, batch_size=size if size > 1 else None)


def _logits(q: Array, k: Array, mask: Array | None, index: Array, shape) -> Array:
    """Masked logits `[queries, keys]` of head number `index` of `batch · heads`."""
    scale = 1.0 / math.sqrt(q.shape[0])
    wide = jnp.promote_types(q.dtype, jnp.float32)
    # The barrier has the transpose written out; fused into the product it is slower.
    rows = jax.lax.optimization_barrier((q * jnp.asarray(scale, q.dtype)).T)
    logits = jnp.matmul(rows, k, preferred_element_type=wide)
    if mask is None:
        return logits
    row, head = index // shape[1], index % shape[1]
    seen = mask[jnp.minimum(row, mask.shape[0] - 1), jnp.minimum(head, mask.shape[1] - 1)]
    return jnp.where(seen, logits, _masked(wide))


def _forward(q: Array, k: Array, v: Array, mask: Array | None, shape):
    def one(args):
        index, q, k, v = args
        logits = _logits(q, k, mask, index, shape)
        top = logits.max(axis=1, keepdims=True)
        weights = jnp.exp(logits - top)
        total = weights.sum(axis=1, keepdims=True)
        out = jnp.matmul(weights.astype(v.dtype), v.T, preferred_element_type=weights.dtype)
        return (out / total).T.astype(q.dtype), (top + jnp.log(total))[:, 0]

    heads = jnp.arange(q.shape[0])
    out, logsumexp = _map(one, (heads, q, k, v))
    return checkpoint_name(out, RESIDUALS[0]), checkpoint_name(logsumexp, RESIDUALS[1])


def _forward_rule(q: Array, k: Array, v: Array, mask: Array | None, shape):
    out, logsumexp = _forward(q, k, v, mask, shape)
    return out, (q, k, v, mask, out, logsumexp)


def _backward_rule(shape, residuals, cotangent: Array):
    q, k, v, mask, out, logsumexp = residuals
    scale = 1.0 / math.sqrt(q.shape[1])

    def one(args):
        index, q, k, v, out, logsumexp, grad = args
        weights = jnp.exp(_logits(q, k, mask, index, shape) - logsumexp[:, None])
        wide = weights.dtype
        dot = functools.partial(jnp.matmul, preferred_element_type=wide)
        grad_weights = dot(grad.T, v)
        # Σ_j p_ij (∂L/∂p_ij) without a second pass over the weights: it is dO · O.
        correction = (grad.astype(wide) * out.astype(wide)).sum(axis=0)
        grad_logits = (weights * (grad_weights - correction[:, None]) * scale).astype(q.dtype)
        return (
            dot(grad_logits, k.T).T.astype(q.dtype),
            dot(q, grad_logits).astype(k.dtype),
            dot(grad, weights.astype(grad.dtype)).astype(v.dtype),
        )

    heads = jnp.arange(q.shape[0])
    operands = (heads, q, k, v, out, logsumexp, cotangent)
    grads = _map(one, operands)
    return (*grads, None)


_mapped_attention.defvjp(_forward_rule, _backward_rule)
