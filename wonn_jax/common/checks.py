"""Checks of single fields of a configuration, and what they say."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from wonn_jax.common import durations
from wonn_jax.common.durations import Duration


def one_of(field: str, value: Any, allowed: Iterable[str]) -> None:
    """Raises a ValueError if `config.FIELD` is none of the allowed values."""
    if value not in (allowed := list(allowed)):
        raise ValueError(
            f"config.{field}={value!r} is unknown; use one of {', '.join(allowed)}, "
            f"for example --config.{field}={allowed[0] if allowed else ''}."
        )


def at_least(bound: float, section: str, component: Any, *fields: str) -> None:
    """Raises a ValueError if a field of `component` is below the bound, or not finite."""
    for field in fields:
        value = getattr(component, field)
        if not (math.isfinite(value) and value >= bound):
            path = f"config.{section}.{field}" if section else f"config.{field}"
            raise ValueError(
                f"{path}={value} must be at least {bound:g}: --{path}={max(bound, 1):g}, say."
            )


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
