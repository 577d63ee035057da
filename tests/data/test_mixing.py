"""Erasing and CutMix against their definitions, on one device and on four."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from wonn_jax.data.mixing import cutmix, normalise, random_erasing
from wonn_jax.rng import example_keys

SHAPE = (8, 12, 16, 3)
erase = jax.jit(random_erasing)  # one compilation for all probabilities


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
    spread = math.sqrt(draws * probability * (1 - probability))
    return abs(successes - draws * probability) < 5 * spread


def test_normalise(strict_shapes):
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3) * 2
    got = normalise(jnp.asarray(images), mean, deviation)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (images / 255 - mean) / deviation, rtol=1e-5, atol=1e-6)


def test_erasing_boxes(strict_shapes):
    count, side = 2000, 64
    got = np.asarray(erase(jnp.ones((count, side, side, 1)), keys(count), 0.25))[..., 0]
    assert set(np.unique(got)) == {0.0, 1.0}
    mask = got == 0
    hit = mask.any((1, 2))
    assert likely(hit.sum(), count, 0.25)
    got = np.asarray(erase(jnp.ones((count, side, side, 1)), keys(count), 1.0))[..., 0]
    np.testing.assert_array_equal(got[hit] == 0, mask[hit])  # only the coin knows the probability
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
    # The place is uniform in what is left, from the first row and column to the last.
    for axis, extent in ((1, h), (2, w)):
        start = np.argmax((got == 0).any(3 - axis), 1)
        assert (start == 0).any() and (start + extent == side).any()
        assert abs((start / (side - extent)).mean() - 0.5) < 5 * math.sqrt(1 / 12 / count)


def test_erasing_leaves_the_rest_and_the_type():
    images = batch().astype(jnp.bfloat16)
    got = erase(images, keys(8), 1.0)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, jnp.where(got == 0, 0, images))
    channels = np.asarray(got == 0)
    assert (channels == channels[..., :1]).all()  # all channels alike
    np.testing.assert_array_equal(erase(images, keys(8), 0.0), images)
    # No box of these shares can be smaller than the picture: left alone after ten tries.
    np.testing.assert_array_equal(erase(images, keys(8), 1.0, scale=(1.5, 2.0)), images)


def test_erasing_belongs_to_the_example():
    images, order = batch(), np.array([5, 2, 7, 0])
    whole = erase(images, keys(8), 0.7)
    np.testing.assert_array_equal(erase(images[order], keys(8)[order], 0.7), whole[order])


def test_cutmix_share_is_the_area(strict_shapes):
    images = jnp.broadcast_to(jnp.arange(1.0, 7.0)[:, None, None, None], (6, 24, 20, 3))
    mix = jax.jit(jax.vmap(lambda key: cutmix(images, key, alpha=1.0, probability=0.8)))
    draws = 1500
    got, share, partner = jax.device_get(mix(keys(draws)))
    assert share.dtype == np.float32 and share.shape == (draws,)
    np.testing.assert_array_equal(partner, np.tile(np.arange(5, -1, -1), (draws, 1)))
    own = got == np.asarray(images)
    other = got == np.asarray(images)[::-1]
    assert (own ^ other).all()
    np.testing.assert_allclose(share, own[:, 0, :, :, 0].mean((1, 2)), rtol=1e-6, atol=1e-7)
    assert (own == own[:, :1, :, :, :1]).all()  # the same box everywhere
    mask = ~own[:, 0, :, :, 0]
    h, w = boxes(mask)
    # A box of less than a pixel changes nothing: λ ~ U(0, 1) makes that 1 in 400.
    assert likely((share < 1).sum(), draws, 0.8 * (1 - 1 / 400))
    # Inside, so that nothing was clipped, the box has the shape of the picture.
    clear = ~(mask[:, [0, -1]].any((1, 2)) | mask[:, :, [0, -1]].any((1, 2))) & (h > 0)
    assert clear.sum() > 100 and abs(h[clear] / 24 - w[clear] / 20).max() < 1 / 20
    # Unclipped boxes have all sizes, and the corners can be reached.
    assert mask[:, 0, 0].any() and mask[:, -1, -1].any() and mask[:, 0, -1].any()


@pytest.fixture(scope="module")
def shares():
    images = jnp.zeros((2, 64, 64, 1)).at[1].set(1.0)
    mix = jax.vmap(
        lambda key, alpha: cutmix(images, key, alpha=alpha, probability=1.0)[:2], (0, None)
    )
    return jax.jit(mix)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_cutmix_shares_follow_beta(alpha, shares):
    got, share = jax.device_get(shares(keys(1500), alpha))
    boxes(got[:, 0, :, :, 0] == 1)
    rng = np.random.default_rng(0)
    side = np.floor(64 * np.sqrt(1 - rng.beta(alpha, alpha, 20_000))).astype(int)
    rows, columns = rng.integers(64, size=(2, 20_000)) - side // 2
    area = [np.minimum(x + side, 64) - np.maximum(x, 0) for x in (rows, columns)]
    want = 1 - area[0] * area[1] / 64**2
    assert abs(share.mean() - want.mean()) < 0.03
    for cut in (0.25, 0.5, 0.75):
        assert likely((share < np.quantile(want, cut)).sum(), 1500, cut)


def test_cutmix_never():
    images, share, _ = cutmix(batch(), jax.random.key(0), alpha=1.0, probability=0.0)
    assert share == 1
    np.testing.assert_array_equal(images, batch())


def test_devices_do_not_matter(mesh):
    @jax.jit
    def change(images, keys, key):
        images = random_erasing(normalise(images, (0.5,) * 3, (0.2,) * 3), keys, 0.5)
        return cutmix(images, key, alpha=1.0, probability=1.0)

    images = jax.random.randint(jax.random.key(1), SHAPE, 0, 256).astype(jnp.uint8)
    arguments = images, keys(8), jax.random.key(3)
    rows = NamedSharding(mesh, P("data"))
    spread = jax.device_put(images, rows), jax.device_put(keys(8), rows), arguments[2]
    got, want = change(*spread), change(*arguments)
    assert not got[0].sharding.is_fully_replicated and want[1] < 1
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
