"""Distributions of phases on the circle, their peaks, and the two groups around the peaks."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

BINS = 180
SMOOTHING = 5.0
"""Standard deviation of the Gaussian that smooths a distribution, in bins: 10°."""


class Distribution(NamedTuple):
    """Distribution of phases on the circle.

    centres: of the bins, rad in (−π, π) `[BINS]`.
    density: per rad, smoothed `[BINS]`.
    peaks: the two highest, rad, the higher one first; only one if there is no other.
    """

    centres: np.ndarray
    density: np.ndarray
    peaks: np.ndarray


def distribution(theta: np.ndarray) -> Distribution:
    """Distribution of phases `theta` (rad, any shape)."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    counts, _ = np.histogram(theta, edges)
    density = gaussian_filter1d(counts / counts.sum() * BINS / (2 * np.pi), SMOOTHING, mode="wrap")
    centres = (edges[1:] + edges[:-1]) / 2
    # `find_peaks` is not periodic: repeat the circle three times and keep the middle copy.
    found, _ = find_peaks(np.tile(density, 3), prominence=0.02 * density.max())
    found = found[(found >= BINS) & (found < 2 * BINS)] - BINS
    if not len(found):
        found = density.argmax(keepdims=True)
    found = found[np.argsort(-density[found], kind="stable")][:2]
    return Distribution(centres, density, centres[found])


def distance(a: float, b: float) -> float:
    """Distance between two phases on the circle, rad in [0, π]."""
    return float(abs(np.angle(np.exp(1j * (a - b)))))


def groups(theta: np.ndarray) -> np.ndarray:
    """Centres of the two phase groups, rad `[2]`: the two peaks, or one peak and its antipode."""
    peaks = distribution(theta).peaks
    if len(peaks) == 2:
        return peaks
    return np.array([peaks[0], np.angle(np.exp(1j * (peaks[0] + np.pi)))])


def weights(theta: np.ndarray, centre: float) -> np.ndarray:
    """Weight of each cell in a group: the mean over channels of max(0, cos(θ − centre)).

    1 if all oscillators of a cell are at the centre, 0 if all are at least π/2 away.

    Args:
      theta: phases `[..., C]`, rad.
      centre: of the group, rad.

    Returns:
      `[...]`.
    """
    return np.maximum(0, np.cos(theta - centre)).mean(-1)


def contrast(theta: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Weight in the first group minus weight in the second, centred to mean 0.

    Args:
      theta: phases after one step `[H, W, C]`, rad.
      centres: of the groups `[2]`, rad.

    Returns:
      `[H, W]`.
    """
    difference = weights(theta, centres[0]) - weights(theta, centres[1])
    return difference - difference.mean()


def colour_limit(theta: np.ndarray, centres: np.ndarray) -> float:
    """Contrast at which the colour scale of a layer saturates, from its final phases `[H, W, C]`.

    The 98th percentile of the absolute contrast, so that a few outliers do not set the scale.
    """
    return max(float(np.quantile(np.abs(contrast(theta, centres)), 0.98)), 1e-6)
