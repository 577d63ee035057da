"""Dense layers, convolutions and norms with the conventions of the reference implementation.

Weights and biases are initialised uniformly in ±1/√fan_in. Norms are computed in float32 at least.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.kernels.cpu.convolution import convolve
from wonn_jax.parallel.grid import mean_over
from wonn_jax.parallel.placement import ALONE, Placement

_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_init(fan_in: int):
    """An initializer: uniform in ±1/√fan_in."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: Array, shape, dtype=jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def dense(inputs: int, outputs: int, *, dtype: Any, name: str) -> nn.Dense:
    """Linear map with bias on the last axis, `[..., inputs]` → `[..., outputs]`."""
    return nn.Dense(
        outputs, dtype=dtype, kernel_init=_kernel_init, bias_init=uniform_init(inputs), name=name
    )


def conv(
    inputs: int | None,
    outputs: int,
    side: int,
    *,
    bias: bool,
    dtype: Any,
    name: str,
    stride: int = 1,
    placement: Placement = ALONE,
) -> nn.Conv:
    """side × side convolution, `[B, H, W, inputs]` → `[B, H', W', outputs]`.

    With a stride of 1, zero padding keeps H and W. With a larger one there is no padding, and cells
    at the far edges that do not fill a window are ignored. `inputs` determines the initial bias;
    it can be None if there is none.
    """
    return nn.Conv(
        outputs,
        (side, side),
        strides=stride,
        padding="SAME" if stride == 1 else "VALID",
        use_bias=bias,
        dtype=dtype,
        kernel_init=_kernel_init,
        bias_init=uniform_init((inputs or 1) * side * side),
        conv_general_dilated=functools.partial(
            convolve, axis_name=placement.grid, platform=placement.platform
        ),
        name=name,
    )


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with PyTorch's running statistics.

    It normalises by the biased variance, but the running variance tracks the unbiased one. Examples
    of weight 0 (the padding of a last, partial batch) are ignored. Under `shard_map` the statistics
    are those of the global batch.

    Attributes:
      eps: added to the variance.
      momentum: weight of the new batch in the running statistics.
      axis_names: mesh axes over which examples or cells are split, in equal parts.
      dtype: of the output.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    axis_names: tuple[str, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, weight: Array | None = None) -> Array:
        """x `[B, ..., C]`; weight `[B]` of 0 and 1, or None for all 1."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean_state = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var_state = self.variable("batch_stats", "var", jnp.ones, (channels,))
        batches = self.variable("batch_stats", "batches", jnp.zeros, (), jnp.int32)

        if train:
            mean, var, count = self._statistics(x, weight)
            if not self.is_initializing():
                unbiased = var * (count / jnp.maximum(count - 1, 1))
                momentum = jnp.where(count > 0, self.momentum, 0.0)  # 0 for a batch of padding only
                mean_state.value += momentum * (mean - mean_state.value)
                var_state.value += momentum * (unbiased - var_state.value)
                batches.value += 1
        else:
            mean, var = mean_state.value, var_state.value

        def normalise(x: Array, mean: Array, var: Array, scale: Array, bias: Array) -> Array:
            wide = x.astype(mean.dtype)
            out = (wide - mean) * (jax.lax.rsqrt(var + self.eps) * scale) + bias
            return out.astype(self.dtype)

        return jax.checkpoint(normalise)(x, mean, var, scale, bias)

    def _statistics(self, x: Array, weight: Array | None) -> tuple[Array, Array, Array]:
        axes = tuple(range(x.ndim - 1))
        per_example = math.prod(x.shape[1:-1])
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        weight = jnp.ones(x.shape[:1], dtype) if weight is None else weight.astype(dtype)
        spread = weight.reshape(-1, *[1] * (x.ndim - 1))
        count = self._over_devices(weight.sum()) * per_example
        size = jnp.maximum(count, 1)

        def squares(x: Array, mean: Array) -> Array:
            return (jnp.square(x.astype(dtype) - mean) * spread).sum(axes)

        mean = self._over_devices((x.astype(dtype) * spread).sum(axes)) / size
        # For the backward pass x is stored as it is, not in float32.
        var = self._over_devices(jax.checkpoint(squares)(x, mean)) / size
        return mean, var, count

    def _over_devices(self, x: Array) -> Array:
        return jax.lax.psum(x, self.axis_names) if self.axis_names else x


class GroupNorm(nn.Module):
    """Group normalisation of tokens `[B, N, C]` over groups of consecutive channels.

    Attributes:
      groups: number of groups; must divide C.
      over_tokens: whether the statistics are over tokens and channels (the paper's norm), or over
        the channels of each token separately, as a causal mask requires: no information then passes
        from later tokens to earlier ones.
      grid_axis: mesh axis over which the tokens are split, in equal parts, all of them valid.
      eps: added to the variance.
      dtype: of the output.
    """

    groups: int
    over_tokens: bool = True
    grid_axis: str | None = None
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, valid: Array | None = None) -> Array:
        """x `[B, N, C]`; valid `[B, N]` booleans, tokens that enter the statistics."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        wide = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
        where = None
        if valid is not None and self.over_tokens:
            # An example of padding only counts as valid: 0/0 would have a gradient of NaN.
            where = (valid | ~valid.any(axis=1, keepdims=True))[:, :, None]

        def statistic(values: Array) -> Array:
            """Mean of `[B, N, C]` over what is normalised together, for every channel."""
            # Over tokens first, while the channels are one contiguous axis: on a CPU a mean over
            # both axes at once makes a whole training step slower by a tenth.
            if self.over_tokens:
                values = mean_over(values.mean(1, keepdims=True, where=where), self.grid_axis)
            groups = values.reshape(*values.shape[:2], self.groups, channels // self.groups)
            mean = groups.mean(-1, keepdims=True)
            return jnp.broadcast_to(mean, groups.shape).reshape(values.shape)

        centred = wide - statistic(wide)
        spread = jax.lax.rsqrt(statistic(jnp.square(centred)) + self.eps)
        return (centred * (spread * scale) + bias).astype(self.dtype)
