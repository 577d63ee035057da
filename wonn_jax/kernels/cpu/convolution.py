"""Convolution: JAX's, but on CPUs with a faster gradient with respect to the kernel.

On a CPU, XLA computes that gradient at a quarter of the speed of the forward pass. Here it is a sum
over examples, each term one matrix product of the example's shifted copies and the cotangent. That
is 2.7 to 4.8 times as fast for 3×3 kernels, 128 to 256 channels and 32×32 cells on two cores.
Alternatives that were slower: one product for the copies of the whole batch (2 to 4 times), nine
products over the batch (3 times), copies with channels last (by a quarter). On a CPU only reverse
mode differentiation is supported.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from wonn_jax.parallel.grid import with_neighbours
from wonn_jax.parallel.placement import target

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Array,
    kernel: Array,
    strides: Any,
    padding: Any,
    *,
    axis_name: str | None = None,
    platform: str | None = None,
    **options: Any,
) -> Array:
    """`lax.conv_general_dilated` in the layout of Flax, for `nn.Conv(conv_general_dilated=...)`.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[side, side, C, C']`.
      strides, padding, options: those of `lax.conv_general_dilated`.
      axis_name: mesh axis over which H is split, inside `shard_map`; with padding 'SAME' each
        device then fetches rows from its neighbours.
      platform: 'cpu', 'gpu' or 'tpu'; None for JAX's default backend.

    Returns:
      `[B, H, W, C']` with padding 'SAME' and strides of 1.
    """
    if axis_name and padding == "SAME" and max(kernel.shape[:2]) > 1:
        rows, columns = (side // 2 for side in kernel.shape[:2])
        x = with_neighbours(x, rows, axis_name)
        return lax.conv_general_dilated(x, kernel, strides, [(0, 0), (columns,) * 2], **options)
    defaults = {
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "feature_group_count": 1,
        "batch_group_count": 1,
        "preferred_element_type": None,
    }
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    ordinary = all(given.get(name, value) in (value, None) for name, value in defaults.items())
    rows, columns = kernel.shape[:2]
    same = padding == "SAME" or list(padding) == [(rows // 2,) * 2, (columns // 2,) * 2]
    odd = rows % 2 == columns % 2 == 1
    if target(platform) == "cpu" and ordinary and same and odd and set(strides) == {1}:
        if rows == columns == 1:
            return jnp.matmul(x, kernel[0, 0])
        return _convolve_same(x, kernel)
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _lax_same(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


@jax.custom_vjp
def _convolve_same(x: Array, kernel: Array) -> Array:
    return _lax_same(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _lax_same(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # As a forward convolution: only for those does the compiler have a fast kernel inside loops.
    grad_x = _lax_same(cotangent, kernel[::-1, ::-1].swapaxes(2, 3))
    rows, columns, inputs, outputs = kernel.shape
    height, width = x.shape[1:3]
    edges = ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2, (0, 0))
    # Channels first, so that the product contracts a contiguous axis.
    padded = jnp.pad(x, edges).transpose(0, 3, 1, 2)
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def product(example: Array | int) -> Array:
        cells, grad = padded[example], cotangent[example]
        copies = [
            cells[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)
        ]
        shifted = jnp.stack(copies).reshape(-1, height * width)
        return jnp.matmul(shifted, grad.reshape(-1, outputs), preferred_element_type=wide)

    def add(example: Array, total: Array) -> Array:
        return total + product(example)

    # Start from the first product, not from zeros: under `shard_map` zeros would not vary over the
    # mesh axes, and the types of the carry would differ.
    total = lax.fori_loop(1, len(x), add, product(0))
    return grad_x, total.reshape(kernel.shape).astype(kernel.dtype)


_convolve_same.defvjp(_forward, _backward)
