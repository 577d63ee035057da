"""dθ/dt of the generalised Winfree model: the vector field that every step integrates."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

PhaseMap = Callable[[Array], Array]
Coupling = Callable[[Array], Array] | ArrayLike


def winfree_rate(
    theta: Array,
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
      theta: phases `[*batch, *event]`, rad.
      omega: natural frequencies, broadcastable to `theta`, rad per unit time.
      sensitivity: S, a function of the phases; the shape of `theta`, or `[R, *theta.shape]`.
      influence: I, a function of the phases; its result may have any shape that `coupling`
        accepts.
      coupling: a function from influences to a field of the same shape, or a matrix `[n, n]`
        that acts on the last axis. After `expand`, the field broadcasts against S.
      expand: from the field of each group of oscillators to the field at each oscillator; None
        if every oscillator emits its own influence.

    Returns:
      Rates with the shape and dtype of `theta`, rad per unit time.

    Raises:
      ValueError: the shapes of S, I, the coupling and `theta` do not fit together.
    """
    field = field_of(influence(theta), coupling)
    return rate_in_field(theta, omega, field, sensitivity=sensitivity, expand=expand)


def apply_coupling(coupling: Coupling, influence: Array) -> Array:
    """The field of a callable coupling, or of a matrix K `[n, n]`: Σ_j K_ij I_j on the last axis.

    Raises:
      ValueError: a matrix of another size than the last axis of the influences.
    """
    if callable(coupling):
        return coupling(influence)
    matrix = jnp.asarray(coupling)
    n = influence.shape[-1]
    if matrix.shape != (n, n):
        raise ValueError(
            f"The coupling matrix has shape {matrix.shape}, but the influences have {n} "
            f"oscillators on their last axis, so it must be ({n}, {n}). For oscillators on "
            "several axes pass a function of the influences instead."
        )
    return jnp.einsum("ij,...j->...i", matrix, influence)


def field_of(influence: Array, coupling: Coupling) -> Array:
    """`apply_coupling`, with a check that the field has the shape of the influences.

    Raises:
      ValueError: it does not, or the matrix has the wrong size.
    """
    field = apply_coupling(coupling, influence)
    if field.shape != influence.shape:
        raise ValueError(
            f"The coupling turned influences of shape {influence.shape} into a field of shape "
            f"{field.shape}; it must keep the shape (the energy −Σ I ⊙ field needs both equal)."
        )
    return field


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
    response = sensitivity(theta) * field.astype(theta.dtype)
    if response.ndim == theta.ndim + 1:
        response = response.sum(axis=0)
    if response.shape != theta.shape:
        raise ValueError(
            f"S(θ) ⊙ field has shape {response.shape}, but the phases have {theta.shape}; "
            "sensitivity and field must broadcast to the shape of the phases, with at most one "
            "additional leading axis."
        )
    return jnp.broadcast_to(jnp.asarray(omega, theta.dtype), theta.shape) + response
