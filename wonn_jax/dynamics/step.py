"""One explicit Euler step."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.energy import energy_of
from wonn_jax.dynamics.phases import wrap
from wonn_jax.dynamics.rate import Coupling, PhaseMap, field_of, rate_in_field


def winfree_step(
    theta: Array,
    omega: ArrayLike,
    *,
    sensitivity: PhaseMap,
    influence: PhaseMap,
    coupling: Coupling,
    step_size: ArrayLike,
    event_ndim: int = 1,
    expand: PhaseMap | None = None,
) -> tuple[Array, Array]:
    """One explicit Euler step of the generalised Winfree dynamics (WONN paper).

        θ' = wrap(θ + step_size · winfree_rate(θ, ω))

    First-order accurate in `step_size`. Differentiable in all arguments; works under jit, vmap,
    scan and shard_map; has no state and draws no random numbers.

    Args:
      theta, omega, sensitivity, influence, coupling, expand: as in `winfree_rate`.
      step_size: length of the step, unit time.
      event_ndim: number of trailing axes of `theta` that make up one system (for the energy).

    Returns:
      The new phases in (−π, π], with the shape and dtype of `theta`, and the energy `[*batch]`
      of the state *before* the step (see `interaction_energy`).

    Raises:
      ValueError: the shapes of S, I, the coupling and `theta` do not fit together.
    """
    emitted = influence(theta)
    field = field_of(emitted, coupling)
    energy = energy_of(emitted, field, theta, event_ndim)
    rate = rate_in_field(theta, omega, field, sensitivity=sensitivity, expand=expand)
    return wrap(theta + jnp.asarray(step_size, theta.dtype) * rate), energy
