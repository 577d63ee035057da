"""Durations with a unit: '3000 steps', '200 epochs', '10 minutes' or 'never'."""

import dataclasses
import re

UNITS = ("steps", "epochs", "minutes")
LONGEST = 2**31 - 1
"""Of any unit; steps are counted in 32 bits."""


@dataclasses.dataclass(frozen=True)
class Duration:
    """An amount and its unit; an amount of 0 means 'never'."""

    amount: float
    unit: str = "steps"

    def steps(self, steps_per_epoch: int) -> int:
        """The duration in training steps: 0 for 'never', otherwise at least 1.

        Raises:
          ValueError: the unit is minutes.
        """
        if self.unit == "minutes":
            raise ValueError(f"'{self}' cannot be converted to steps; use steps or epochs.")
        if not self.amount:
            return 0
        return max(1, round(self.amount * (steps_per_epoch if self.unit == "epochs" else 1)))

    def __str__(self) -> str:
        return f"{self.amount:.12g} {self.unit}" if self.amount else "never"


NEVER = Duration(0)
_FORM = r"\s*((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s+(\w+)\s*"


def parse(text: str, field: str, units: tuple[str, ...] = UNITS, *, never: bool = True) -> Duration:
    """Parses a duration such as '3000 steps'; '' and 0 of any unit mean 'never'.

    Args:
      text: what the user wrote.
      field: name of the configuration field, for the error message.
      units: the units that are allowed.
      never: whether 'never' is allowed.

    Raises:
      ValueError: `text` is not a duration in one of these units, is too long, or 'never' where it
        must not be.
    """
    found = NEVER if text.strip().lower() in ("", "never", "0") else _amount(text, field, units)
    if found is None:
        words = text.split()
        amount = words[0] if len(words) == 1 and words[0].isdecimal() else "100"
        raise ValueError(
            f"{field}={text!r} is not a duration; write a number and one of "
            f"{', '.join(units)}, for example --{field}='{amount} {units[0]}'"
            + (", or 'never'." if never else ".")
        )
    if not never and not found.amount:
        raise ValueError(
            f"{field}={text!r} must be longer than 0: --{field}='100 {units[0]}', say."
        )
    return found


def _amount(text: str, field: str, units: tuple[str, ...]) -> Duration | None:
    """A number and a unit; None if `text` is anything else."""
    words = re.fullmatch(_FORM, text, re.ASCII | re.IGNORECASE)
    if words is None:
        return None
    number, unit = float(words[1]), words[2].lower()
    unit = unit if unit.endswith("s") else unit + "s"
    if unit not in units:
        return None
    if number > LONGEST:
        raise ValueError(f"{field}={text!r} is too long: at most {LONGEST:,} {unit} are possible.")
    if unit == "steps" and number % 1:
        whole = max(1, round(number))
        raise ValueError(f"{field}={text!r} must be whole steps: --{field}='{whole} steps', say.")
    return Duration(number, unit) if number else NEVER


def due(step: int, every: int) -> bool:
    """Whether an action that is repeated every `every` steps (0: never) is due after `step`."""
    return every > 0 and step % every == 0
