"""Memory of a training step: recomputation, and how many examples are processed at a time.

On a CPU the examples of a batch are processed in chunks of a few, in a loop. Inside a loop,
`jax.checkpoint` has an effect on CPUs: outside of one, the compiler finds that the recomputation
repeats the forward pass, merges the two, and keeps the values in memory after all. A chunk also
fits into the cache. With chunks a CIFAR step (C 128, 8 images on one core) needs 263 MiB of
temporaries rather than 379, and 0.92 of the time. On other platforms the whole batch is one chunk.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from wonn_jax.parallel.placement import target

REMAT_LAYERS = ("auto", "on", "off")

LARGE = 2**30
"""Bytes of the phases of all steps, above which whole layers are recomputed: 1 GiB."""

UNROLLED = 4
"""Steps of a layer that are compiled one after the other, at most."""

CHUNK_ELEMENTS = 2**17
"""Elements of an array in one chunk on a CPU, at most (but at least one example): 512 KiB in
float32."""


def map_examples(function: Callable[..., Any], *arrays: Array, platform: str | None = None) -> Any:
    """`function(*arrays)`; on a CPU applied to one chunk of examples after the other.

    Args:
      function: treats every example independently; the first axis of everything it takes and
        returns is that of the examples.
      arrays: `[B, ...]` each; the size of the first one determines the size of a chunk.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    batch = len(arrays[0])
    size = chunk_size(batch, math.prod(arrays[0].shape[1:]), platform)
    if size == batch:
        return function(*arrays)
    chunks = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), arrays)
    out = jax.lax.map(lambda chunk: function(*chunk), chunks)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), out)


def recomputed(function: Callable[..., Any], *arrays: Array, platform: str | None = None) -> Any:
    """`map_examples`, but only `arrays` are stored for the backward pass."""
    return map_examples(jax.checkpoint(function), *arrays, platform=platform)


def cheap(function: Callable[..., Any], platform: str | None = None) -> Callable[..., Any]:
    """`function`, of whose values the backward pass stores none, where memory is slower than sines.

    Args:
      function: of every element, such as sin θ.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    return function if target(platform) == "cpu" else jax.checkpoint(function)


def unrolls(steps: int, platform: str | None = None) -> bool:
    """Whether a few steps are compiled one after the other rather than as a loop.

    A loop writes the phases of all steps into an array that XLA's GPU compiler sets to zero
    beforehand, those of all layers in one kernel: six layers of three steps then have six such
    arrays from the first to the last. CPUs work in a loop over examples anyway.

    Args:
      steps: T of a layer.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    return target(platform) != "cpu" and steps <= UNROLLED


def recomputes_layers(choice: str, theta: Array, steps: int, platform: str | None = None) -> bool:
    """Whether the backward pass of a network recomputes whole layers.

    Args:
      choice: one of `REMAT_LAYERS`.
      theta: phases of the first layer, of the examples of one device.
      steps: of all layers together.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    if choice != "auto":
        return choice == "on"
    states = math.prod(theta.shape) * theta.dtype.itemsize * steps
    return target(platform) != "cpu" and states > LARGE


def chunk_size(batch: int, elements: int, platform: str | None = None) -> int:
    """Examples of `elements` elements that are processed at a time: a divisor of `batch`."""
    if target(platform) != "cpu":
        return batch
    return largest_divisor(batch, CHUNK_ELEMENTS // elements)


def largest_divisor(number: int, bound: int) -> int:
    """The largest divisor of `number` that is at most `bound`, or 1 if there is none."""
    return max((n for n in range(1, min(bound, number) + 1) if number % n == 0), default=1)
