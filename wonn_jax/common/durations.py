"""Durations with a unit: '3000 steps', '200 epochs', '10 minutes' or 'never'."""

import dataclasses

UNITS = ("steps", "epochs", "minutes")


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
        return f"{self.amount:g} {self.unit}" if self.amount else "never"


def parse(text: str, field: str, units: tuple[str, ...] = UNITS) -> Duration:
    """Parses a duration such as '3000 steps'; the empty string means 'never'.

    Args:
      text: what the user wrote.
      field: name of the configuration field, for the error message.
      units: the units that are allowed.

    Raises:
      ValueError: `text` is not a duration in one of these units.
    """
    if text.strip() in ("never", ""):
        return Duration(0)
    amount, _, unit = text.strip().partition(" ")
    unit = unit.strip()
    unit = unit if unit.endswith("s") else unit + "s"
    try:
        number = float(amount)
    except ValueError:
        number = -1.0
    if unit not in units or not 0 <= number < float("inf"):
        raise ValueError(
            f"{field}={text!r} is not a duration; write a number and one of "
            f"{', '.join(units)}, for example --{field}='100 {units[0]}', or 'never'."
        )
    return Duration(number, unit)


def due(step: int, every: int) -> bool:
    """Whether an action that is repeated every `every` steps (0: never) is due after `step`."""
    return every > 0 and step % every == 0
