"""Where a model runs: its mesh axes, and the platform that its kernels are chosen for."""

from typing import NamedTuple

import jax


class Placement(NamedTuple):
    """Where a model runs; see `wonn_jax.parallel.mesh.placement`.

    axes: mesh axes over which examples or cells are split, inside `shard_map`: those that a batch
      norm sums over.
    grid: mesh axis over which the rows of cells are split; None if every device has whole grids.
    platform: 'cpu', 'gpu' or 'tpu', for the choice of kernels; None for JAX's default backend.
    """

    axes: tuple[str, ...] = ()
    grid: str | None = None
    platform: str | None = None


ALONE = Placement()
"""One device, without `shard_map`, on JAX's default backend."""


def target(platform: str | None) -> str:
    """'cpu', 'gpu' or 'tpu': `platform` if one is given, else JAX's default backend.

    Kernels are chosen by argument because a program can be compiled for a platform that this
    machine does not have.
    """
    return jax.default_backend() if platform is None else platform
