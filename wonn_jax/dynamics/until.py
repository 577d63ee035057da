"""As many steps as each system needs to converge."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling
from wonn_jax.dynamics.evolution import Evolution, count
from wonn_jax.dynamics.phases import as_real
from wonn_jax.dynamics.rate import PhaseMap
from wonn_jax.dynamics.step import winfree_step


class Watch(NamedTuple):
    """The quantity by which `evolve_until` judges convergence.

    observe: from the phases after a step and the energy before it to the quantity
      `[*batch, ...]`.
    change: from the quantity after a step and after the previous one to the change of each
      system `[*batch]`, which is compared with the tolerance.
    """

    observe: Callable[[Array, Array], Array]
    change: Callable[[Array, Array], Array]


def relative_change(now: Array, before: Array) -> Array:
    """|now − before| / |now| of energies `[*batch]`; 0 where both are 0."""
    return jnp.where(now == before, 0.0, jnp.abs(now - before) / jnp.abs(now))


def share_changed(now: Array, before: Array) -> Array:
    """Fraction of the cells whose class has changed `[B]`, from classes `[B, ...]`."""
    return (now != before).reshape(len(now), -1).mean(-1)


ENERGY = Watch(lambda theta, energy: energy, relative_change)


class _State(NamedTuple):
    """State of the loop.

    step: number of steps taken so far.
    theta: phases `[*batch, *event]`.
    taken: number of steps each system has taken `[*batch]`.
    observed: the watched quantity of each system after its last step `[*batch, ...]`.
    quiet: number of consecutive steps without a change above the tolerance `[*batch]`.
    active: whether any system is still evolving.
    """

    step: int | Array
    theta: Array
    taken: Array
    observed: Array
    quiet: Array
    active: Array


def evolve_until(
    theta: ArrayLike,
    omega: ArrayLike,
    *,
    sensitivity: PhaseMap,
    influence: PhaseMap,
    coupling: Coupling,
    step_size: ArrayLike,
    max_steps: int,
    tolerance: ArrayLike,
    patience: int = 1,
    watch: Watch = ENERGY,
    event_ndim: int = 1,
    expand: PhaseMap | None = None,
    axis_names: tuple[str, ...] = (),
) -> Evolution:
    """Applies `winfree_step` until each system converges, at most `max_steps` times.

    A system has converged once the watched quantity, by default its energy, has changed by at
    most `tolerance` in each of the last `patience` steps. Its phases are then held fixed while
    other systems go on. This is a `lax.while_loop`: for inference, without reverse-mode
    derivatives.

    Args:
      theta, omega, sensitivity, influence, coupling, step_size, event_ndim, expand: as in
        `winfree_step`.
      max_steps: maximum number of steps, at least 0.
      tolerance: convergence threshold for the change of the watched quantity; with the default
        `watch`, for the relative change of the energy.
      patience: number of consecutive steps below the threshold, at least 1.
      watch: the watched quantity and the measure of its change.
      axis_names: inside `shard_map`, the mesh axes whose devices must run the same number of
        iterations. Required for all axes over which the coupling communicates: a device that
        left the loop early would leave the others waiting in a collective.

    Returns:
      An `Evolution` with `taken`, and without trajectory and energies.

    Raises:
      TypeError: `max_steps` or `patience` is not an integer; and as `winfree_step`.
      ValueError: a negative `max_steps`, a `patience` below 1; and as `winfree_step`.
    """
    max_steps, patience = count(max_steps, "max_steps"), count(patience, "patience", least=1)
    theta = as_real(theta, "phases")
    batch = theta.shape[: theta.ndim - event_ndim]

    def step(theta: Array) -> tuple[Array, Array]:
        moved, energy = winfree_step(
            theta,
            omega,
            sensitivity=sensitivity,
            influence=influence,
            coupling=coupling,
            step_size=step_size,
            event_ndim=event_ndim,
            expand=expand,
        )
        return moved, watch.observe(moved, energy)

    def any_active(quiet: Array) -> Array:
        active = (quiet < patience).any()
        # Besides its result, pmax marks the value as replicated over these axes.
        return jax.lax.pmax(active, axis_names) if axis_names else active

    def continues(state: _State) -> Array:
        return (state.step < max_steps) & state.active

    def advance(state: _State) -> _State:
        active = state.quiet < patience
        moved, observed = step(state.theta)
        theta = jnp.where(_align(active, moved), moved, state.theta)
        # The first step has nothing to be compared with.
        still = (state.step > 0) & (watch.change(observed, state.observed) <= tolerance)
        quiet = jnp.where(active, jnp.where(still, state.quiet + 1, 0), state.quiet)
        observed = jnp.where(_align(active, observed), observed, state.observed)
        return _State(
            state.step + 1, theta, state.taken + active, observed, quiet, any_active(quiet)
        )

    # Zeros computed from the phases: inside `shard_map` they vary over the devices as these do.
    zeros = jnp.zeros_like(theta, jnp.int32).sum(tuple(range(len(batch), theta.ndim)))
    shape = jax.eval_shape(lambda x: step(x)[1], theta)
    unobserved = jnp.zeros(shape.shape, shape.dtype) + _align(zeros, shape).astype(shape.dtype)
    start = _State(0, theta, zeros, unobserved, zeros, any_active(zeros))
    end = jax.lax.while_loop(continues, advance, start)
    return Evolution(end.theta, taken=end.taken)


def _align(per_system: Array, target: Array | jax.ShapeDtypeStruct) -> Array:
    """An array `[*batch]` with axes of length 1 appended, to broadcast to `[*batch, ...]`."""
    return per_system.reshape(*per_system.shape, *[1] * (target.ndim - per_system.ndim))
