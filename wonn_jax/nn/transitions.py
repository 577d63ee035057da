"""Transitions of phases and frequencies between layers of oscillators, and the readout.

Each transition has two halves: a convolution of what leaves one layer, and a function of every cell
that makes from it what enters the next. A network that recomputes whole layers stores what is
between the halves (see `wonn_jax.models.base`); otherwise, values that are cheap to recompute are
not stored for the backward pass, see `wonn_jax.kernels.recompute`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.cpu.trigonometry import arctan2, cos, sin
from wonn_jax.kernels.recompute import recomputed
from wonn_jax.nn.layers import BatchNorm, conv, uniform_init
from wonn_jax.parallel.placement import ALONE, Placement


class PhaseEmbedding(nn.Module):
    """e = a ⊙ cos θ + b ⊙ sin θ + c for each channel: a 2π-periodic function of the phases.

    Attributes:
      dtype: of the result.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """

    dtype: Any = jnp.float32
    platform: str | None = None

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[..., C]`, rad → `[..., C]` in `dtype`."""
        shape = (theta.shape[-1],)
        of_cos = self.param("cos", uniform_init(2), shape)
        of_sin = self.param("sin", uniform_init(2), shape)
        bias = self.param("bias", uniform_init(2), shape)
        cosine, sine = cos(theta, self.platform), sin(theta, self.platform)
        return (of_cos * cosine + of_sin * sine + bias).astype(self.dtype)


class PhaseTransition(nn.Module):
    """θ' = atan2(v, u), where u and v are the same 3×3 convolution of cos θ and of sin θ.

    In some models the reference implementation first divides u and v by √(u² + v² + 1e-6). That
    does not change the angle, and it cancels in the derivative, so it is omitted here.

    Attributes:
      inputs: channels C of this layer.
      width: channels of the next layer.
      bias: whether the convolution has a bias, added to both u and v.
      placement: mesh axes inside `shard_map`, and the platform.
      dtype: of the convolution.
    """

    inputs: int
    width: int
    bias: bool = True
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.conv = conv(
            self.inputs,
            self.width,
            3,
            bias=self.bias,
            dtype=self.dtype,
            name="conv",
            placement=self.placement,
        )

    def waves(self, theta: Array) -> tuple[Array, Array]:
        """theta `[B, H, W, C]`, rad → u, v `[B, H, W, width]` in `dtype`."""
        platform = self.placement.platform

        def waves(theta: Array) -> tuple[Array, Array]:
            return self.conv(cos(theta, platform)), self.conv(sin(theta, platform))

        # Only θ is stored. At initialisation the parameters do not exist yet, and Flax cannot
        # create them inside a JAX transformation.
        if self.is_initializing():
            return waves(theta)
        return recomputed(waves, theta, platform=platform)

    def angle(self, u: Array, v: Array) -> Array:
        """The phases of the next layer, rad, in float32 at least."""

        def angle(u: Array, v: Array) -> Array:
            dtype = jnp.promote_types(u.dtype, jnp.float32)
            return arctan2(v.astype(dtype), u.astype(dtype), self.placement.platform)

        return jax.checkpoint(angle)(u, v)

    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → `[B, H, W, width]`, rad, in float32 at least."""
        return self.angle(*self.waves(theta))


class FrequencyTransition(nn.Module):
    """ω' = ReLU(BatchNorm(conv3×3([e, ω]))), e the embedding of the phases before their transition.

    Attributes:
      inputs: channels C of this layer.
      width: channels of the next layer.
      placement: mesh axes inside `shard_map`, and the platform.
      dtype: of the embedding and the convolution.
    """

    inputs: int
    width: int
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.embedding = PhaseEmbedding(self.dtype, self.placement.platform)
        self.conv = conv(
            2 * self.inputs,
            self.width,
            3,
            bias=True,
            dtype=self.dtype,
            name="conv",
            placement=self.placement,
        )
        self.norm = BatchNorm(axis_names=self.placement.axes, dtype=self.dtype)

    def fuse(self, theta: Array, omega: Array) -> Array:
        """theta (rad), omega `[B, H, W, C]` → `[B, H, W, width]` in `dtype`."""

        def fuse(theta: Array, omega: Array) -> Array:
            both = jnp.concatenate([self.embedding(theta), omega.astype(self.dtype)], axis=-1)
            return self.conv(both)

        if self.is_initializing():  # as in `PhaseTransition.waves`
            return fuse(theta, omega)
        return recomputed(fuse, theta, omega, platform=self.placement.platform)

    def activate(self, x: Array, *, train: bool, weight: Array | None = None) -> Array:
        """The frequencies of the next layer, rad per unit time, in float32 at least."""
        omega = nn.relu(self.norm(x, train=train, weight=weight))
        return omega.astype(jnp.promote_types(x.dtype, jnp.float32))

    def __call__(
        self, theta: Array, omega: Array, *, train: bool, weight: Array | None = None
    ) -> Array:
        """theta (rad), omega `[B, H, W, C]`; weight `[B]` of examples → `[B, H, W, width]`."""
        return self.activate(self.fuse(theta, omega), train=train, weight=weight)


class Readout(nn.Module):
    """Features of the final phases: embedding → conv C → 2C → norm → ReLU → conv 2C → C → norm.

    Attributes:
      sides: of the kernels of the two convolutions, cells.
      placement: mesh axes inside `shard_map`, and the platform.
      dtype: of the features.
    """

    sides: tuple[int, int]
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array, *, train: bool, weight: Array | None = None) -> Array:
        """theta `[B, H, W, C]`, rad; weight `[B]` of examples → `[B, H, W, C]` in `dtype`."""
        width, platform = theta.shape[-1], self.placement.platform
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
                placement=self.placement,
            )

        embed = PhaseEmbedding(self.dtype, platform, name="embedding")
        convolve = convolution(width, 2 * width, first, "conv_1")

        def read(theta: Array) -> Array:
            return convolve(embed(theta))

        x = read(theta) if self.is_initializing() else recomputed(read, theta, platform=platform)
        x = nn.relu(normalise(x, "norm_1"))
        x = convolution(2 * width, width, second, "conv_2")(x)
        return normalise(x, "norm_2")
