"""Phases on the circle: reduction to (−π, π] and the order parameter."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def wrap(theta: ArrayLike) -> Array:
    """Reduces phases (rad, any shape) to (−π, π]. Its derivative is 1 everywhere."""
    theta = jnp.asarray(theta)
    pi = jnp.asarray(jnp.pi, theta.dtype)
    turns = jnp.ceil(theta / (2 * pi) - 0.5)
    reduced = theta - 2 * pi * jax.lax.stop_gradient(turns)
    # Far from the origin the subtraction rounds: one more turn brings the result into range.
    reduced = jnp.where(reduced > pi, reduced - 2 * pi, reduced)
    return jnp.where(reduced <= -pi, reduced + 2 * pi, reduced)


def order_parameter(theta: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Kuramoto's complex order parameter r·exp(iψ), the mean of exp(iθ) over `axis`.

    Args:
      theta: phases, any shape, rad.
      axis: the axis or axes of the oscillators.

    Returns:
      Complex numbers with the shape of `theta` without `axis`. The modulus r is 1 for identical
      phases and 0 for evenly spread ones; the argument ψ is the mean phase, rad.
    """
    return jax.lax.complex(jnp.cos(theta).mean(axis), jnp.sin(theta).mean(axis))
