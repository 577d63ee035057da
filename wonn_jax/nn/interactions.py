"""Interaction functions: the sensitivity S and the influence I of an oscillator.

`winfree_step` accepts any callables on phases; these are the WONN paper's. On pictures each patch
of N×N oscillators of a channel emits one influence, and S and I may be learned: a small MLP for
every channel, which has access to no other channel.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.dynamics import PhaseMap
from wonn_jax.kernels.cpu.trigonometry import cos, sin
from wonn_jax.kernels.recompute import cheap
from wonn_jax.nn.layers import uniform_init

INTERACTIONS = ("fixed", "trig", "mlp")
"""Kinds of S and I. 'fixed': S = cos, I = sin (boards). 'trig': S = cos, I learned from patches of
sin θ. 'mlp': S and I learned from sin θ and cos θ. The last two are WONN-trig and WONN-mlp in the
paper, for pictures."""


class Interaction(NamedTuple):
    """A pair S, I of functions of phases (rad)."""

    sensitivity: PhaseMap
    influence: PhaseMap


def trigonometric(platform: str | None = None) -> Interaction:
    """S = cos, I = sin, as in the grid models.

    With a symmetric coupling the dynamics are a gradient flow (WONN paper, Appendix D).

    Args:
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """
    return Interaction(
        sensitivity=functools.partial(cos, platform=platform),
        influence=functools.partial(sin, platform=platform),
    )


class ChannelMLP(nn.Module):
    """For every channel an MLP of its own: K inputs → `hidden` units, ReLU → 1 output.

    It is one matrix product batched over channels. Alternatives, measured on two CPU cores
    (16×32×32×128 phases, patches of 2×2, forward and backward): `lax.map` over channels took as
    long, products with the channel innermost twice as long in the forward pass, sums of scaled
    channels up to 1.5 times as long. The gradient of a grouped `lax.conv` takes minutes to compile.

    Attributes:
      hidden: units per channel.
      dtype: of the products.
    """

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """x `[C, K, n]` → `[C, n]`."""
        channels, inputs, _ = x.shape
        shape = (channels, self.hidden, inputs)
        kernel_1 = self.param("kernel_1", uniform_init(inputs), shape)
        bias_1 = self.param("bias_1", uniform_init(inputs), shape[:2])
        kernel_2 = self.param("kernel_2", uniform_init(self.hidden), shape[:2])
        bias_2 = self.param("bias_2", uniform_init(self.hidden), shape[:1])
        x, kernel_1, bias_1, kernel_2, bias_2 = (
            y.astype(self.dtype) for y in (x, kernel_1, bias_1, kernel_2, bias_2)
        )
        hidden = nn.relu(jnp.einsum("chk,ckn->chn", kernel_1, x) + bias_1[:, :, None])
        return jnp.einsum("ch,chn->cn", kernel_2, hidden) + bias_2[:, None]


class LearnedSensitivity(nn.Module):
    """S(θ) = MLP(sin θ, cos θ), 2 → r → 1 per channel.

    Attributes:
      ratio: r.
      dtype: of the products.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """

    ratio: int = 2
    dtype: Any = jnp.float32
    platform: str | None = None

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → the same shape and dtype."""

        def waves(theta: Array) -> Array:
            both = [f(theta, self.platform).astype(self.dtype) for f in (sin, cos)]
            return jnp.moveaxis(jnp.stack(both).reshape(2, -1, theta.shape[-1]), -1, 0)

        x = cheap(waves, self.platform)(theta)
        out = ChannelMLP(self.ratio, self.dtype, name="mlp")(x)
        return out.T.reshape(theta.shape).astype(theta.dtype)


class PatchInfluence(nn.Module):
    """I(θ) = MLP(patch), one value for each N×N patch of a channel, zero-padded at the far edges.

    Attributes:
      group: N.
      kind: 'trig', the inputs are sin θ of the patch, N² → rN² → 1; 'mlp', they are sin θ followed
        by cos θ, 2N² → 2rN² → 1.
      ratio: r.
      dtype: of the products.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.
    """

    group: int
    kind: str
    ratio: int = 2
    dtype: Any = jnp.float32
    platform: str | None = None

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → `[B, ⌈H/N⌉, ⌈W/N⌉, C]` in the dtype of theta."""
        functions = (sin, cos) if self.kind == "mlp" else (sin,)

        def waves(theta: Array) -> Array:
            each = [f(theta, self.platform).astype(self.dtype) for f in functions]
            return jnp.concatenate([patches(wave, self.group) for wave in each], axis=1)

        x = cheap(waves, self.platform)(theta)
        out = ChannelMLP(self.ratio * x.shape[1], self.dtype, name="mlp")(
            x.reshape(*x.shape[:2], -1)
        )
        out = out.reshape(x.shape[0], *x.shape[2:])
        return jnp.moveaxis(out, 0, -1).astype(theta.dtype)


def patches(x: Array, group: int) -> Array:
    """`[B, H, W, C]` → `[C, N², B, ⌈H/N⌉, ⌈W/N⌉]`: N×N patches in row-major order, zero-padded."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, -height % group), (0, -width % group), (0, 0)))
    # One strided slice for each cell of a patch: this takes half the time of a transposition of all
    # six axes.
    cells = [x[:, i::group, j::group] for i in range(group) for j in range(group)]
    return jnp.stack([jnp.moveaxis(cell, -1, 0) for cell in cells], axis=1)


def spread(field: Array, group: int, height: int, width: int) -> Array:
    """Gives every cell the field of its patch: `[B, ⌈H/N⌉, ⌈W/N⌉, C]` → `[B, H, W, C]`."""
    if group > 1:
        field = jnp.repeat(jnp.repeat(field, group, axis=1), group, axis=2)
    return field[:, :height, :width]
