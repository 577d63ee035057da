"""Interaction functions: the sensitivity S and the influence I of an oscillator.

Any callable on phases will do in `winfree_step`; these are the WONN paper's.
"""

from typing import NamedTuple

import jax.numpy as jnp

from wonn_jax.dynamics import PhaseMap


class Interaction(NamedTuple):
    """A pair S, I of functions of phases (rad)."""

    sensitivity: PhaseMap
    influence: PhaseMap


TRIGONOMETRIC = Interaction(sensitivity=jnp.cos, influence=jnp.sin)
"""S = cos, I = sin: the grid models; with a symmetric coupling a gradient flow (Appendix D)."""
