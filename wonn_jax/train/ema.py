"""Exponential moving average of weights and BatchNorm statistics, as the WONN paper trains.

It is looked at after updates 1, 1 + every, 1 + 2·every, …, as the reference's library counts.
Up to `after` steps it copies; later, k steps on, it averages with the decay
min(limit, 1 − (1 + k)^(−2/3)), so that the average is young while the run is.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.checks import at_least, share


@dataclasses.dataclass(frozen=True)
class EmaConfig:
    """When and how fast the average follows the weights and statistics."""

    decay: float = 0.995  # upper bound
    every: int = 10  # steps
    after: int = 100  # steps; up to there it copies

    def check(self) -> None:
        at_least(1, "ema", self, "every")
        at_least(0, "ema", self, "after")
        share("ema", self, "decay", one=False)


def ema_decay(step: Array | int, config: EmaConfig) -> Array:
    """Share of the old average after update number `step` (from 1); 1 where nothing happens."""
    since = jnp.asarray(step) - 1 - config.after
    warm = 1.0 - (1.0 + jnp.maximum(since, 0)) ** (-2.0 / 3.0)
    decay = jnp.where(since <= 0, 0.0, jnp.minimum(warm, config.decay))
    return jnp.where((jnp.asarray(step) - 1) % config.every == 0, decay, 1.0)


def update_ema(average: Any, current: Any, step: Array | int, config: EmaConfig) -> Any:
    """The average after update number `step`; integers (counters) are copied with the rest."""
    decay = ema_decay(step, config)

    def blend(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return jnp.where(decay < 1, new, old)
        # Exact at decay 0 (a copy, bit for bit) and 1 (unchanged).
        mixed = old + (1 - decay).astype(new.dtype) * (new - old)
        return jnp.where(decay == 0, new, jnp.where(decay == 1, old, mixed))

    return jax.tree.map(blend, average, current)
