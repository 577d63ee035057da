"""Random keys as a function of the seed, the name of a stream, the step and the example.

There is no generator state, so that none has to be saved, and a draw depends neither on the
number of devices or hosts nor on what ran before.
"""

import zlib

import jax
from jax import Array


def stream_key(seed: int, stream: str, step: Array | int = 0) -> Array:
    """The key of the stream named `stream` (such as 'phases') at training step `step`."""
    key = jax.random.key(seed, impl="threefry2x32")  # whatever JAX's default is
    key = jax.random.fold_in(key, zlib.crc32(stream.encode()))
    return jax.random.fold_in(key, step)


def example_keys(key: Array, ids: Array) -> Array:
    """One key per example: from indices in the data set `[B]` to keys `[B]`."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)
