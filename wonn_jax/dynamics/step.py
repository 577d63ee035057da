"""One explicit Euler step."""

from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling, field_of
from wonn_jax.dynamics.energy import energy_of
from wonn_jax.dynamics.phases import as_real, wrap
from wonn_jax.dynamics.rate import PhaseMap, emit, parameter, rate_in_field


def winfree_step(
    theta: ArrayLike,
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
      step_size: length of the step, unit time; broadcastable to `theta`.
      event_ndim: number of trailing axes of `theta` that make up one system (for the energy).

    Returns:
      The new phases in (−π, π], with the shape of `theta` and its dtype (integers and booleans
      become floating point), and the energy `[*batch]` of the state *before* the step (see
      `interaction_energy`).

    Raises:
      TypeError, ValueError: as `winfree_rate`; also for `step_size` and `event_ndim`.
    """
    theta = as_real(theta, "phases")
    emitted = emit(theta, influence)
    field = field_of(emitted, coupling)
    energy = energy_of(emitted, field, theta, event_ndim)
    rate = rate_in_field(theta, omega, field, sensitivity=sensitivity, expand=expand)
    return wrap(theta + parameter(step_size, "step_size", theta) * rate), energy
