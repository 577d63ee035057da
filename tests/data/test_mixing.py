"""Erasing and CutMix against their definitions, on one device and on four."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from wonn_jax.common.rng import example_keys
from wonn_jax.data.mixing import cutmix, normalise, random_erasing

# Nearly all of the time goes into compiling, so every program serves several tests and is not
# optimised.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SHAPE = (8, 12, 16, 3)
DRAWS = 1500


@jit
def erase(images, keys, probability, scale=(0.02, 0.33)):
    return random_erasing(images, keys, probability, scale)


@jit
def mix(images, keys, alpha, probability):
    """CutMix of the same images with each of the keys."""
    return jax.vmap(lambda key: cutmix(images, key, alpha=alpha, probability=probability))(keys)


def batch(shape=SHAPE) -> jax.Array:
    return jax.random.uniform(jax.random.key(9), shape, minval=0.5)  # never 0


def keys(count, seed=0) -> jax.Array:
    return example_keys(jax.random.key(seed), jnp.arange(count))


def boxes(mask: np.ndarray) -> np.ndarray:
    """Height and width of the one box in each mask `[B, H, W]`, which must be full."""
    h, w = mask.any(2).sum(1), mask.any(1).sum(1)
    np.testing.assert_array_equal(mask.sum((1, 2)), h * w)
    return np.stack([h, w])


def likely(successes, draws, probability) -> bool:
    """Within five standard deviations of the binomial."""
    std = math.sqrt(draws * probability * (1 - probability))
    return abs(successes - draws * probability) < 5 * std


def test_normalise(strict_shapes):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3) * 2
    got = normalise(jnp.asarray(images), mean, std)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_erasing_boxes(strict_shapes):
    count, side = 2000, 64
    got = np.asarray(erase(jnp.ones((count, side, side, 1)), keys(count), 0.25))[..., 0]
    assert set(np.unique(got)) == {0.0, 1.0}
    mask = got == 0
    hit = mask.any((1, 2))
    assert likely(hit.sum(), count, 0.25)
    got = np.asarray(erase(jnp.ones((count, side, side, 1)), keys(count), 1.0))[..., 0]
    np.testing.assert_array_equal(got[hit] == 0, mask[hit])  # the probability moves no box
    h, w = boxes(got == 0)
    assert (h > 0).all() and (h < side).all() and (w < side).all()
    area, ratio = h * w / side**2, np.log(h / w)
    # Sides are rounded to whole pixels.
    assert 0.015 < area.min() < 0.03 and 0.32 < area.max() < 0.345
    assert math.log(0.25) < ratio.min() < math.log(0.36)
    assert math.log(2.8) < ratio.max() < math.log(3.9)
    low, high = math.log(0.3), math.log(3.3)
    small = area < 0.25  # those always fit: uniform, and log-uniform
    assert likely((area[small] < 0.135).sum(), small.sum(), 0.5)
    assert likely((ratio[small] < (low + high) / 2).sum(), small.sum(), 0.5)
    assert likely((ratio[small] < low + (high - low) / 4).sum(), small.sum(), 0.25)
    # The position is uniform, from the first row and column to the last that the box fits in.
    for axis, extent in ((1, h), (2, w)):
        start = np.argmax((got == 0).any(3 - axis), 1)
        assert (start == 0).any() and (start + extent == side).any()
        assert abs((start / (side - extent)).mean() - 0.5) < 5 * math.sqrt(1 / 12 / count)


def test_erasing_leaves_the_rest_and_the_dtype():
    images = batch()
    got = erase(images, keys(8), 1.0)
    np.testing.assert_array_equal(got, jnp.where(got == 0, 0, images))
    channels = np.asarray(got == 0)
    assert channels.any() and (channels == channels[..., :1]).all()  # all channels alike
    np.testing.assert_array_equal(erase(images, keys(8), 0.0), images)
    # No box of such an area is smaller than the image: unchanged after ten attempts.
    np.testing.assert_array_equal(erase(images, keys(8), 1.0, scale=(1.5, 2.0)), images)
    assert jax.eval_shape(erase, images.astype(jnp.bfloat16), keys(8), 1.0).dtype == jnp.bfloat16


def test_erasing_depends_on_the_key_of_the_example_alone():
    images, order = batch(), np.array([5, 2, 7, 0, 0, 3, 1, 6])
    whole = erase(images, keys(8), 0.7)
    np.testing.assert_array_equal(erase(images[order], keys(8)[order], 0.7), whole[order])


IMAGES = np.broadcast_to(np.arange(1.0, 5.0, dtype=np.float32)[:, None, None, None], (4, 32, 24, 2))


def test_cutmix_share_is_the_area(strict_shapes):
    got, share, partner = jax.device_get(mix(IMAGES, keys(DRAWS), 1.0, 0.8))
    assert share.dtype == np.float32 and share.shape == (DRAWS,)
    np.testing.assert_array_equal(partner, np.tile(np.arange(3, -1, -1), (DRAWS, 1)))
    own, other = got == IMAGES, got == IMAGES[::-1]
    assert (own ^ other).all()
    np.testing.assert_allclose(share, own[:, 0, :, :, 0].mean((1, 2)), rtol=1e-6, atol=1e-7)
    assert (own == own[:, :1, :, :, :1]).all()  # the same box in all images and channels
    mask = ~own[:, 0, :, :, 0]
    h, w = boxes(mask)
    # A box of less than a pixel changes nothing; with λ ~ U(0, 1) its probability is 1 in 24².
    assert likely((share < 1).sum(), DRAWS, 0.8 * (1 - 1 / 24**2))
    # Boxes that are not clipped have the shape of the image.
    clear = ~(mask[:, [0, -1]].any((1, 2)) | mask[:, :, [0, -1]].any((1, 2))) & (h > 0)
    assert clear.sum() > 100 and abs(h[clear] / 32 - w[clear] / 24).max() < 1 / 24
    # The corners can be reached.
    assert mask[:, 0, 0].any() and mask[:, -1, -1].any() and mask[:, 0, -1].any()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_cutmix_shares_follow_beta(alpha):
    got, share, _ = jax.device_get(mix(IMAGES, keys(DRAWS), alpha, 1.0))
    boxes(got[:, 0, :, :, 0] != IMAGES[0, :, :, 0])
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(alpha, alpha, 20_000))
    covered = []
    for length in (32, 24):
        extent = np.floor(length * side).astype(int)
        start = rng.integers(length, size=20_000) - extent // 2
        covered.append(np.minimum(start + extent, length) - np.maximum(start, 0))
    expected = 1 - covered[0] * covered[1] / (32 * 24)
    assert abs(share.mean() - expected.mean()) < 0.03
    for cut in (0.25, 0.5, 0.75):
        # Shares are multiples of 1/768: the quantile itself may have a probability.
        below = (expected < np.quantile(expected, cut)).mean()
        assert likely((share < np.quantile(expected, cut)).sum(), DRAWS, below)


def test_cutmix_of_probability_zero():
    images, share, _ = mix(IMAGES, keys(DRAWS), 1.0, 0.0)
    np.testing.assert_array_equal(share, 1)
    np.testing.assert_array_equal(images, np.broadcast_to(IMAGES, images.shape))


def test_devices_do_not_matter(mesh):
    """The draws are the same bits; the compiler may round what is computed from them differently.

    A box would change if rounding took one of its sides across a pixel; these are not that close.
    """

    @jit
    def change(images, keys, key):
        images = random_erasing(normalise(images, (0.5,) * 3, (0.2,) * 3), keys, 0.5)
        return cutmix(images, key, alpha=1.0, probability=1.0)

    images = jax.random.randint(jax.random.key(1), SHAPE, 0, 256).astype(jnp.uint8)
    arguments = images, keys(8), jax.random.key(3)
    rows = NamedSharding(mesh, P("data"))
    spread = jax.device_put(images, rows), jax.device_put(keys(8), rows), arguments[2]
    got, want = change(*spread), change(*arguments)
    assert not got[0].sharding.is_fully_replicated and want[1] < 1
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    np.testing.assert_array_equal(got[2], want[2])
