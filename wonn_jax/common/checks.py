"""Checks of single fields of a configuration, and what they say."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from wonn_jax.common import durations
from wonn_jax.common.durations import Duration

LARGEST_INTEGER, LARGEST_FLOAT = 2**31 - 1, 3.4e38
"""What 32 bits hold."""


def one_of(field: str, value: Any, allowed: Iterable[str]) -> None:
    """Raises a ValueError if `config.FIELD` is none of the allowed values."""
    if value not in (allowed := list(allowed)):
        raise ValueError(
            f"config.{field}={value!r} is unknown; use one of {', '.join(allowed)}, "
            f"for example --config.{field}={allowed[0] if allowed else ''}."
        )


def at_least(
    bound: float, section: str, component: Any, *fields: str, most: float | None = None
) -> None:
    """Raises a ValueError if a field is below the bound, or above `most`.

    Args:
      bound: the least value.
      section: of the configuration that holds the component; '' for the whole.
      component: a dataclass.
      fields: of the component.
      most: the largest value; None for what 32 bits hold.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(component)}
    for field in fields:
        value = getattr(component, field)
        upper = most or (LARGEST_INTEGER if isinstance(value, int) else LARGEST_FLOAT)
        if bound <= value <= upper:
            continue
        path = f"config.{section}.{field}" if section else f"config.{field}"
        must = f"be at most {upper:,}" if value > upper else f"be at least {bound:g}"
        default: Any = defaults[field]
        usual = default if default >= bound and default else max(bound, 1)
        raise ValueError(f"{path}={value} must {must}: --{path}={usual:g}, say.")


def share(section: str, component: Any, *fields: str, one: bool = True) -> None:
    """Raises a ValueError if a field does not lie between 0 and 1 (`one`: 1 itself is allowed)."""
    for field in fields:
        value = getattr(component, field)
        if not (0 <= value <= 1 and (one or value < 1)):
            bounds = "lie between 0 and 1" if one else "be at least 0 and below 1"
            raise ValueError(f"config.{section}.{field}={value} must {bounds}.")


def no_effect(section: str, component: Any, because: str, *fields: str) -> None:
    """Raises a ValueError if a field that nothing reads here differs from its default."""
    defaults = {f.name: f.default for f in dataclasses.fields(component)}
    for field in fields:
        value = getattr(component, field)
        if value != defaults[field]:
            raise ValueError(
                f"config.{section}.{field}={value!r} has no effect {because}; leave it at "
                f"{defaults[field]!r}."
            )


def length(field: str, text: str, *units: str, never: bool = True) -> Duration:
    """Reads a duration; raises a ValueError if it is malformed, or 'never' where it must not be."""
    return durations.parse(text, f"config.{field}", units or durations.UNITS, never=never)
