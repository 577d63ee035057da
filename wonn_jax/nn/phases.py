"""Initial phases of a batch."""

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
    """θ_0 = wrap(scale · standard normal), drawn for each example from its own key.

    Args:
      keys: `[B]`, from `wonn_jax.common.rng.example_keys`.
      shape: of one example's phases.
      kind: one of `INITIAL_PHASES`; with 'zeros' all phases are 0.
      scale: standard deviation, rad.

    Returns:
      `[B, *shape]`, rad.

    Raises:
      ValueError: `kind` is unknown.
    """
    if kind not in INITIAL_PHASES:
        raise ValueError(f"initial phases {kind!r} are unknown; use {' or '.join(INITIAL_PHASES)}.")
    if kind == "zeros":
        # Zero the draw rather than call jnp.zeros: under `shard_map` the result must vary over
        # the same mesh axes as the keys.
        scale = 0.0
    return wrap(scale * jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys))
