"""Randomness as a function of (seed, name of the stream, step, example), and of nothing else.

No generator state exists, so none is saved, and neither the number of devices nor of hosts
nor what ran before can change a draw.
"""

import zlib

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dynamics import wrap

INITIAL_PHASES = ("noise", "zeros")


def stream_key(seed: int, stream: str, step: Array | int = 0) -> Array:
    """Key of the stream called `stream` at training step `step`."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    return jax.random.fold_in(key, step)


def example_keys(key: Array, ids: Array) -> Array:
    """One key per example, from its number in the data set: `[B]` → keys `[B]`."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)


def initial_phases(
    keys: Array,
    shape: tuple[int, ...],
    *,
    kind: str = "noise",
    scale: float = 0.1,
    dtype=jnp.float32,
) -> Array:
    """θ_0 of a batch: wrap(scale · standard normal), each example from its own key.

    Args:
      keys: `[B]`, from `example_keys`.
      shape: of one example's phases.
      kind: 'noise', or 'zeros' for all phases 0.
      scale: standard deviation, rad.

    Returns:
      `[B, *shape]`, rad.
    """
    if kind not in INITIAL_PHASES:
        raise ValueError(f"initial phases {kind!r} are unknown; use {' or '.join(INITIAL_PHASES)}.")
    if kind == "zeros":
        scale = 0.0  # of the draw, not jnp.zeros: under shard_map they must vary with the keys
    return wrap(scale * jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys))
