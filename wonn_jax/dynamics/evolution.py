"""A fixed number of steps."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling
from wonn_jax.dynamics.phases import as_real
from wonn_jax.dynamics.rate import PhaseMap
from wonn_jax.dynamics.step import winfree_step

Recorded = tuple[Array | None, Array | None]  # trajectory and energies
Step = Callable[[Array, None], tuple[Array, Recorded]]


class Evolution(NamedTuple):
    """Result of `evolve` and `evolve_until`.

    theta: final phases, the shape of the initial ones, rad.
    trajectory: phases after each step `[steps, *theta.shape]`; None unless requested.
    energies: energy of the state *before* each step `[steps, *batch]`; None unless requested.
    taken: number of steps that each system took, int32 `[*batch]`; None from `evolve`, where
      it is the same for all.
    """

    theta: Array
    trajectory: Array | None = None
    energies: Array | None = None
    taken: Array | None = None


def evolve(
    theta: ArrayLike,
    omega: ArrayLike,
    *,
    sensitivity: PhaseMap,
    influence: PhaseMap,
    coupling: Coupling,
    step_size: ArrayLike,
    steps: int,
    event_ndim: int = 1,
    expand: PhaseMap | None = None,
    trajectory: bool = False,
    energies: bool = False,
    remat: int = 0,
    remat_policy: Callable[..., bool] | None = None,
    unroll: bool = False,
) -> Evolution:
    """Applies `winfree_step` `steps` times with the same S, I and coupling, as a `lax.scan`.

    Args:
      theta, omega, sensitivity, influence, coupling, step_size, event_ndim, expand: as in
        `winfree_step`.
      steps: number of steps T, at least 0; a Python int.
      trajectory: whether to return the phases after every step.
      energies: whether to return the energy before every step.
      remat: what the backward pass recomputes. 0 stores all intermediates; 1 stores only the
        phases of every step; k > 1 stores the phases of every k-th step and recomputes the
        others in chunks of k: T/k + k states instead of T, for one more forward pass.
      remat_policy: which named intermediates of a step to store in spite of `remat` (see
        `jax.checkpoint_policies`): those of all steps for remat=1, those of the current chunk
        for k > 1. None stores none.
      unroll: whether the compiler gets T copies of the step rather than a loop. It then makes no
        room for all states beforehand, but compiles for longer: for a few steps. Without effect
        with `remat` > 1.

    Returns:
      An `Evolution`.

    Raises:
      TypeError: `steps` or `remat` is not an integer; and as `winfree_step`.
      ValueError: a negative `steps` or `remat`; and as `winfree_step`.
    """
    steps, remat = count(steps, "steps"), count(remat, "remat")
    initial = as_real(theta, "phases")

    def step(state: Array, _: None) -> tuple[Array, Recorded]:
        state, energy = winfree_step(
            state,
            omega,
            sensitivity=sensitivity,
            influence=influence,
            coupling=coupling,
            step_size=step_size,
            event_ndim=event_ndim,
            expand=expand,
        )
        return state, (state if trajectory else None, energy if energies else None)

    if remat > 0:
        # Copies in one program are merged with what they are to replace, unless that is prevented.
        step = jax.checkpoint(step, prevent_cse=unroll, policy=remat_policy)
    if remat > 1:
        final, recorded = _scan_in_chunks(step, initial, steps, chunk=min(remat, max(steps, 1)))
    else:
        final, recorded = jax.lax.scan(step, initial, None, length=steps, unroll=unroll)
    return Evolution(final, *recorded)


def count(value: Any, name: str, *, least: int = 0) -> int:
    """A number of steps as a Python int.

    Raises:
      TypeError: not an integer, or one that is only known when the program runs.
      ValueError: below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError as error:  # JAX's own error for tracers is a TypeError
        raise TypeError(
            f"{name}={value} must be an integer that is known when the function is traced; with "
            f"jax.jit, list {name} in static_argnames."
        ) from error
    if number < least:
        raise ValueError(f"{name}={number} must be at least {least}.")
    return number


def _scan_in_chunks(step: Step, theta: Array, steps: int, *, chunk: int) -> tuple[Array, Recorded]:
    """A scan of `steps` steps that stores the state once per chunk, for the backward pass."""

    def scan(length: int) -> Step:
        def run(state: Array, _: None) -> tuple[Array, Recorded]:
            return jax.lax.scan(step, state, None, length=length)

        return jax.checkpoint(run, prevent_cse=False)

    chunks, rest = divmod(steps, chunk)
    theta, recorded = jax.lax.scan(scan(chunk), theta, None, length=chunks)
    recorded = jax.tree.map(lambda x: x.reshape(chunks * chunk, *x.shape[2:]), recorded)
    if rest:
        theta, last = scan(rest)(theta, None)
        recorded = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), recorded, last)
    return theta, recorded
