"""What a person reads."""

import pytest

from wonn_jax.train.metrics import scaled


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 flop"),
        (999, "999 flop"),
        (999.6, "1 kflop"),
        (41_234_567, "41.2 Mflop"),
        (989e12, "989 Tflop"),
        (4e15, "4 Pflop"),
        (4e18, "4 Eflop"),
    ],
)
def test_scaled(value, text):
    assert scaled(value, "flop") == text
