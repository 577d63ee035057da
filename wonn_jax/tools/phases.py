"""Distributions of phases, their peaks, and the two groups around these."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

BINS = 180
SMOOTHING = 5.0
"""Standard deviation of the smoothing of a distribution, in bins: 10°."""


class Distribution(NamedTuple):
    """Phases on the circle.

    centres: of the bins, rad in (−π, π) `[BINS]`.
    density: per rad, smoothed `[BINS]`.
    peaks: the two highest, the higher one first, rad; only one if there is no other.
    """

    centres: np.ndarray
    density: np.ndarray
    peaks: np.ndarray


def distribution(theta: np.ndarray) -> Distribution:
    """Of phases of any shape, rad."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    counts, _ = np.histogram(theta, edges)
    density = gaussian_filter1d(counts / counts.sum() * BINS / (2 * np.pi), SMOOTHING, mode="wrap")
    centres = (edges[1:] + edges[:-1]) / 2
    # Three turns, of which the middle one has its neighbours on both sides.
    found, _ = find_peaks(np.tile(density, 3), prominence=0.02 * density.max())
    found = found[(found >= BINS) & (found < 2 * BINS)] - BINS
    if not len(found):
        found = density.argmax(keepdims=True)
    found = found[np.argsort(-density[found], kind="stable")][:2]
    return Distribution(centres, density, centres[found])


def distance(a: float, b: float) -> float:
    """Between two phases on the circle, rad in [0, π]."""
    return float(abs(np.angle(np.exp(1j * (a - b)))))


def groups(theta: np.ndarray) -> np.ndarray:
    """Phases that the two groups gather around `[2]`: the peaks, or one and what is opposite."""
    peaks = distribution(theta).peaks
    return (
        peaks
        if len(peaks) == 2
        else np.array([peaks[0], np.angle(np.exp(1j * (peaks[0] + np.pi)))])
    )


def weights(theta: np.ndarray, centre: float) -> np.ndarray:
    """How much each cell belongs to a group: the mean over channels of max(0, cos(θ − centre)).

    1 if all oscillators of a cell are at the centre, 0 if all are a quarter turn away or more.

    Args:
      theta: `[..., C]`, rad.
      centre: of the group, rad.

    Returns:
      `[...]`.
    """
    return np.maximum(0, np.cos(theta - centre)).mean(-1)


def contrast(theta: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Of one step `[H, W, C]`: weight in the first group less that in the second, less its mean."""
    difference = weights(theta, centres[0]) - weights(theta, centres[1])
    return difference - difference.mean()


def bound(theta: np.ndarray, centres: np.ndarray) -> float:
    """The range of colours, for all steps of a layer, from its last: all but a few extremes."""
    return max(float(np.quantile(np.abs(contrast(theta, centres)), 0.98)), 1e-6)
