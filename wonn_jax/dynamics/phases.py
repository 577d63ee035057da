"""Phases on the circle: reduction to (−π, π], the order parameter, and what counts as a phase."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


def as_real(values: Any, name: str) -> Array:
    """Numbers as a JAX array of floating point: integers and bools get JAX's default type.

    Arrays of floating point keep their type (NumPy's float64 becomes float32 unless x64 is
    enabled, as everywhere in JAX).

    Raises:
      TypeError: not real numbers; the message calls them `name`.
    """
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
        dtype = jnp.result_type(array, float)
    except (TypeError, ValueError) as error:  # text, objects, lists of different lengths
        raise TypeError(f"{name} must be real numbers, got {values!r:.80}.") from error
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} must be real numbers, got {array.dtype}.")
    return jnp.asarray(array, dtype)


def wrap(theta: ArrayLike) -> Array:
    """Reduces phases to (−π, π]. Its derivative is 1 everywhere.

    Args:
      theta: phases, any shape, rad. Exact up to the spacing of numbers near `theta`: where that
        exceeds 2π (in float32 beyond 1e8) the phase is unknown, and some number in the range is
        returned. Infinities become NaN.

    Returns:
      Phases of the same shape and dtype; integers and bools become floating point.

    Raises:
      TypeError: not real numbers.
    """
    theta = as_real(theta, "phases")
    if jnp.finfo(theta.dtype).bits < 32:  # where 2π times the number of turns would overflow
        return _reduce(theta.astype(jnp.float32)).astype(theta.dtype)
    return _reduce(theta)


@jax.custom_jvp  # so that the backward pass stores nothing
def _reduce(theta: Array) -> Array:
    pi = jnp.asarray(jnp.pi, theta.dtype)
    reduced = theta - 2 * pi * jnp.ceil(theta / (2 * pi) - 0.5)
    # Far from the origin the subtraction rounds: one more turn brings the result into range.
    reduced = jnp.where(reduced > pi, reduced - 2 * pi, reduced)
    reduced = jnp.where(reduced <= -pi, reduced + 2 * pi, reduced)
    # Still out of range: neighbouring numbers are more than a turn apart. NaN stays NaN.
    return jnp.where((reduced > pi) | (reduced <= -pi), pi, reduced)


@_reduce.defjvp
def _reduce_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _reduce(*primals), tangents[0]


def order_parameter(theta: ArrayLike, axis: int | tuple[int, ...] = -1) -> Array:
    """Kuramoto's complex order parameter r·exp(iψ), the mean of exp(iθ) over `axis`.

    Args:
      theta: phases, any shape, rad.
      axis: the axis or axes of the oscillators.

    Returns:
      Complex numbers with the shape of `theta` without `axis`; complex64 for phases of half
      precision. The modulus r is 1 for identical phases and 0 for evenly spread ones; the argument
      ψ is the mean phase, rad. NaN for no oscillators.

    Raises:
      TypeError: not real numbers.
    """
    theta = as_real(theta, "phases")
    theta = theta.astype(jnp.promote_types(theta.dtype, jnp.float32))
    return jax.lax.complex(jnp.cos(theta).mean(axis), jnp.sin(theta).mean(axis))
