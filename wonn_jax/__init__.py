"""Winfree Oscillatory Neural Networks in JAX.

The functions of the core can be imported from here and need nothing but JAX:

    from wonn_jax import evolve, winfree_rate, winfree_step

Networks, tasks and training are in the subpackages.
"""

from wonn_jax.dynamics import (
    Evolution,
    Oscillators,
    Watch,
    evolve,
    evolve_until,
    interaction_energy,
    kuramoto,
    order_parameter,
    symmetry_broken_kuramoto,
    winfree_mean_field,
    winfree_rate,
    winfree_step,
    wrap,
)

__version__ = "0.1.0"

__all__ = [
    "Evolution",
    "Oscillators",
    "Watch",
    "evolve",
    "evolve_until",
    "interaction_energy",
    "kuramoto",
    "order_parameter",
    "symmetry_broken_kuramoto",
    "winfree_mean_field",
    "winfree_rate",
    "winfree_step",
    "wrap",
]
