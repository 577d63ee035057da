"""Randomness as a function of (seed, name of the stream, step, example), and of nothing else.

No generator state exists, so none is saved, and neither the number of devices nor of hosts
nor what ran before can change a draw.
"""

import zlib

import jax
from jax import Array


def stream_key(seed: int, stream: str, step: Array | int = 0) -> Array:
    """Key of the stream called `stream` at training step `step`."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    return jax.random.fold_in(key, step)


def example_keys(key: Array, ids: Array) -> Array:
    """One key per example, from its number in the data set: `[B]` → keys `[B]`."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)
