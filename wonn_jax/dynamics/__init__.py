"""Dynamics of phase oscillators: rate, step, evolution, energy and classical models.

Everything here is a pure function of arrays. Phases `theta` are in rad, frequencies `omega` in
rad per unit time, and `step_size` is a time. A state `[*batch, *event]` has any number of
leading batch axes and `event_ndim` trailing axes that together make up one system of
oscillators: `[n]` for the classical models (`event_ndim=1`), `[tokens, channels]` for a layer of
a network (`event_ndim=2`).

The generalised Winfree model (WONN paper, arXiv 2605.20922; Winfree 1967) is

    dθ/dt = ω + S(θ) ⊙ field,      field = coupling(I(θ)),

where the sensitivity S is how an oscillator responds, the influence I is what it emits, and the
coupling determines which oscillators receive it. S and I may return one more leading axis than
θ, of length R, for a sum of R separable interactions Σ_r S_r(θ) ⊙ coupling(I(θ))_r. This covers
Kuramoto's sin(θ_j − θ_i) = cos θ_i sin θ_j − sin θ_i cos θ_j, which no single product S·I can
express.

Oscillators may act in groups: then I returns one influence per group, the coupling acts on the
groups, and `expand` gives every oscillator the field of its group.
"""

from wonn_jax.dynamics.classical import (
    Oscillators,
    kuramoto,
    symmetry_broken_kuramoto,
    winfree_mean_field,
)
from wonn_jax.dynamics.coupling import Coupling
from wonn_jax.dynamics.energy import interaction_energy
from wonn_jax.dynamics.evolution import Evolution, evolve
from wonn_jax.dynamics.phases import order_parameter, wrap
from wonn_jax.dynamics.rate import PhaseMap, winfree_rate
from wonn_jax.dynamics.step import winfree_step
from wonn_jax.dynamics.until import (
    ENERGY,
    Watch,
    evolve_until,
    relative_change,
    share_changed,
)

__all__ = [
    "ENERGY",
    "Coupling",
    "Evolution",
    "Oscillators",
    "PhaseMap",
    "Watch",
    "evolve",
    "evolve_until",
    "interaction_energy",
    "kuramoto",
    "order_parameter",
    "relative_change",
    "share_changed",
    "symmetry_broken_kuramoto",
    "winfree_mean_field",
    "winfree_rate",
    "winfree_step",
    "wrap",
]
