"""Couplings: learned functions from the influences of all oscillators to the field at each one.

A coupling works on tokens and their positions, whatever they stand for. Because of its norm and
ReLU the effective interaction is neither symmetric nor linear, so the energy of the network need
not decrease.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.attention import attention
from wonn_jax.kernels.rotary import Rotary, rotary_tables, rotate
from wonn_jax.nn.layers import GroupNorm, conv, dense
from wonn_jax.parallel.placement import ALONE, Placement

NORMS = ("group", "token", "none")


def causal_mask(tokens: int) -> Array:
    """`[1, 1, tokens, tokens]`: each token may attend to itself and to earlier ones."""
    return jnp.tril(jnp.ones((1, 1, tokens, tokens), bool))


def norm_groups(width: int) -> int:
    """Number of groups in the norm of the grid models: the largest divisor of width up to 8."""
    return max(g for g in range(1, 9) if width % g == 0)


class AttentionCoupling(nn.Module):
    """Multi-head self-attention with rotary codes, then a norm and ReLU.

    Attributes:
      width: channels C, a multiple of twice the number of heads.
      heads: number of heads.
      norm: 'group', over tokens and channel groups (the paper); 'token', over the channel groups of
        each token separately (for causal masks); 'none'.
      groups: number of groups in the norm, a divisor of `width`.
      attention: kernel, one of `attention.IMPLEMENTATIONS`.
      placement: mesh axes inside `shard_map`, and the platform. If the grid is split, so are the
        tokens, in equal parts; attention is then ring attention, without mask and padding.
      dtype: of the dense layers; the norm is computed in float32 at least.
    """

    width: int
    heads: int
    norm: str = "group"
    groups: int = 8
    attention: str = "auto"
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    def position_codes(self, positions: Array) -> Rotary:
        """Rotary tables for `positions` `[..., N, axes]`; compute them once, outside the scan."""
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
          mask: booleans `[B | 1, heads | 1, N, N]`, True where a token may attend to another.
          valid: booleans `[B, N]`, False for padding, which no token attends to, which does not
            enter the statistics of the norm, and whose own field is 0.

        Returns:
          `[B, N, C]` in `dtype`, not negative.

        Raises:
          ValueError: the width is not a multiple of twice the number of heads, or the norm is
            unknown.
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
            ring_axis=self.placement.grid,
            platform=self.placement.platform,
        )
        field = dense(width, width, dtype=self.dtype, name="out")(
            mixed.reshape(batch, tokens, width)
        )
        field = _norm_and_relu(self, field, valid)
        # Padding receives no field: its part of the energy −Σ I ⊙ field is 0.
        return field if valid is None else jnp.where(valid[..., None], field, 0)


class ConvolutionCoupling(nn.Module):
    """A convolution over the grid of influences, then a norm and ReLU.

    Attributes:
      width: channels C.
      side: of the kernel, cells.
      norm, groups, placement, dtype: as in `AttentionCoupling`.
    """

    width: int
    side: int
    norm: str = "group"
    groups: int = 8
    placement: Placement = ALONE
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
            placement=self.placement,
        )(influences)
        tokens = field.reshape(field.shape[0], -1, self.width)
        return _norm_and_relu(self, tokens).reshape(field.shape)


def _norm_and_relu(
    coupling: AttentionCoupling | ConvolutionCoupling, field: Array, valid: Array | None = None
) -> Array:
    """Norm and ReLU of a field `[B, N, C]`; call it in the compact method of the coupling."""
    if coupling.norm not in NORMS:
        raise ValueError(f"norm={coupling.norm!r} is unknown; use one of {', '.join(NORMS)}.")
    if coupling.norm != "none":
        norm = GroupNorm(
            coupling.groups,
            coupling.norm == "group",
            coupling.placement.grid,
            dtype=coupling.dtype,
            name="norm",
        )
        field = norm(field, valid)
    return nn.relu(field)
