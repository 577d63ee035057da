"""Durations: valid texts, their meaning, and invalid texts."""

import pytest

from wonn_jax.common.durations import Duration, due, parse


@pytest.mark.parametrize(
    "text, expected",
    [
        ("3000 steps", Duration(3000, "steps")),
        ("1 epoch", Duration(1, "epochs")),
        ("0.5 epochs", Duration(0.5, "epochs")),
        ("  10   minutes ", Duration(10, "minutes")),
        ("1e3 steps", Duration(1000, "steps")),
        ("never", Duration(0)),
        ("", Duration(0)),
    ],
)
def test_parse(text, expected):
    assert parse(text, "config.x") == expected


@pytest.mark.parametrize(
    "text", ["soon", "3000", "steps", "ten steps", "-1 steps", "nan steps", "inf epochs", "3 weeks"]
)
def test_invalid_durations(text):
    with pytest.raises(
        ValueError, match=rf"config.train.length='{text}' is not a duration; write a"
    ) as error:
        parse(text, "config.train.length")
    assert "steps, epochs, minutes" in str(error.value)
    assert "--config.train.length='100 steps'" in str(error.value)


def test_units_can_be_restricted():
    units = ("epochs",)
    assert parse("2 epochs", "config.x", units).amount == 2
    with pytest.raises(ValueError, match=r"config.x='2 minutes' .* epochs, .*='100 epochs'"):
        parse("2 minutes", "config.x", units)
    assert parse("never", "config.x", units).amount == 0


def test_conversion_to_steps():
    assert Duration(7, "steps").steps(16) == 7
    assert Duration(3, "epochs").steps(16) == 48
    assert Duration(0.25, "epochs").steps(10) == 2
    assert Duration(0, "epochs").steps(16) == 0
    assert isinstance(Duration(3.0, "epochs").steps(16), int)


def test_minutes_cannot_be_converted_to_steps():
    with pytest.raises(ValueError, match=r"'10 minutes' cannot be converted to steps"):
        Duration(10, "minutes").steps(16)


@pytest.mark.parametrize("text", ["3000 steps", "0.5 epochs", "10 minutes", "never"])
def test_round_trip(text):
    assert str(parse(text, "config.x")) == text


def test_due():
    assert [step for step in range(1, 13) if due(step, 4)] == [4, 8, 12]
    assert not any(due(step, 0) for step in range(5))
