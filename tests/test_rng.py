"""Draws depend on seed, stream, step and example, and on nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from wonn_jax.rng import example_keys, initial_phases, stream_key

IDS = np.array([5, 0, 9, 1000, 2, 7, 3, 44])


def draw(seed=0, stream="phases", step=0, ids=IDS, **settings):
    keys = example_keys(stream_key(seed, stream, step), jnp.asarray(ids))
    return np.asarray(initial_phases(keys, (3, 4), **settings))


def test_same_address_same_draw():
    np.testing.assert_array_equal(draw(), draw())


def test_each_part_of_the_address_matters():
    draws = [draw(), draw(seed=1), draw(stream="eval"), draw(step=1), draw(ids=IDS + 1)]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert (a != b).all()
    rows = draw().reshape(len(IDS), -1)
    assert len(np.unique(rows, axis=0)) == len(IDS)


def test_neither_order_nor_size_of_the_batch_matters():
    whole = draw()
    order = np.array([3, 0, 7, 1, 2, 6, 5, 4])
    np.testing.assert_array_equal(draw(ids=IDS[order]), whole[order])
    parts = [draw(ids=part) for part in (IDS[:4], IDS[4:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    twice = [4] * len(IDS)
    np.testing.assert_array_equal(draw(ids=IDS[twice]), whole[twice])


def test_neither_jit_nor_devices_matter(mesh):
    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    def sharded(step, ids):
        return initial_phases(example_keys(stream_key(0, "phases", step), ids), (3, 4))

    # Fused or not, the arithmetic after the draw may round differently.
    np.testing.assert_allclose(sharded(6, IDS), draw(step=6), rtol=1e-6)


def test_keys_are_the_same_traced_or_not():
    key = jax.jit(lambda step: jax.random.key_data(stream_key(3, "batch", step)))
    for step in (0, 1, 2**31 - 1):
        np.testing.assert_array_equal(key(step), jax.random.key_data(stream_key(3, "batch", step)))


def test_phases_are_normal_with_the_given_deviation():
    ids = np.arange(4000)
    for scale in (0.01, 0.1):
        phases = draw(ids=ids, scale=scale)
        assert phases.dtype == np.float32
        np.testing.assert_allclose(phases.std(), scale, rtol=0.02)
        np.testing.assert_allclose(phases.mean(), 0, atol=0.02 * scale)
        np.testing.assert_allclose(np.mean(np.abs(phases) < scale), 0.6827, atol=0.01)


def test_wide_noise_is_wrapped():
    phases = draw(ids=np.arange(4000), scale=10.0)
    assert (phases > -np.pi).all() and (phases <= np.float32(np.pi)).all()
    np.testing.assert_allclose(np.abs(phases).mean(), np.pi / 2, rtol=0.05)


def test_zeros():
    np.testing.assert_array_equal(draw(kind="zeros"), np.zeros((len(IDS), 3, 4)))


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"phases 'uniform' are unknown; use noise or zeros"):
        draw(kind="uniform")
