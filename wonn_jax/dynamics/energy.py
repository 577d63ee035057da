"""Interaction energy of a state."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling, field_of
from wonn_jax.dynamics.phases import as_real
from wonn_jax.dynamics.rate import PhaseMap, emit


def interaction_energy(
    theta: ArrayLike, *, influence: PhaseMap, coupling: Coupling, event_ndim: int = 1
) -> Array:
    """Interaction energy E = −Σ I(θ) ⊙ coupling(I(θ)) of the WONN paper.

    For a symmetric matrix K, S = cos and I = sin, ½E is the Lyapunov function of the paper's
    Appendix D: with ω = 0 the flow is −∇(½E), so that E never increases. With ω ≠ 0, or with a
    coupling that is not linear and symmetric, it may.

    Args:
      theta: phases `[*batch, *event]`, rad.
      influence: I, a function of the phases; see `winfree_rate`.
      coupling: a function of the influences, or a matrix `[n, n]`, dense or sparse.
      event_ndim: number of trailing axes of `theta` that make up one system.

    Returns:
      Energies `[*batch]` in float32 or wider.

    Raises:
      TypeError: phases, influences or a field that are not real numbers.
      ValueError: a matrix of the wrong size, a field of another shape than the influences, or
        an `event_ndim` out of range.
    """
    theta = as_real(theta, "phases")
    emitted = emit(theta, influence)
    return energy_of(emitted, field_of(emitted, coupling), theta, event_ndim)


def energy_of(influence: Array, field: Array, theta: Array, event_ndim: int) -> Array:
    """−Σ I ⊙ field `[*batch]`, in float32 or wider, of influences and a field of one shape."""
    if not 0 <= event_ndim <= theta.ndim:
        raise ValueError(
            f"event_ndim={event_ndim}, but the phases have {theta.ndim} axes (shape "
            f"{theta.shape}); it must lie between 0 and {theta.ndim}."
        )
    dtype = jnp.promote_types(theta.dtype, jnp.float32)
    components = influence.ndim - theta.ndim  # 1 for a sum of R interactions, otherwise 0
    axes = tuple(range(components)) + tuple(range(influence.ndim - event_ndim, influence.ndim))
    return -jnp.sum(influence.astype(dtype) * field.astype(dtype), axis=axes)
