"""Initial phases: their distribution, and that they stay within one turn."""

import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.nn.phases import initial_phases

IDS = np.array([5, 0, 9, 1000, 2, 7, 3, 44])


def draw(ids=IDS, **settings):
    keys = example_keys(stream_key(0, "phases"), jnp.asarray(ids))
    return np.asarray(initial_phases(keys, (3, 4), **settings))


def test_phases_are_normal_with_the_given_scale():
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
