"""A grid of cells whose rows are split over devices: halo exchange, ring shifts, gathering.

For use inside `shard_map`; `axis_name` is the mesh axis over which the grid is split. If it is
None, the grid is not split and most functions return their input.
"""

import jax
import jax.numpy as jnp
from jax import Array


def own_rows(x: Array, axis_name: str | None, axis: int = 1) -> Array:
    """This device's rows of an array that every device holds whole; `axis` is that of the rows."""
    if axis_name is None:
        return x
    rows = x.shape[axis] // jax.lax.axis_size(axis_name)
    first = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(x, first, rows, axis)


def all_rows(x: Array, axis_name: str | None, axis: int = 1) -> Array:
    """The inverse of `own_rows`: the whole array, replicated along the mesh axis.

    It is computed as a sum over devices, each of which contributes its rows and zeros: unlike the
    result of an all-gather, JAX knows that of a sum to be replicated. For small arrays only.
    """
    if axis_name is None:
        return x
    rows = x.shape[axis]
    shape = list(x.shape)
    shape[axis] = rows * jax.lax.axis_size(axis_name)
    first = jax.lax.axis_index(axis_name) * rows
    contribution = jax.lax.dynamic_update_slice_in_dim(jnp.zeros(shape, x.dtype), x, first, axis)
    return jax.lax.psum(contribution, axis_name)


def first_row(rows: int, axis_name: str | None) -> Array | int:
    """Index of this device's first row in the whole grid, if every device has `rows` rows."""
    return 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows


def with_neighbours(x: Array, rows: int, axis_name: str) -> Array:
    """Halo exchange: `[B, H, W, C]` → `[B, rows + H + rows, W, C]`, extended by adjacent rows.

    The rows come from the devices above and below, from more than one if `rows` exceeds H. Beyond
    the edges of the grid they are 0, as in a padded convolution.
    """
    height = x.shape[1]
    above: list[Array] = []
    below: list[Array] = []
    for distance in range(1, -(-rows // height) + 1):
        wanted = min(height, rows - (distance - 1) * height)
        above.insert(0, shifted(x[:, height - wanted :], distance, axis_name))
        below.append(shifted(x[:, :wanted], -distance, axis_name))
    return jnp.concatenate([*above, x, *below], axis=1)


def shifted(x: Array, distance: int, axis_name: str) -> Array:
    """The value of the device `distance` places earlier on the mesh axis; 0 if there is none."""
    size = jax.lax.axis_size(axis_name)
    pairs = [(i, i + distance) for i in range(size) if 0 <= i + distance < size]
    return jax.lax.ppermute(x, axis_name, pairs)


def ring_shifted(x: Array, axis_name: str) -> Array:
    """The value of the previous device on the mesh axis; the first gets that of the last."""
    size = jax.lax.axis_size(axis_name)
    return jax.lax.ppermute(x, axis_name, [(i, (i + 1) % size) for i in range(size)])


def mean_over(x: Array, axis_name: str | None) -> Array:
    """The mean over the devices of a mesh axis; `x` itself if the grid is not split."""
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def sum_over(x: Array, axis_name: str | None) -> Array:
    """The sum over the devices of a mesh axis; `x` itself if the grid is not split."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)
