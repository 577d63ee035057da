"""Draws depend on the seed, the stream, the step and the example, and on nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from wonn_jax.common.rng import example_keys, stream_key

IDS = np.array([5, 0, 9, 1000, 2, 7, 3, 44])


def draw_each(keys):
    return jax.vmap(lambda key: jax.random.bits(key, (3, 4)))(keys)


def draw(seed=0, stream="phases", step=0, ids=IDS):
    return np.asarray(draw_each(example_keys(stream_key(seed, stream, step), jnp.asarray(ids))))


def test_the_same_arguments_give_the_same_draw():
    np.testing.assert_array_equal(draw(), draw())


def test_every_argument_matters():
    draws = [draw(), draw(seed=1), draw(stream="eval"), draw(step=1), draw(ids=IDS + 1)]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert (a != b).all()
    rows = draw().reshape(len(IDS), -1)
    assert len(np.unique(rows, axis=0)) == len(IDS)


def test_the_order_and_size_of_the_batch_do_not_matter():
    whole = draw()
    order = np.array([3, 0, 7, 1, 2, 6, 5, 4])
    np.testing.assert_array_equal(draw(ids=IDS[order]), whole[order])
    parts = [draw(ids=part) for part in (IDS[:4], IDS[4:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    twice = [4] * len(IDS)
    np.testing.assert_array_equal(draw(ids=IDS[twice]), whole[twice])


def test_jit_and_the_number_of_devices_do_not_matter(mesh):
    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    def sharded(step, ids):
        return draw_each(example_keys(stream_key(0, "phases", step), ids))

    np.testing.assert_array_equal(sharded(6, IDS), draw(step=6))


def test_a_traced_step_gives_the_same_key():
    key = jax.jit(lambda step: jax.random.key_data(stream_key(3, "batch", step)))
    for step in (0, 1, 2**31 - 1):
        np.testing.assert_array_equal(key(step), jax.random.key_data(stream_key(3, "batch", step)))
