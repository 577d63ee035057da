"""Classical models of coupled oscillators, as special cases of the Winfree step."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from wonn_jax.dynamics.coupling import Coupling, apply_coupling, field_of
from wonn_jax.dynamics.phases import as_real
from wonn_jax.dynamics.rate import PhaseMap


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
        scaled = as_real(strength, "strength").astype(emitted.dtype) * mean
        return jnp.broadcast_to(scaled, emitted.shape)

    return Oscillators(sensitivity, influence, mean_field)


def kuramoto(matrix: Coupling) -> Oscillators:
    """Kuramoto's model: dθ_i/dt = ω_i + Σ_j K_ij sin(θ_j − θ_i), with K = `matrix` `[n, n]`.

    The matrix may be sparse, or a function; see `symmetry_broken_kuramoto`. The model is invariant
    under a common shift of all phases, and its energy is −Σ_ij K_ij cos(θ_j − θ_i).
    """
    return symmetry_broken_kuramoto(matrix, 0.0)


def symmetry_broken_kuramoto(matrix: Coupling, q: ArrayLike) -> Oscillators:
    """The symmetry-broken Kuramoto family of Manoranjani et al. (2023):

        dθ_i/dt = ω_i + Σ_j K_ij [sin(θ_j − θ_i) + q sin(θ_j + θ_i)].

    q = 0 is Kuramoto's model; q ≠ 0 breaks its invariance under a common shift. Implemented as
    (1 + q) cos θ_i Σ_j K_ij sin θ_j − (1 − q) sin θ_i Σ_j K_ij cos θ_j. At q = 1 a single
    product remains: S = cos, I = sin and the matrix 2K.

    Args:
      matrix: K `[n, n]`, dense or sparse (see `apply_coupling`), or the function x → K x of
        vectors `[n]`, which is mapped over all leading axes.
      q: scalar.

    Raises:
      TypeError, ValueError: when used; the matrix or `q` is malformed.
    """

    def weighted(emitted: Array) -> Array:
        broken = as_real(q, "q").astype(emitted.dtype)
        if broken.ndim:
            raise ValueError(f"q has shape {broken.shape}; it must be a scalar.")
        weight = jnp.stack([1 + broken, 1 - broken])
        field = _product(matrix, emitted)
        return field * weight.reshape(2, *[1] * (field.ndim - 1))

    return Oscillators(
        sensitivity=lambda theta: jnp.stack([jnp.cos(theta), -jnp.sin(theta)]),
        influence=lambda theta: jnp.stack([jnp.sin(theta), jnp.cos(theta)]),
        coupling=weighted,
    )


def _product(matrix: Coupling, emitted: Array) -> Array:
    """K x for each vector x on the last axis of `emitted`."""
    if not callable(matrix):
        return apply_coupling(matrix, emitted)
    product: PhaseMap = functools.partial(field_of, coupling=matrix)
    for _ in emitted.shape[:-1]:
        product = jax.vmap(product)
    return product(emitted)
