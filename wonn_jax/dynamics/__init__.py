"""Phase-oscillator dynamics on the torus: one step, its energy, and T of them.

Everything here is a pure function of arrays. Phases `theta` are in rad, frequencies
`omega` in rad per unit time, `step_size` is a time. A state has any number of leading
batch axes and `event_ndim` trailing axes that together are one system of oscillators:
`[n]` for the classical models (`event_ndim=1`), `[tokens, channels]` for a network layer
(`event_ndim=2`).

The generalised Winfree model (WONN paper, arXiv 2605.20922; Winfree 1967) is

    dθ/dt = ω + S(θ) ⊙ field,      field = coupling(I(θ)),

with a sensitivity S (how a phase responds), an influence I (what a phase emits) and a
coupling (what reaches whom). S and I may return one more leading axis than θ, of length R:
a sum of R separable interactions, Σ_r S_r(θ) ⊙ coupling(I(θ))_r. That covers Kuramoto's
sin(θ_j − θ_i) = cos θ_i sin θ_j − sin θ_i cos θ_j, which no single product S·I can express.

Oscillators may act in groups: I then returns one influence per group, the coupling acts on
the groups, and `expand` gives every oscillator the field of its group.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

PhaseMap = Callable[[Array], Array]
Coupling = Callable[[Array], Array] | ArrayLike


class Evolution(NamedTuple):
    """What `evolve` and `evolve_until` return.

    theta: final phases, the shape of the initial ones, rad.
    trajectory: phases after each step `[steps, *theta.shape]`, or None if not asked for.
    energies: energy of the state *before* each step `[steps, *batch]`, or None likewise.
    taken: steps of each system until it had settled, int32 `[*batch]`; None if all take as many.
    """

    theta: Array
    trajectory: Array | None = None
    energies: Array | None = None
    taken: Array | None = None


def wrap(theta: ArrayLike) -> Array:
    """Reduces phases (rad, any shape) to (−π, π]. Its derivative is 1 everywhere."""
    theta = jnp.asarray(theta)
    pi = jnp.asarray(jnp.pi, theta.dtype)
    turns = jnp.ceil(theta / (2 * pi) - 0.5)
    reduced = theta - 2 * pi * jax.lax.stop_gradient(turns)
    # Far from the origin the subtraction rounds; one more turn puts the result in range.
    reduced = jnp.where(reduced > pi, reduced - 2 * pi, reduced)
    return jnp.where(reduced <= -pi, reduced + 2 * pi, reduced)


def _couple(coupling: Coupling, influence: Array) -> Array:
    """Applies a callable coupling, or a matrix K `[n, n]` as Σ_j K_ij I_j on the last axis."""
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


def _energy(influence: Array, field: Array, state: Array, event_ndim: int) -> Array:
    """−Σ I ⊙ field, in float32 at least, one number per system."""
    if field.shape != influence.shape:
        raise ValueError(
            f"The coupling turned influences of shape {influence.shape} into a field of shape "
            f"{field.shape}; the energy −Σ I ⊙ field needs the two to be equal."
        )
    if not 0 <= event_ndim <= state.ndim:
        raise ValueError(
            f"event_ndim={event_ndim}, but the phases have {state.ndim} axes (shape "
            f"{state.shape}); it must lie between 0 and {state.ndim}."
        )
    dtype = jnp.promote_types(state.dtype, jnp.float32)
    components = influence.ndim - state.ndim
    axes = tuple(range(components)) + tuple(range(influence.ndim - event_ndim, influence.ndim))
    return -jnp.sum(influence.astype(dtype) * field.astype(dtype), axis=axes)


def interaction_energy(
    theta: Array, *, influence: PhaseMap, coupling: Coupling, event_ndim: int = 1
) -> Array:
    """Interaction energy E = −Σ I(θ) ⊙ coupling(I(θ)), as in the WONN paper.

    For a symmetric matrix K, S = cos and I = sin, ½E is the Lyapunov function of
    the paper's Appendix D: with ω = 0 the flow is −∇(½E) and E never rises. With ω ≠ 0, or with a
    coupling that is not linear and symmetric, it may.

    Args:
      theta: phases `[*batch, *event]`, rad.
      influence: I, see the module's docstring.
      coupling: a function of the influences, or a matrix `[n, n]`.
      event_ndim: number of trailing axes of `theta` that make up one system.

    Returns:
      Energies `[*batch]` in float32 or wider.

    Raises:
      ValueError: a matrix of another size, a field of another shape than the influences.
    """
    emitted = influence(theta)
    return _energy(emitted, _couple(coupling, emitted), theta, event_ndim)


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

        θ' = wrap(θ + step_size · (ω + S(θ) ⊙ expand(coupling(I(θ)))))

    First order in `step_size`. Differentiable in everything, under jit, vmap, scan and
    shard_map; it holds no state and draws no random numbers.

    Args:
      theta: phases `[*batch, *event]`, rad.
      omega: frequencies, broadcastable to `theta`, rad per unit time.
      sensitivity: S, a function of phases; the shape of `theta`, or `[R, *theta.shape]`.
      influence: I, a function of phases; whatever `coupling` accepts.
      coupling: a function of the influences, or a matrix `[n, n]` that acts on the last
        axis. The field it returns has the shape of the influences and broadcasts with S.
      step_size: length of the step, unit time.
      event_ndim: number of trailing axes that make up one system (for the energy).
      expand: from the field at groups of oscillators, one for each influence, to the field at
        each oscillator; None where each emits an influence of its own.

    Returns:
      The new phases in (−π, π] with the shape and dtype of `theta`, and the energy
      `[*batch]` of the state *before* the step (see `interaction_energy`).

    Raises:
      ValueError: shapes of S, I, the coupling and `theta` that do not fit each other.
    """
    emitted = influence(theta)
    field = _couple(coupling, emitted)
    energy = _energy(emitted, field, theta, event_ndim)
    if expand is not None:
        field = expand(field)
    response = sensitivity(theta) * field.astype(theta.dtype)
    if response.ndim == theta.ndim + 1:
        response = response.sum(axis=0)
    if response.shape != theta.shape:
        raise ValueError(
            f"S(θ) ⊙ field has shape {response.shape}, but the phases have {theta.shape}; "
            "sensitivity and field must broadcast to the phases, or to one leading axis more."
        )
    rate = jnp.broadcast_to(jnp.asarray(omega, theta.dtype), theta.shape) + response
    return wrap(theta + jnp.asarray(step_size, theta.dtype) * rate), energy


def evolve(
    theta: Array,
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
) -> Evolution:
    """`steps` times `winfree_step` with shared S, I and coupling, as a `lax.scan`.

    Args:
      theta, omega, sensitivity, influence, coupling, step_size, event_ndim, expand: as in
        `winfree_step`.
      steps: T, at least 0; a Python int.
      trajectory: also return the phases after every step.
      energies: also return the energy before every step.
      remat: what the backward pass recomputes. 0 stores all intermediates; 1 stores the
        phases of every step; k > 1 stores the phases of every k-th step, and for the k steps
        at work those of each, for one more forward pass: T/k + k states instead of T.
      remat_policy: which named intermediates of a step to keep although `remat` is on (see
        `jax.checkpoint_policies`), of all steps or of the k at work; None keeps none.

    Returns:
      An `Evolution`.

    Raises:
      ValueError: a negative `steps` or `remat`, and whatever `winfree_step` raises.
    """
    if steps < 0 or remat < 0:
        raise ValueError(f"steps={steps} and remat={remat} must not be negative.")

    def step(state: Array, _: None) -> tuple[Array, tuple[Array | None, Array | None]]:
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

    def run(step: Callable, state: Array, length: int):
        return jax.lax.scan(step, state, None, length=length)

    if remat == 0:
        theta, recorded = run(step, theta, steps)
        return Evolution(theta, *recorded)
    light = jax.checkpoint(step, prevent_cse=False, policy=remat_policy)
    if remat == 1:
        theta, recorded = run(light, theta, steps)
        return Evolution(theta, *recorded)

    def chunk(length: int):
        return jax.checkpoint(lambda state, _: run(light, state, length), prevent_cse=False)

    size = min(remat, max(steps, 1))
    chunks, rest = divmod(steps, size)
    theta, recorded = run(chunk(size), theta, chunks)
    recorded = jax.tree.map(lambda x: x.reshape(chunks * size, *x.shape[2:]), recorded)
    if rest:
        theta, last = chunk(rest)(theta, None)
        recorded = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), recorded, last)
    return Evolution(theta, *recorded)


class Watch(NamedTuple):
    """What `evolve_until` looks at to tell whether a system has settled.

    observe: of the phases after a step and the energy before it, an array `[*batch, ...]`.
    change: from what is observed after a step and after the one before, a number for each system
      `[*batch]`, which is compared with the tolerance.
    """

    observe: Callable[[Array, Array], Array]
    change: Callable[[Array, Array], Array]


def relative_change(now: Array, before: Array) -> Array:
    """|now − before| / |now| of energies `[*batch]`; 0 where both are 0."""
    return jnp.where(now == before, 0.0, jnp.abs(now - before) / jnp.abs(now))


def share_changed(now: Array, before: Array) -> Array:
    """Share of the cells whose class is another, of classes `[B, ...]`: `[B]`."""
    return (now != before).reshape(len(now), -1).mean(-1)


ENERGY = Watch(lambda theta, energy: energy, relative_change)


def evolve_until(
    theta: Array,
    omega: ArrayLike,
    *,
    sensitivity: PhaseMap,
    influence: PhaseMap,
    coupling: Coupling,
    step_size: ArrayLike,
    limit: int,
    tolerance: ArrayLike,
    patience: int = 1,
    watch: Watch = ENERGY,
    event_ndim: int = 1,
    expand: PhaseMap | None = None,
    axis_names: tuple[str, ...] = (),
) -> Evolution:
    """Steps of `winfree_step` until a system has settled, each for itself.

    A system stops when what is watched, its energy if nothing else is said, has changed by no
    more than `tolerance` in each of the last `patience` steps, and its phases then stay as they
    are; the whole stops with the last one, or at the limit. A `lax.while_loop`: for inference, it
    has no derivative in reverse.

    Args:
      theta, omega, sensitivity, influence, coupling, step_size, event_ndim, expand: as in
        `winfree_step`.
      limit: most steps to take, at least 0.
      tolerance: of the energy: its relative change that counts as none.
      patience: steps in a row without a change that it takes to stop, at least 1.
      watch: what is watched, and how its change is measured.
      axis_names: mesh axes, inside `shard_map`, whose devices take as many steps as the last of
        them needs. Those over which the coupling communicates have to: else they would wait for
        each other.

    Returns:
      An `Evolution` with `taken`.

    Raises:
      ValueError: a negative limit, a patience below 1, and whatever `winfree_step` raises.
    """
    if limit < 0 or patience < 1:
        raise ValueError(f"limit={limit} must not be negative, and patience={patience} at least 1.")
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

    def like(x, of_system: Array) -> Array:
        """An array of every system `[*batch]` as one that broadcasts to x `[*batch, ...]`."""
        return of_system.reshape(*batch, *[1] * (x.ndim - len(batch)))

    def any_active(quiet: Array) -> Array:
        active = (quiet < patience).any()
        return jax.lax.pmax(active, axis_names) if axis_names else active

    def goes_on(carry):
        number, _, _, _, _, more = carry
        return (number < limit) & more

    def go_on(carry):
        number, theta, taken, before, quiet, _ = carry
        active = quiet < patience
        moved, now = step(theta)
        theta = jnp.where(like(theta, active), moved, theta)
        still = (number > 0) & (watch.change(now, before) <= tolerance)
        quiet = jnp.where(active, jnp.where(still, quiet + 1, 0), quiet)
        before = jnp.where(like(now, active), now, before)
        return number + 1, theta, taken + active, before, quiet, any_active(quiet)

    # Zeros made of the phases: inside `shard_map` they vary over the devices, as these do.
    none = jnp.zeros_like(theta, jnp.int32).sum(tuple(range(len(batch), theta.ndim)))
    seen = jax.eval_shape(lambda x: step(x)[1], theta)
    before = jnp.zeros(seen.shape, seen.dtype) + like(seen, none).astype(seen.dtype)
    start = (0, theta, none, before, none, any_active(none))
    _, theta, taken, *_ = jax.lax.while_loop(goes_on, go_on, start)
    return Evolution(theta, taken=taken)


def order_parameter(theta: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Kuramoto's complex order parameter r·exp(iψ) = mean of exp(iθ) over `axis`.

    Its modulus is 1 for phases that agree and near 0 for phases spread evenly; its angle is
    their mean phase (rad).
    """
    return jax.lax.complex(jnp.cos(theta).mean(axis), jnp.sin(theta).mean(axis))


# --- Classical models as special cases of the step ------------------------------------------


class Oscillators(NamedTuple):
    """S, I and coupling of a model, for `evolve(theta, omega, **model._asdict(), …)`."""

    sensitivity: PhaseMap
    influence: PhaseMap
    coupling: Coupling


def winfree_mean_field(
    strength: ArrayLike,
    *,
    sensitivity: PhaseMap = jnp.cos,
    influence: PhaseMap = jnp.sin,
) -> Oscillators:
    """Winfree's model (1967): dθ_i/dt = ω_i + (κ/n) S(θ_i) Σ_j I(θ_j), with κ = `strength`."""

    def mean_field(emitted: Array) -> Array:
        mean = emitted.mean(axis=-1, keepdims=True)
        return jnp.broadcast_to(jnp.asarray(strength, emitted.dtype) * mean, emitted.shape)

    return Oscillators(sensitivity, influence, mean_field)


def kuramoto(matrix: ArrayLike) -> Oscillators:
    """Kuramoto's model: dθ_i/dt = ω_i + Σ_j K_ij sin(θ_j − θ_i), K = `matrix` `[n, n]`.

    Invariant under a common shift of all phases. Its energy is −Σ_ij K_ij cos(θ_j − θ_i).
    """
    return symmetry_broken_kuramoto(matrix, 0.0)


def symmetry_broken_kuramoto(matrix: ArrayLike, q: ArrayLike) -> Oscillators:
    """The family of Manoranjani et al. (2023), Kuramoto at q = 0:

        dθ_i/dt = ω_i + Σ_j K_ij [sin(θ_j − θ_i) + q sin(θ_j + θ_i)].

    Written as (1 + q) cos θ_i Σ_j K_ij sin θ_j − (1 − q) sin θ_i Σ_j K_ij cos θ_j, so that
    at q = 1 one product is left: S = cos, I = sin with 2K. q ≠ 0 breaks the invariance
    under a common shift.
    """

    def weighted(emitted: Array) -> Array:
        weight = jnp.stack([1 + jnp.asarray(q), 1 - jnp.asarray(q)]).astype(emitted.dtype)
        field = _couple(matrix, emitted)
        return field * weight.reshape(2, *[1] * (field.ndim - 1))

    return Oscillators(
        sensitivity=lambda theta: jnp.stack([jnp.cos(theta), -jnp.sin(theta)]),
        influence=lambda theta: jnp.stack([jnp.sin(theta), jnp.cos(theta)]),
        coupling=weighted,
    )
