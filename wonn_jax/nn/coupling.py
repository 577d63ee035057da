"""Couplings: learned functions from the influences of all oscillators to the field at each.

A coupling here knows tokens and their positions, nothing of boards or pictures. Its norm and
ReLU make the effective interaction neither symmetric nor linear, so the
energy of the network need not fall.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.attention import attention
from wonn_jax.kernels.rotary import Rotary, rotary_tables, rotate
from wonn_jax.nn.layers import GroupNorm, conv, dense

NORMS = ("group", "token", "none")


def causal_mask(tokens: int) -> Array:
    """`[1, 1, tokens, tokens]`: each token may see itself and the ones before."""
    return jnp.tril(jnp.ones((1, 1, tokens, tokens), bool))


def norm_groups(width: int) -> int:
    """Groups of the grid models' norm: the largest divisor of the width up to 8."""
    return max(g for g in range(1, 9) if width % g == 0)


class AttentionCoupling(nn.Module):
    """Multi-head self-attention with rotary codes, then a norm and ReLU.

    Attributes:
      width: channels C, a multiple of twice the number of heads.
      heads: h.
      norm: 'group', over tokens and channel groups (the paper); 'token', over the channel
        groups of each token alone (for causal masks); 'none'.
      groups: groups of the norm, a divisor of `width`.
      attention: kernel, see `attention.IMPLEMENTATIONS`.
      grid_axis: mesh axis over which the tokens are split in equal parts, inside `shard_map`:
        attention goes round a ring of devices, without masks and padding.
      dtype: of the maps; the norm is computed in float32.
    """

    width: int
    heads: int
    norm: str = "group"
    groups: int = 8
    attention: str = "auto"
    grid_axis: str | None = None
    dtype: Any = jnp.float32

    def position_codes(self, positions: Array) -> Rotary:
        """Tables for `positions` `[..., N, axes]`; compute them once, outside the scan."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return rotary_tables(positions, self.width // self.heads, dtype)

    @nn.compact
    def __call__(
        self,
        influences: Array,
        codes: Rotary | None = None,
        *,
        mask: Array | None = None,
        valid: Array | None = None,
    ) -> Array:
        """The field at every token.

        Args:
          influences: `[B, N, C]`.
          codes: from `position_codes`, or None for tokens without positions.
          mask: booleans `[B | 1, heads | 1, N, N]`, True where a token may see another.
          valid: booleans `[B, N]`, False for padding: nobody sees it, no norm counts it.

        Returns:
          `[B, N, C]` in `dtype`, not negative.

        Raises:
          ValueError: a width or norm that does not fit.
        """
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width} does not divide into {self.heads} heads of an even width; it "
                "must be a multiple of twice the number of heads."
            )
        if valid is not None:
            seen = valid[:, None, None, :]
            mask = seen if mask is None else mask & seen
            mask = jnp.broadcast_to(mask, (*mask.shape[:2], valid.shape[1], valid.shape[1]))

        batch, tokens, width = influences.shape
        qkv = dense(width, 3 * width, dtype=self.dtype, name="qkv")(influences)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = (qkv[:, :, i] for i in range(3))
        if codes is not None:
            query, key = rotate(query, codes), rotate(key, codes)
        mixed = attention(
            query,
            key,
            value,
            mask=mask,
            implementation=self.attention,
            ring_axis=self.grid_axis,
        )
        field = dense(width, width, dtype=self.dtype, name="out")(
            mixed.reshape(batch, tokens, width)
        )
        return _settle(self, field, valid)


class ConvolutionCoupling(nn.Module):
    """A convolution over the grid of influences, then a norm and ReLU: each hears its neighbours.

    Attributes:
      width: channels C.
      side: of the kernel, cells.
      norm, groups, dtype: as in `AttentionCoupling`.
      grid_axis: mesh axis over which the rows of the grid are split, inside `shard_map`.
    """

    width: int
    side: int
    norm: str = "group"
    groups: int = 8
    grid_axis: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, influences: Array) -> Array:
        """influences `[B, H, W, C]` → the field `[B, H, W, C]` in `dtype`, not negative."""
        field = conv(
            self.width,
            self.width,
            self.side,
            bias=False,
            dtype=self.dtype,
            name="conv",
            grid_axis=self.grid_axis,
        )(influences)
        tokens = field.reshape(field.shape[0], -1, self.width)
        return _settle(self, tokens).reshape(field.shape)


def _settle(
    coupling: AttentionCoupling | ConvolutionCoupling, field: Array, valid: Array | None = None
) -> Array:
    """Norm and ReLU of a coupling's field, on tokens `[B, N, C]`; to be called in its scope."""
    if coupling.norm not in NORMS:
        raise ValueError(f"norm={coupling.norm!r} is unknown; use one of {', '.join(NORMS)}.")
    if coupling.norm != "none":
        norm = GroupNorm(
            coupling.groups,
            coupling.norm == "group",
            coupling.grid_axis,
            dtype=coupling.dtype,
            name="norm",
        )
        field = norm(field, valid)
    return nn.relu(field)
