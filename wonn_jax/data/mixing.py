"""Augmentation of whole batches of images on the device: normalising, erasing and CutMix.

Pure functions of arrays and keys. Under `jit`, a batch that is sharded over devices gives the
same values as one that is not.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

TRIES = 10  # attempts to draw a box that fits into the image


def normalise(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """(x / 255 − mean) / std for each channel: `[B, H, W, 3]`, uint8 → float32."""
    shift, scale = (np.asarray(x, np.float32)[None, None, None] for x in (mean, std))
    return (images.astype(jnp.float32) / 255 - shift) / scale


def random_erasing(
    images: Array,
    keys: Array,
    probability: float,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Array:
    """Sets a random box of some images to 0, the mean of normalised images.

    Zhong et al., arXiv 1708.04896, algorithm 1. As in torchvision, the aspect ratio is
    log-uniform, and an image is left unchanged if none of ten drawn boxes fits.

    Args:
      images: `[B, H, W, C]`.
      keys: `[B]`, one for each image (`wonn_jax.common.rng.example_keys`).
      probability: probability that an image is changed.
      scale: bounds of the area of the box, relative to that of the image.
      ratio: bounds of the ratio of height to width.

    Returns:
      `[B, H, W, C]`, with the dtype of `images`.
    """
    height, width = images.shape[1:3]

    def erased(key: Array) -> Array:
        coin, areas, ratios, top, left = jax.random.split(key, 5)
        area = jax.random.uniform(areas, (TRIES,), minval=scale[0], maxval=scale[1])
        bounds = np.log(ratio)
        shape = jnp.exp(jax.random.uniform(ratios, (TRIES,), minval=bounds[0], maxval=bounds[1]))
        h = jnp.round(jnp.sqrt(height * width * area * shape)).astype(int)
        w = jnp.round(jnp.sqrt(height * width * area / shape)).astype(int)
        fits = (h < height) & (w < width)
        first = jnp.argmax(fits)
        h, w = h[first], w[first]
        inside = _box(
            (height, width),
            jax.random.randint(top, (), 0, height - h + 1),
            jax.random.randint(left, (), 0, width - w + 1),
            h,
            w,
        )
        return inside & fits[first] & (jax.random.uniform(coin) < probability)

    return jnp.where(jax.vmap(erased)(keys)[..., None], 0, images)


def cutmix(
    images: Array, key: Array, *, alpha: float, probability: float
) -> tuple[Array, Array, Array]:
    """CutMix (Yun et al., arXiv 1905.04899) with one box for the whole batch.

    The partner of each image is the one in the same place of the reversed batch. The loss is
    share · CE(label of the image) + (1 − share) · CE(label of its partner).

    Args:
      images: `[B, H, W, C]`.
      key: key of the batch.
      alpha: λ ~ Beta(α, α); the box has the relative area 1 − λ before it is clipped to the image.
      probability: probability that the batch is mixed at all.

    Returns:
      Images `[B, H, W, C]`; the share of pixels that an image keeps, a float32 scalar, 1 if
      nothing was mixed; the row of each image's partner, `[B]`.
    """
    batch, height, width = images.shape[:3]
    coin, beta, row, column = jax.random.split(key, 4)
    side = jnp.sqrt(1 - jax.random.beta(beta, alpha, alpha, dtype=jnp.float32))
    side = jnp.where(jax.random.uniform(coin) < probability, side, 0)
    h, w = (height * side).astype(int), (width * side).astype(int)
    top = jax.random.randint(row, (), 0, height) - h // 2
    left = jax.random.randint(column, (), 0, width) - w // 2
    inside = _box((height, width), top, left, h, w)
    mixed = jnp.where(inside[None, :, :, None], images[::-1], images)
    share = 1 - inside.mean(dtype=jnp.float32)
    return mixed, share, jnp.arange(batch - 1, -1, -1)


def _box(size: tuple[int, int], top: Array, left: Array, height: Array, width: Array) -> Array:
    """Mask `[H, W]` of a box, clipped to the image."""
    row, column = jnp.arange(size[0])[:, None], jnp.arange(size[1])[None, :]
    return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
