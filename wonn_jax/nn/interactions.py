"""Interaction functions: the sensitivity S and the influence I of an oscillator.

Any callable on phases will do in `winfree_step`; these are the WONN paper's. On pictures an
influence is emitted by each patch of N×N oscillators of a channel, and S and I may be learned:
small MLPs, one for every channel, that see no other channel.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.dynamics import PhaseMap
from wonn_jax.kernels.cpu.trigonometry import cos, sin
from wonn_jax.nn.layers import uniform_init

INTERACTIONS = ("fixed", "trig", "mlp")
"""Kinds of S and I: S = cos, I = sin (boards); S = cos, I a learned map of patches of sin θ; both
learned from sin θ and cos θ. The last two are the paper's WONN-trig and WONN-mlp on pictures."""


class Interaction(NamedTuple):
    """A pair S, I of functions of phases (rad)."""

    sensitivity: PhaseMap
    influence: PhaseMap


TRIGONOMETRIC = Interaction(sensitivity=cos, influence=sin)
"""S = cos, I = sin: the grid models; with a symmetric coupling a gradient flow (Appendix D)."""


class ChannelMLP(nn.Module):
    """K inputs → hidden → 1 with a ReLU between, with weights of its own for every channel.

    One batched product over channels. Measured on two CPU cores (16×32×32×128 phases, patches
    of 2×2, forward and backward): `lax.map` over channels took as long, products with the
    channel innermost twice as long forwards, sums of scaled channels up to 1.5 times as long.
    A grouped `lax.conv` compiles its gradient for minutes.

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
    """S(θ) = MLP(sin θ, cos θ), 2 → r → 1 per channel."""

    ratio: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → the same shape and dtype."""
        x = jnp.stack([sin(theta), cos(theta)])
        x = jnp.moveaxis(x.reshape(2, -1, theta.shape[-1]), -1, 0)
        out = ChannelMLP(self.ratio, self.dtype, name="mlp")(x)
        return out.T.reshape(theta.shape).astype(theta.dtype)


class PatchInfluence(nn.Module):
    """I(θ) = MLP(patch), one value for each N×N patch of a channel, zero-padded at the far edges.

    Attributes:
      group: N.
      kind: 'trig', the patch is sin θ, N² → rN² → 1; 'mlp', it is sin θ and then cos θ,
        2N² → 2rN² → 1.
      ratio: r.
    """

    group: int
    kind: str
    ratio: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, theta: Array) -> Array:
        """theta `[B, H, W, C]`, rad → `[B, ⌈H/N⌉, ⌈W/N⌉, C]` in the dtype of theta."""
        waves = [sin(theta)] if self.kind == "trig" else [sin(theta), cos(theta)]
        x = jnp.concatenate([patches(wave, self.group) for wave in waves], axis=1)
        out = ChannelMLP(self.ratio * x.shape[1], self.dtype, name="mlp")(
            x.reshape(*x.shape[:2], -1)
        )
        out = out.reshape(x.shape[0], *x.shape[2:])
        return jnp.moveaxis(out, 0, -1).astype(theta.dtype)


def patches(x: Array, group: int) -> Array:
    """`[B, H, W, C]` → `[C, N², B, ⌈H/N⌉, ⌈W/N⌉]`, a patch row by row, 0 beyond the far edges."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, -height % group), (0, -width % group), (0, 0)))
    # Place by place: each is a plain transposition, in half the time of one of all six axes.
    places = [x[:, i::group, j::group] for i in range(group) for j in range(group)]
    return jnp.stack([jnp.moveaxis(place, -1, 0) for place in places], axis=1)


def spread(field: Array, group: int, height: int, width: int) -> Array:
    """Every cell gets the field of its patch: `[B, ⌈H/N⌉, ⌈W/N⌉, C]` → `[B, H, W, C]`."""
    if group > 1:
        field = jnp.repeat(jnp.repeat(field, group, axis=1), group, axis=2)
    return field[:, :height, :width]
