"""Lengths of time in the unit that suits: '3000 steps', '200 epochs', '10 minutes', 'never'."""

import dataclasses

UNITS = ("steps", "epochs", "minutes")


@dataclasses.dataclass(frozen=True)
class Duration:
    """An amount and its unit; an amount of 0 is 'never' (or none)."""

    amount: float
    unit: str = "steps"

    def steps(self, steps_per_epoch: int) -> int:
        """The duration in training steps, at least one unless it is 'never'.

        Raises:
          ValueError: it is given in minutes.
        """
        if self.unit == "minutes":
            raise ValueError(f"'{self}' cannot be counted in steps; give it in steps or epochs.")
        if not self.amount:
            return 0
        return max(1, round(self.amount * (steps_per_epoch if self.unit == "epochs" else 1)))

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}" if self.amount else "never"


def parse(text: str, field: str, units: tuple[str, ...] = UNITS) -> Duration:
    """Reads '3000 steps' and the like.

    Raises:
      ValueError: naming the field, what stands there and what may.
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
            f"{field}={text!r} is no duration; write a number and one of {', '.join(units)}, "
            f"for example --{field}='100 {units[0]}', or 'never'."
        )
    return Duration(number, unit)


def due(step: int, every: int) -> bool:
    """Whether something that happens every `every` steps (0: never) happens after `step`."""
    return every > 0 and step % every == 0
