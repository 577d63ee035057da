"""Initial phases of oscillators."""

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dynamics import wrap

INITIAL_PHASES = ("noise", "zeros")


def initial_phases(
    keys: Array,
    shape: tuple[int, ...],
    *,
    kind: str = "noise",
    scale: float = 0.1,
    dtype=jnp.float32,
) -> Array:
    """θ_0 of a batch: wrap(scale · standard normal), each example from its own key."""
    if kind not in INITIAL_PHASES:
        raise ValueError(f"initial phases {kind!r} are unknown; use {' or '.join(INITIAL_PHASES)}.")
    if kind == "zeros":
        scale = 0.0  # of the draw, not jnp.zeros: under shard_map they must vary with the keys
    return wrap(scale * jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys))
