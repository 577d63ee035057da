"""Dropout whose mask does not depend on the number of devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.parallel.grid import own_rows
from wonn_jax.parallel.mesh import ROWS
from wonn_jax.parallel.placement import ALONE, Placement


class Dropout(nn.Module):
    """Sets elements to 0 with probability `rate` and divides the others by 1 − `rate`.

    The mask of an example is a function of the key of the stream 'dropout' and of the example's row
    in the global batch, never of the devices over which rows and grid are split. A caller that
    splits a batch into micro-batches gives each of them a key of its own. Do not call it inside
    `map_examples`, where the number of a row is not known.

    Attributes:
      rate: probability of 0, at least 0 and below 1.
      placement: mesh axes inside `shard_map`.
      whole: whether every device along the axis of the grid holds the whole of x, as after pooling;
        otherwise axis 1 of x is this device's part of the rows (or tokens) of a split grid.
    """

    rate: float
    placement: Placement = ALONE
    whole: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """x `[B, ...]` → the same shape and dtype; x itself if `train` is False.

        Raises:
          ValueError: `rate` is out of range.
        """
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout rate={self.rate} must be at least 0 and below 1.")
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = self._mask(self.make_rng("dropout"), x.shape, keep)
        return jnp.where(kept, x / jnp.asarray(keep, x.dtype), jnp.zeros_like(x))

    def _mask(self, key: Array, shape: tuple[int, ...], keep: float) -> Array:
        """Booleans of this device's `shape`, True with probability `keep`."""
        axes = tuple(axis for axis in self.placement.axes if axis in ROWS)
        grid = None if self.whole else self.placement.grid
        rows, *rest = shape
        if grid is not None:
            rest[0] *= jax.lax.axis_size(grid)  # drawn for the whole grid
        first = jax.lax.axis_index(axes) * rows if axes else 0

        def draw(row: Array) -> Array:
            return jax.random.bernoulli(jax.random.fold_in(key, row), keep, rest)

        return own_rows(jax.vmap(draw)(first + jnp.arange(rows)), grid)
