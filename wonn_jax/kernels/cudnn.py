"""Attention on an NVIDIA GPU by the fused kernels of cuDNN, through `jax.nn`.

No tokens × tokens array is written to memory, forward or backward. JAX refuses the derivative for
an odd number of tokens; these are padded by one token that nobody attends to.
"""

import re

import jax
import jax.numpy as jnp
from jax import Array

LARGEST_HEAD = 128  # width; GPUs before Hopper take no wider ones
OLDEST = (8, 0)
"""Compute capability of the oldest GPUs that have these kernels: Ampere, such as the A100."""


def refusal(width: int, dtype, *, platform: str = "gpu") -> str | None:
    """Why `cudnn_attention` cannot be used, as a clause that follows its name; None if it can.

    Args:
      width: of one head; any number of tokens and any mask are supported.
      dtype: of the operands.
      platform: 'cpu', 'gpu' or 'tpu'. If it is 'gpu' and this machine has one, that counts, too.
    """
    if platform != "gpu":
        return f"needs an NVIDIA GPU, not a {platform.upper()}"
    if jnp.dtype(dtype) not in (jnp.bfloat16, jnp.float16):
        return f"takes bfloat16 or float16, not {jnp.dtype(dtype).name}"
    if width % 8 or not 0 < width <= LARGEST_HEAD:
        return f"takes heads of a multiple of 8 up to {LARGEST_HEAD} wide, not {width}"
    if jax.default_backend() == "gpu":
        return _refusal_of(jax.local_devices()[0])
    return None


def _refusal_of(device: jax.Device) -> str | None:
    capability = str(getattr(device, "compute_capability", ""))
    if not re.fullmatch(r"\d+\.\d+", capability):
        return f"needs an NVIDIA GPU, not {device.device_kind}"
    if tuple(map(int, capability.split("."))) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return (
            f"needs a GPU of compute capability {oldest} or later; {device.device_kind} has "
            f"{capability}"
        )
    return None


def cudnn_attention(query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
    """softmax(q kᵀ / √d) v, with logits and softmax in float32.

    Args:
      query, key, value: `[batch, tokens, heads, head_width]`, bfloat16 or float16.
      mask: booleans `[batch | 1, heads | 1, tokens, tokens]`, True where a query (third axis) may
        attend to a key (fourth axis).

    Returns:
      `[batch, tokens, heads, head_width]` in the dtype of `query`.
    """
    batch, tokens = query.shape[:2]
    lengths = None
    if tokens % 2:
        # Padding also where there is no derivative: whether there will be one is not known here.
        query, key, value = (
            jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value)
        )
        lengths = jnp.full((batch,), tokens, jnp.int32)
        if mask is not None:
            mask = jnp.pad(mask, ((0, 0), (0, 0), (0, 1), (0, 1)))
    mixed: Array = jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return mixed[:, :tokens]
