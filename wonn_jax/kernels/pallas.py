"""Attention on a TPU by the fused kernels that JAX ships ("splash attention", in Pallas).

No array of tokens × tokens leaves the vector memory of the chip, in neither direction: a kernel
holds the logits of one block of queries and keys; the output and the log-sum-exp are kept, and
the weights computed again in the derivative. XLA cannot split such a kernel over devices: with
several of them it runs inside `jax.shard_map(..., check_vma=False)`.
"""

import math

import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from wonn_jax.kernels.blockwise import RESIDUALS

LANES = 128  # width of a vector register; blocks of tokens are multiples of it
LARGEST_BLOCK = 1024  # tokens: with more, a kernel does not fit into vector memory
LARGEST_HEAD = 128  # width, for the same reason
FUSED_BLOCKS = 8  # of keys, up to which one kernel computes all derivatives, with a dq for each
STEP_COST = 340**2
"""Of a step of the kernel's grid, in logits: from the schedules that the compiler makes for blocks
of 256, 512 and 1,024 tokens on a TPU v5e."""


def refusal(width: int, dtype, *, masked: bool = False, backend: str = "tpu") -> str | None:
    """Why `pallas_attention` cannot be used, to follow its name; None where it can.

    Args:
      width: of one head; the number of tokens does not matter.
      dtype: of the operands.
      masked: whether there is a mask.
      backend: that it is for, such as `jax.default_backend()`.
    """
    if backend != "tpu":
        return f"needs a TPU, not a {backend.upper()}"
    if masked:
        return "takes no mask"
    if jnp.dtype(dtype) not in (jnp.bfloat16, jnp.float32):
        return f"takes bfloat16 or float32, not {jnp.dtype(dtype).name}"
    if width > LARGEST_HEAD:
        return f"takes heads up to {LARGEST_HEAD} wide, not {width}"
    return None


def pallas_attention(
    query: Array, key: Array, value: Array, *, mask: Array | None = None, interpret: bool = False
) -> Array:
    """softmax(q kᵀ / √d) v, with logits and softmax in float32.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`, bfloat16 or float32.
      mask: none; the argument is that of the other implementations.
      interpret: simulate the kernel, on any device and slowly, for tests.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.

    Raises:
      ValueError: operands with a `refusal`; from JAX, a device that is no TPU, or a
        `jax.shard_map` with `check_vma=True`.
    """
    batch, tokens, heads, width = query.shape
    if reason := refusal(width, query.dtype, masked=mask is not None):
        raise ValueError(f"attention implementation 'pallas' {reason}; use 'blockwise'.")
    block = block_size(tokens)
    padded = math.ceil(tokens / block) * block
    kernel = _kernel(batch * heads, padded, block, interpret)
    # Every query sees the tokens, none the padding; what padding gets as a query is cut off.
    seen = (jnp.arange(padded) < tokens).astype(jnp.int32)
    segments = splash.SegmentIds(jnp.ones_like(seen), seen) if padded > tokens else None

    def rows(x: Array, scale: float = 1.0) -> Array:
        """Examples and heads along one axis, which the kernel treats alike; then tokens."""
        x = x.transpose(0, 2, 3, 1).reshape(batch * heads, width, tokens)
        x = jnp.pad(x, ((0, 0), (0, 0), (0, padded - tokens)))
        return _transposed("rdt,de->rte", x, scale)

    out = kernel(rows(query, 1.0 / math.sqrt(width)), rows(key), rows(value), segments)
    out = _transposed("rtd,de->ret", out)[..., :tokens]
    return out.reshape(batch, heads, width, tokens).transpose(0, 3, 1, 2)


def _transposed(axes: str, x: Array, scale: float = 1.0) -> Array:
    """As a product with the identity: what the kernel gives has one head along the lanes, 16
    numbers in 128, and for XLA to cut and turn that takes about as long as the kernel."""
    identity = scale * jnp.eye(x.shape[axes.index("d")], dtype=x.dtype)
    return jnp.einsum(axes, x, identity, precision="highest")


def block_size(tokens: int) -> int:
    """Tokens of a block: many, for few steps, but such that little is padded."""
    sizes = range(LANES, LARGEST_BLOCK + 1, LANES)
    return min(sizes, key=lambda size: math.ceil(tokens / size) ** 2 * (size**2 + STEP_COST))


def _kernel(rows: int, tokens: int, block: int, interpret: bool):
    apart = block if tokens > FUSED_BLOCKS * block else None  # dq by a kernel of its own
    minor = splash.QKVLayout.SEQ_MINOR  # along the lanes, where heads would be padded to 128
    blocks = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=apart,
        block_kv_dq=apart,
        use_fused_bwd_kernel=apart is None,
        q_layout=minor,
        k_layout=minor,
        v_layout=minor,
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([splash.FullMask((tokens, tokens))] * rows),
        block_sizes=blocks,
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=RESIDUALS[0],  # of the output and the log-sum-exp
        interpret=interpret,
    )
