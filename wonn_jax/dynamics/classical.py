"""Classical models of coupled oscillators, as special cases of the Winfree step."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.rate import Coupling, PhaseMap, apply_coupling


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
    """Kuramoto's model: dθ_i/dt = ω_i + Σ_j K_ij sin(θ_j − θ_i), with K = `matrix` `[n, n]`.

    Invariant under a common shift of all phases. Its energy is −Σ_ij K_ij cos(θ_j − θ_i).
    """
    return symmetry_broken_kuramoto(matrix, 0.0)


def symmetry_broken_kuramoto(matrix: ArrayLike, q: ArrayLike) -> Oscillators:
    """The symmetry-broken Kuramoto family of Manoranjani et al. (2023):

        dθ_i/dt = ω_i + Σ_j K_ij [sin(θ_j − θ_i) + q sin(θ_j + θ_i)].

    q = 0 is Kuramoto's model; q ≠ 0 breaks its invariance under a common shift. Implemented as
    (1 + q) cos θ_i Σ_j K_ij sin θ_j − (1 − q) sin θ_i Σ_j K_ij cos θ_j. At q = 1 a single
    product remains: S = cos, I = sin and the matrix 2K.

    Args:
      matrix: K `[n, n]`.
      q: scalar.
    """

    def weighted(emitted: Array) -> Array:
        weight = jnp.stack([1 + jnp.asarray(q), 1 - jnp.asarray(q)]).astype(emitted.dtype)
        field = apply_coupling(matrix, emitted)
        return field * weight.reshape(2, *[1] * (field.ndim - 1))

    return Oscillators(
        sensitivity=lambda theta: jnp.stack([jnp.cos(theta), -jnp.sin(theta)]),
        influence=lambda theta: jnp.stack([jnp.sin(theta), jnp.cos(theta)]),
        coupling=weighted,
    )
