"""Axial rotary position codes (RoFormer, arXiv 2104.09864) for positions with any number of axes.

The d features of a head are divided among the axes, ⌊d/axes⌋ for each, and the last axis takes
the remainder. Of the p features of one axis the first 2⌊p/2⌋ are rotated, feature i by the angle
coordinate · base^(−2⌊i/2⌋ / 2⌊p/2⌋). Pairs are formed over the whole head, (0, 1), (2, 3), …,
even if p is odd.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

BASE = 10000.0


class Rotary(NamedTuple):
    """Cosine and sine of every feature's angle, each `[..., tokens, head_width]`."""

    cos: Array
    sin: Array


def rotary_tables(positions: Array, head_width: int, dtype=jnp.float32) -> Rotary:
    """Tables for `rotate`; compute them once, outside the scan over steps.

    Args:
      positions: coordinates of the tokens `[..., tokens, axes]`, integer or real: one axis
        for sequences, two for grids (row, column), or more.
      head_width: d; even, since features are rotated in pairs.
      dtype: of the tables; angles are computed in float32 at least.

    Returns:
      Cosines and sines, `[..., tokens, head_width]` each.

    Raises:
      ValueError: the head width is odd.
    """
    if head_width % 2:
        raise ValueError(
            f"Rotary codes rotate features in pairs, but a head is {head_width} wide; choose the "
            "width as a multiple of twice the number of heads."
        )
    axes = positions.shape[-1]
    wide = jnp.promote_types(dtype, jnp.float32)
    part = head_width // axes
    angles = []
    for axis in range(axes):
        size = part if axis < axes - 1 else head_width - part * (axes - 1)
        rotated = 2 * (size // 2)
        exponent = 2 * (np.arange(rotated) // 2) / max(rotated, 1)
        rate = np.zeros(size)
        rate[:rotated] = BASE**-exponent
        angles.append(positions[..., axis, None].astype(wide) * jnp.asarray(rate, wide))
    angle = jnp.concatenate(angles, axis=-1)
    return Rotary(jnp.cos(angle).astype(dtype), jnp.sin(angle).astype(dtype))


def rotate(x: Array, tables: Rotary) -> Array:
    """Rotates `x` `[..., tokens, heads, head_width]` by tables `[..., tokens, head_width]`."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    partner = jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)
    cos, sin = (table[..., None, :].astype(x.dtype) for table in tables)
    return x * cos + partner * sin


def grid_positions(height: int, width: int) -> np.ndarray:
    """Row and column of every cell of a grid in row-major order: `[height · width, 2]`."""
    return np.moveaxis(np.indices((height, width)), 0, -1).reshape(-1, 2)
