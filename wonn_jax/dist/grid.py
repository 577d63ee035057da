"""A grid of cells split over devices by its rows: own rows, the neighbours' rows, the whole again.

For use inside `shard_map`, where `axis_name` names the axis of the mesh that splits the grid.
With None there is nothing to do: the grid is whole.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Placement(NamedTuple):
    """Where a model runs: the mesh axes it sees inside `shard_map`, and the platform.

    axes: mesh axes over which examples or cells are split, those of a batch norm.
    grid: mesh axis over which the rows of cells are split; None if every device has whole grids.
    platform: 'cpu', 'gpu' or 'tpu', for the choice of kernels; None for JAX's default backend.
    """

    axes: tuple[str, ...] = ()
    grid: str | None = None
    platform: str | None = None


ALONE = Placement()
"""On one device, without `shard_map`."""


def own_rows(x: Array, axis_name: str | None, axis: int = 1) -> Array:
    """This device's rows of an array that all devices of the axis hold, `axis` being the rows'."""
    if axis_name is None:
        return x
    rows = x.shape[axis] // jax.lax.axis_size(axis_name)
    first = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(x, first, rows, axis)


def all_rows(x: Array, axis_name: str | None, axis: int = 1) -> Array:
    """The inverse: the whole array, equal on all devices of the axis.

    What is put together here is small, so it is a sum of each device's rows among zeros, which
    tells JAX that it is equal.
    """
    if axis_name is None:
        return x
    rows = x.shape[axis]
    shape = list(x.shape)
    shape[axis] = rows * jax.lax.axis_size(axis_name)
    first = jax.lax.axis_index(axis_name) * rows
    alone = jax.lax.dynamic_update_slice_in_dim(jnp.zeros(shape, x.dtype), x, first, axis)
    return jax.lax.psum(alone, axis_name)


def first_row(rows: int, axis_name: str | None) -> Array | int:
    """Number of this device's first row, if each has `rows`."""
    return 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows


def with_neighbours(x: Array, rows: int, axis_name: str) -> Array:
    """`[B, H, W, C]` → `[B, rows + H + rows, W, C]`, with rows of the devices on both sides.

    Beyond the edges of the grid they are 0, as in a padded convolution.
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
    """What the device `distance` places before has; 0 where there is none."""
    size = jax.lax.axis_size(axis_name)
    pairs = [(i, i + distance) for i in range(size) if 0 <= i + distance < size]
    return jax.lax.ppermute(x, axis_name, pairs)


def passed_on(x: Array, axis_name: str) -> Array:
    """What the device one place before has, the last one being before the first: a ring."""
    size = jax.lax.axis_size(axis_name)
    return jax.lax.ppermute(x, axis_name, [(i, (i + 1) % size) for i in range(size)])


def mean_over(x: Array, axis_name: str | None) -> Array:
    """The mean over devices, if the grid is split."""
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def sum_over(x: Array, axis_name: str | None) -> Array:
    """The sum over devices, if the grid is split."""
    return x if axis_name is None else jax.lax.psum(x, axis_name)
