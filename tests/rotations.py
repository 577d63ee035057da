"""The definition of rotary position codes, feature by feature, to test the tables against."""

import numpy as np


def angle(position, feature: int, head_width: int) -> float:
    """Angle of one feature at one position: the part of which axis, which pair of the part."""
    start, axes = 0, len(position)
    for axis, coordinate in enumerate(position):
        part = head_width // axes if axis < axes - 1 else head_width - start
        turning = part - part % 2
        if start <= feature < start + turning:
            return coordinate * 10000.0 ** (-2 * ((feature - start) // 2) / turning)
        start += part
    return 0.0


def turned(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """`[tokens, heads, d]` turned by positions `[tokens, axes]`, feature by feature."""
    out = np.empty(x.shape)
    width = x.shape[-1]
    for token, head, i in np.ndindex(x.shape):
        partner = -x[token, head, i + 1] if i % 2 == 0 else x[token, head, i - 1]
        turn = angle(positions[token], i, width)
        out[token, head, i] = x[token, head, i] * np.cos(turn) + partner * np.sin(turn)
    return out
