"""Attention on a TPU by the fused kernels that ship with JAX ("splash attention", in Pallas).

No tokens × tokens array leaves the vector memory of the chip, forward or backward: a kernel holds
the logits of one block of queries and keys. The output and the log-sum-exp are stored for the
backward pass, which recomputes the weights. XLA cannot partition such a kernel: on several devices
it has to run inside `jax.shard_map(..., check_vma=False)`.
"""

import math

import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.blockwise import RESIDUALS

LANES = 128  # width of a vector register; a block of tokens is a multiple of it
LARGEST_BLOCK = 1024  # tokens; a kernel with larger blocks does not fit into vector memory
LARGEST_HEAD = 128  # width, for the same reason
FUSED_BLOCKS = 8  # of keys: up to here one kernel computes all gradients, with a dq for each block
STEP_COST = 340**2
"""Overhead of one step of the kernel's grid, in logits; from the schedules that the compiler makes
for blocks of 256, 512 and 1,024 tokens on a TPU v5e."""


def refusal(width: int, dtype, *, masked: bool = False, platform: str = "tpu") -> str | None:
    """Why `pallas_attention` cannot be used, as a clause that follows its name; None if it can.

    Args:
      width: of one head; any number of tokens is supported.
      dtype: of the operands.
      masked: whether there is a mask.
      platform: 'cpu', 'gpu' or 'tpu'.
    """
    if platform != "tpu":
        return f"needs a TPU, not a {platform.upper()}"
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
      mask: must be None; it is here so that all implementations have the same signature.
      interpret: whether to simulate the kernel, slowly and on any device, for tests.

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.

    Raises:
      ValueError: `refusal` gives a reason; or, from JAX, the device is not a TPU, or the
        surrounding `jax.shard_map` has `check_vma=True`.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # slow to import

    batch, tokens, heads, width = query.shape
    if reason := refusal(width, query.dtype, masked=mask is not None):
        raise ValueError(f"attention implementation 'pallas' {reason}; use 'blockwise'.")
    block = block_size(tokens)
    padded = math.ceil(tokens / block) * block
    kernel = _kernel(batch * heads, padded, block, interpret)
    # Every query attends to the tokens and none to the padding. The output of queries that are
    # padding is cut off below.
    seen = (jnp.arange(padded) < tokens).astype(jnp.int32)
    segments = splash.SegmentIds(jnp.ones_like(seen), seen) if padded > tokens else None

    def rows(x: Array, scale: float = 1.0) -> Array:
        """`[batch, tokens, heads, width]` → `[batch · heads, tokens, width]`, padded.

        The kernel does not distinguish between examples and heads.
        """
        x = x.transpose(0, 2, 3, 1).reshape(batch * heads, width, tokens)
        x = jnp.pad(x, ((0, 0), (0, 0), (0, padded - tokens)))
        return _transposed("rdt,de->rte", x, scale)

    out = kernel(rows(query, 1.0 / math.sqrt(width)), rows(key), rows(value), segments)
    out = _transposed("rtd,de->ret", out)[..., :tokens]
    return out.reshape(batch, heads, width, tokens).transpose(0, 3, 1, 2)


def _transposed(equation: str, x: Array, scale: float = 1.0) -> Array:
    """`x` transposed (and scaled) by a product with the identity.

    The kernel lays out one head along the lanes, with 16 of 128 in use, say. For XLA to transpose
    that layout by itself takes about as long as the kernel.
    """
    identity = scale * jnp.eye(x.shape[equation.index("d")], dtype=x.dtype)
    return jnp.einsum(equation, x, identity, precision="highest")


def block_size(tokens: int) -> int:
    """Tokens in a block: large, so that there are few steps, but with little padding."""
    sizes = range(LANES, LARGEST_BLOCK + 1, LANES)
    return min(sizes, key=lambda size: math.ceil(tokens / size) ** 2 * (size**2 + STEP_COST))


def _kernel(rows: int, tokens: int, block: int, interpret: bool):
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    separate = block if tokens > FUSED_BLOCKS * block else None  # dq in a kernel of its own
    minor = splash.QKVLayout.SEQ_MINOR  # tokens along the lanes: heads would be padded to 128
    blocks = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=separate,
        block_kv_dq=separate,
        use_fused_bwd_kernel=separate is None,
        q_layout=minor,
        k_layout=minor,
        v_layout=minor,
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([splash.FullMask((tokens, tokens))] * rows),
        block_sizes=blocks,
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=RESIDUALS[0],  # of both the output and the log-sum-exp
        interpret=interpret,
    )
