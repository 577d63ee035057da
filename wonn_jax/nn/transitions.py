"""What carries phases and frequencies from one layer of oscillators to the next, and out.

What is cheap to compute again is not kept for the backward pass, see `wonn_jax.kernels.recompute`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dist.grid import ALONE, Placement
from wonn_jax.kernels.cpu.trigonometry import arctan2, cos, sin
from wonn_jax.kernels.recompute import recomputed
from wonn_jax.nn.layers import BatchNorm, conv, uniform_init


class PhaseEmbedding(nn.Module):
    """e = a ⊙ cos θ + b ⊙ sin θ + c per channel: a 2π-periodic reading of phases."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[..., C]`, rad → `[..., C]` in `dtype`."""
        shape = (theta.shape[-1],)
        of_cos = self.param("cos", uniform_init(2), shape)
        of_sin = self.param("sin", uniform_init(2), shape)
        bias = self.param("bias", uniform_init(2), shape)
        return (of_cos * cos(theta) + of_sin * sin(theta) + bias).astype(self.dtype)


class PhaseTransition(nn.Module):
    """θ' = atan2(v, u), u and v one shared 3×3 convolution of cos θ and sin θ.

    The reference implementation divides u and v by √(u² + v² + 1e-6) first in some models: that
    leaves the angle as it is and cancels in its derivative, so it is not done here.

    Attributes:
      width: channels of the next layer.
      bias: whether the convolution has one (then it is added to u and to v).
      placement: of the model, inside `shard_map`.
    """

    width: int
    bias: bool = True
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → `[B, H, W, width]`, rad, in the dtype of theta."""
        convolve = conv(
            theta.shape[-1],
            self.width,
            3,
            bias=self.bias,
            dtype=self.dtype,
            name="conv",
            grid_axis=self.placement.grid,
        )

        def waves(theta: Array) -> tuple[Array, Array]:
            return convolve(cos(theta)), convolve(sin(theta))

        def angle(u: Array, v: Array) -> Array:
            return arctan2(v.astype(theta.dtype), u.astype(theta.dtype))

        # Of all intermediates only θ, u and v are kept, once the parameters exist.
        if self.is_initializing():
            return angle(*waves(theta))
        return jax.checkpoint(angle)(*recomputed(waves, theta))


class FrequencyTransition(nn.Module):
    """ω' = ReLU(BatchNorm(conv3×3([e, ω]))), e the embedding of the phases before transition.

    Attributes:
      width: channels of the next layer.
      placement: of the model, inside `shard_map`.
    """

    width: int
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, theta: Array, omega: Array, *, train: bool, weight: Array | None = None
    ) -> Array:
        """theta, omega `[B, H, W, C]`; weight `[B]` of examples → `[B, H, W, width]`."""
        embed = PhaseEmbedding(self.dtype, name="embedding")
        width = theta.shape[-1] + omega.shape[-1]
        convolve = conv(
            width,
            self.width,
            3,
            bias=True,
            dtype=self.dtype,
            name="conv",
            grid_axis=self.placement.grid,
        )

        def fuse(theta: Array, omega: Array) -> Array:
            return convolve(jnp.concatenate([embed(theta), omega.astype(self.dtype)], axis=-1))

        # Only θ and ω are kept for the backward pass, once the parameters exist.
        out = fuse(theta, omega) if self.is_initializing() else recomputed(fuse, theta, omega)
        norm = BatchNorm(axis_names=self.placement.axes, dtype=self.dtype, name="norm")
        return nn.relu(norm(out, train=train, weight=weight)).astype(omega.dtype)


class Readout(nn.Module):
    """Features of the final phases: embedding → conv C → 2C → norm → ReLU → conv 2C → C → norm.

    Attributes:
      sides: of the two convolutions' kernels, cells.
      placement: of the model, inside `shard_map`.
    """

    sides: tuple[int, int]
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array, *, train: bool, weight: Array | None = None) -> Array:
        """theta `[B, H, W, C]`, rad; weight `[B]` of examples → `[B, H, W, C]` in `dtype`."""
        width = theta.shape[-1]
        first, second = self.sides

        def normalise(x: Array, name: str) -> Array:
            norm = BatchNorm(axis_names=self.placement.axes, dtype=self.dtype, name=name)
            return norm(x, train=train, weight=weight)

        def convolution(inputs: int, outputs: int, side: int, name: str) -> nn.Conv:
            return conv(
                inputs,
                outputs,
                side,
                bias=False,
                dtype=self.dtype,
                name=name,
                grid_axis=self.placement.grid,
            )

        embed = PhaseEmbedding(self.dtype, name="embedding")
        convolve = convolution(width, 2 * width, first, "conv_1")

        def read(theta: Array) -> Array:
            return convolve(embed(theta))

        x = read(theta) if self.is_initializing() else recomputed(read, theta)
        x = nn.relu(normalise(x, "norm_1"))
        x = convolution(2 * width, width, second, "conv_2")(x)
        return normalise(x, "norm_2")
