"""Small systems of oscillators that the tests of the dynamics share."""

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.dynamics import wrap

N = 6
CORE = {"sensitivity": jnp.cos, "influence": jnp.sin}


def tolerance(dtype) -> dict[str, float]:
    """A few roundings of numbers of order 1 to 10."""
    eps = float(jnp.finfo(dtype).eps)
    return {"rtol": 50 * eps, "atol": 50 * eps}


def normal(*shape: int, seed: int = 0, dtype=np.float32, scale: float = 1.0) -> jax.Array:
    draw = np.random.default_rng([seed, *shape]).normal(size=shape, scale=scale)
    return jnp.asarray(draw.astype(dtype))


def system(*batch: int, dtype=np.float32):
    """Phases, frequencies and an asymmetric coupling matrix."""
    theta = wrap(normal(*batch, N, seed=1, dtype=dtype, scale=2.0))
    omega = normal(*batch, N, seed=2, dtype=dtype)
    return theta, omega, normal(N, N, seed=3, dtype=dtype, scale=0.5)


def symmetric(dtype=np.float32) -> jax.Array:
    """A symmetric coupling matrix."""
    _, _, matrix = system(dtype=dtype)
    return (matrix + matrix.T) / 2


def on_circle(theta) -> np.ndarray:
    """Phases as unit vectors: −π and π are the same."""
    theta = np.asarray(theta)
    return np.stack([np.cos(theta), np.sin(theta)])
