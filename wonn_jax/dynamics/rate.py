"""dθ/dt of the generalised Winfree model: the vector field that every step integrates."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling, field_of
from wonn_jax.dynamics.phases import as_real

PhaseMap = Callable[[Array], Array]


def winfree_rate(
    theta: ArrayLike,
    omega: ArrayLike,
    *,
    sensitivity: PhaseMap,
    influence: PhaseMap,
    coupling: Coupling,
    expand: PhaseMap | None = None,
) -> Array:
    """dθ/dt = ω + S(θ) ⊙ expand(coupling(I(θ))), the right-hand side of the model (WONN paper).

    A vector field for any ODE solver. It depends on θ only through S and I, so that with
    2π-periodic maps the phases of a solver need no wrapping.

    Args:
      theta: phases `[*batch, *event]`, rad; integers and booleans become floating point.
      omega: natural frequencies, broadcastable to `theta`, rad per unit time.
      sensitivity: S, a function of the phases; the shape of `theta`, or `[R, *theta.shape]`.
      influence: I, a function of the phases; its result may have any shape that `coupling`
        accepts.
      coupling: a function from influences to a field of the same shape, or a matrix `[n, n]`
        that acts on the last axis, dense or sparse (see `apply_coupling`). A function gets the
        influences with all their leading axes: write a product as `x @ K.T`, not `K @ x`. After
        `expand`, the field broadcasts against S.
      expand: from the field of each group of oscillators to the field at each oscillator; None
        if every oscillator emits its own influence.

    Returns:
      Rates with the shape of `theta` and its dtype (of floating point), rad per unit time.

    Raises:
      TypeError: phases, frequencies, influences or a field that are not real numbers.
      ValueError: the shapes of S, I, the coupling, `omega` and `theta` do not fit together.
    """
    theta = as_real(theta, "phases")
    field = field_of(emit(theta, influence), coupling)
    return rate_in_field(theta, omega, field, sensitivity=sensitivity, expand=expand)


def emit(theta: Array, influence: PhaseMap) -> Array:
    """I(θ) in floating point, of whatever type the function returns (booleans for pulses, say).

    Raises:
      TypeError: complex numbers.
    """
    emitted = jnp.asarray(influence(theta))
    if jnp.iscomplexobj(emitted):
        raise TypeError(
            f"The influence returned {emitted.dtype}; influences must be real. Return real and "
            "imaginary parts stacked along one more leading axis, as for a sum of interactions."
        )
    if not jnp.issubdtype(emitted.dtype, jnp.floating):
        return emitted.astype(theta.dtype)
    return emitted


def rate_in_field(
    theta: Array,
    omega: ArrayLike,
    field: Array,
    *,
    sensitivity: PhaseMap,
    expand: PhaseMap | None = None,
) -> Array:
    """dθ/dt for a field that is already known; arguments and errors as in `winfree_rate`."""
    if expand is not None:
        field = expand(field)
    responded = jnp.asarray(sensitivity(theta))
    if jnp.iscomplexobj(responded):
        raise TypeError(f"The sensitivity returned {responded.dtype}; it must be real.")
    response = responded * field.astype(theta.dtype)
    if response.ndim == theta.ndim + 1:
        response = response.sum(axis=0)
    if response.shape != theta.shape:
        raise ValueError(
            f"S(θ) ⊙ field has shape {response.shape}, but the phases have {theta.shape}; "
            "sensitivity and field must broadcast to the shape of the phases, with at most one "
            "additional leading axis."
        )
    omega = parameter(omega, "omega", theta)
    return jnp.broadcast_to(omega, theta.shape) + response.astype(theta.dtype)


def parameter(values: ArrayLike, name: str, theta: Array) -> Array:
    """A parameter of the model in the dtype of the phases.

    Raises:
      TypeError: not real numbers.
      ValueError: it does not broadcast to the shape of the phases.
    """
    array = as_real(values, name).astype(theta.dtype)
    try:
        fits = np.broadcast_shapes(array.shape, theta.shape) == theta.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {array.shape}, which does not broadcast to the shape of the phases, "
            f"{theta.shape}."
        )
    return array
