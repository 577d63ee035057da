"""Winfree Oscillatory Neural Networks in JAX.

The functional core is importable from here and needs nothing but JAX:

    from wonn_jax import evolve, winfree_step

Models, tasks and training live in the submodules.
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
    "winfree_step",
    "wrap",
]
