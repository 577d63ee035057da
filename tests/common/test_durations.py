"""Durations: valid texts, their meaning, and invalid texts."""

import pytest

from wonn_jax.common.durations import NEVER, Duration, due, parse


@pytest.mark.parametrize(
    "text, expected",
    [
        ("3000 steps", Duration(3000, "steps")),
        ("1 epoch", Duration(1, "epochs")),
        ("0.5 epochs", Duration(0.5, "epochs")),
        ("  10   minutes ", Duration(10, "minutes")),
        ("1e3 steps", Duration(1000, "steps")),
        ("3 STEPS", Duration(3, "steps")),
        (".5 epochs", Duration(0.5, "epochs")),
        ("3.0 steps", Duration(3, "steps")),
    ],
)
def test_parse(text, expected):
    assert parse(text, "config.x") == expected


@pytest.mark.parametrize(
    "text", ["never", "Never", "", " ", "0", "0 minutes", "0 steps", "0.0 epochs", "0e5 minutes"]
)
def test_never(text):
    assert parse(text, "config.x") == NEVER
    assert str(parse(text, "config.x")) == "never"
    with pytest.raises(ValueError, match=rf"config.x='{text}' must be longer than 0: --config.x='"):
        parse(text, "config.x", never=False)


@pytest.mark.parametrize(
    "text",
    [
        *("soon", "3000", "1e3", "steps", "ten steps", "nan steps", "inf epochs", "3 weeks"),
        *("-1 steps", "-0 steps", "1,000 steps", "1_000 steps", "0x10 steps", "٣ steps"),
        *("2 hours", "2 hours 30 minutes", "10min", "10m", "3 steps steps", "never ever", "3 s"),
    ],
)
def test_invalid_durations(text):
    with pytest.raises(
        ValueError, match=rf"config.train.length='{text}' is not a duration; write a"
    ) as error:
        parse(text, "config.train.length")
    assert "steps, epochs, minutes" in str(error.value)
    amount = 3000 if text == "3000" else 100
    assert str(error.value).endswith(f"--config.train.length='{amount} steps', or 'never'.")
    with pytest.raises(ValueError, match="'[0-9]+ steps'.$"):
        parse(text, "config.train.length", never=False)


@pytest.mark.parametrize("text", ["1e30 steps", "1e400 epochs", "2147483648 minutes"])
def test_too_long(text):
    unit = text.split()[1]
    with pytest.raises(ValueError, match=rf"'{text}' is too long: at most 2,147,483,647 {unit}"):
        parse(text, "config.x")


@pytest.mark.parametrize(("text", "advice"), [("2.6 steps", "3 steps"), ("1e-9 steps", "1 steps")])
def test_steps_are_whole(text, advice):
    with pytest.raises(ValueError, match=rf"'{text}' must be whole steps: --config.x='{advice}'"):
        parse(text, "config.x")


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


@pytest.mark.parametrize("text", ["12345678 steps", "0.5 epochs", "10 minutes", "never"])
def test_round_trip(text):
    assert str(parse(text, "config.x")) == text


def test_due():
    assert [step for step in range(1, 13) if due(step, 4)] == [4, 8, 12]
    assert not any(due(step, 0) for step in range(5))
