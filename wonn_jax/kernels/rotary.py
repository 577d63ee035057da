"""Axial rotary position codes (RoFormer, arXiv 2104.09864) for positions with any number of axes.

A head of width d is cut into one part per axis: ⌊d/axes⌋ features each, the last axis takes
the rest. Within a part of width p the first 2⌊p/2⌋ features turn; feature i by the angle
coordinate · base^(−2⌊i/2⌋ / 2⌊p/2⌋). Features are paired over the whole head, (0, 1),
(2, 3), …, also where a part has an odd width.
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
    """Tables for `rotate`, to be computed once, outside the scan over steps.

    Args:
      positions: coordinates of the tokens `[..., tokens, axes]`, integer or real: one axis
        for sequences, two for grids (row, column), or more.
      head_width: d; even, since features turn in pairs.
      dtype: of the tables; angles are computed in float32 at least.

    Raises:
      ValueError: an odd head width.
    """
    if head_width % 2:
        raise ValueError(
            f"Rotary codes turn features in pairs, but a head is {head_width} wide; choose the "
            "width as a multiple of twice the number of heads."
        )
    axes = positions.shape[-1]
    wide = jnp.promote_types(dtype, jnp.float32)
    part = head_width // axes
    angles = []
    for axis in range(axes):
        size = part if axis < axes - 1 else head_width - part * (axes - 1)
        turning = 2 * (size // 2)
        exponent = 2 * (np.arange(turning) // 2) / max(turning, 1)
        rate = np.zeros(size)
        rate[:turning] = BASE**-exponent
        angles.append(positions[..., axis, None].astype(wide) * jnp.asarray(rate, wide))
    angle = jnp.concatenate(angles, axis=-1)
    return Rotary(jnp.cos(angle).astype(dtype), jnp.sin(angle).astype(dtype))


def rotate(x: Array, tables: Rotary) -> Array:
    """Turns `x` `[..., tokens, heads, head_width]` by the tables `[..., tokens, head_width]`."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    partner = jnp.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)
    cos, sin = (table[..., None, :].astype(x.dtype) for table in tables)
    return x * cos + partner * sin


def grid_positions(height: int, width: int) -> np.ndarray:
    """Row and column of every cell of a grid, row by row: `[height · width, 2]`."""
    return np.moveaxis(np.indices((height, width)), 0, -1).reshape(-1, 2)
