"""Memory of a training step: what is computed again, and how much of a batch at a time.

On a CPU the examples of a batch are worked on a few at a time. What is recomputed in such a loop
stays recomputed: outside of loops the CPU compiler finds that the forward pass has computed the
same already, and keeps it. And what a few examples need stays in the cache. A CIFAR step (C 128,
8 images on a core) needs 263 MiB of temporaries instead of 379, and 0.92 of the time.
Other backends take the whole batch at once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import Array

AT_ONCE = 2**17
"""Numbers of an array that are worked on at a time on a CPU: 512 KiB in float32."""


def map_examples(function: Callable[..., Any], *arrays: Array) -> Any:
    """`function(*arrays)`, on a CPU a few examples at a time.

    Args:
      function: acts on each example by itself; all it returns has the examples first.
      arrays: `[B, ...]` each; the size of the first decides how many are taken at a time.
    """
    batch = len(arrays[0])
    size = at_once(batch, math.prod(arrays[0].shape[1:]))
    if size == batch:
        return function(*arrays)
    parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), arrays)
    out = jax.lax.map(lambda part: function(*part), parts)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), out)


def recomputed(function: Callable[..., Any], *arrays: Array) -> Any:
    """`map_examples` that keeps nothing but `arrays` for the backward pass."""
    return map_examples(jax.checkpoint(function), *arrays)


def at_once(batch: int, size: int) -> int:
    """How many examples of `size` numbers are taken at a time: a divisor of `batch`."""
    if jax.default_backend() != "cpu":
        return batch
    return largest_divisor(batch, AT_ONCE // size)


def largest_divisor(number: int, limit: int) -> int:
    """Of `number`, the largest that is at most `limit`; at least 1."""
    return max((n for n in range(1, min(limit, number) + 1) if number % n == 0), default=1)
