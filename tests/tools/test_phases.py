"""Distributions of phases, their peaks, and the weights of cells in the two groups."""

import numpy as np
import pytest

from wonn_jax.tools import phases


def test_two_peaks_and_their_distance():
    rng = np.random.default_rng(0)
    # One group sits on the cut at ±π; it is the larger one.
    theta = np.concatenate([rng.normal(np.pi, 0.3, 6000), rng.normal(0.4, 0.2, 3000)])
    theta = np.angle(np.exp(1j * theta))
    found = phases.distribution(theta)
    assert found.density.sum() * 2 * np.pi / phases.BINS == pytest.approx(1)
    assert len(found.peaks) == 2
    assert phases.distance(found.peaks[0], np.pi) < 0.1 and abs(found.peaks[1] - 0.4) < 0.1
    assert phases.distance(*found.peaks) == pytest.approx(np.pi - 0.4, abs=0.15)
    assert phases.distance(3.0, -3.0) == pytest.approx(2 * np.pi - 6)

    alone = phases.groups(rng.normal(1.0, 0.2, 5000))
    assert alone[0] == pytest.approx(1.0, abs=0.1)
    assert phases.distance(*alone) == pytest.approx(np.pi)


def test_weights_by_hand():
    theta = np.array([[0.0, 0.0], [0.0, np.pi], [np.pi / 3, -np.pi / 3]])
    np.testing.assert_allclose(phases.weights(theta, 0.0), [1, 0.5, 0.5])
    np.testing.assert_allclose(phases.weights(theta, np.pi), [0, 0.5, 0], atol=1e-12)
    difference = phases.contrast(theta[None], np.array([0.0, np.pi]))
    np.testing.assert_allclose(difference, [[0.5, -0.5, 0.0]], atol=1e-12)


def test_the_colour_scale_ignores_outliers():
    theta = np.zeros((10, 100, 2))
    theta[:, :50] = np.pi / 2 + 0.1
    theta[0, 0] = np.pi  # one cell of a thousand
    centres = np.array([0.0, np.pi])
    contrast = np.abs(phases.contrast(theta, centres))
    limit = phases.colour_limit(theta, centres)
    assert limit < contrast.max() and limit >= np.median(contrast)
    assert phases.colour_limit(np.zeros((4, 4, 2)), centres) > 0  # nothing is divided by 0
