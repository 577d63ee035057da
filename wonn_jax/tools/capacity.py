"""Settings with which a training step that is too large for a device fits, found by compiling."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wonn_jax.train.card import Config


class Need(NamedTuple):
    """Memory of a step on one device, bytes; temporaries are those that shrink with the batch."""

    memory: int
    temporaries: int


def what_fits(
    config: Config, need: Need, room: float, shares: int, measure: Callable[[Config], Need]
) -> list[str]:
    """Flags, each of which makes the training step fit; none if nothing does.

    They are recomputation, then the fewest micro-batches, then a batch of their size; the last two
    together with recomputation where they do not fit without.

    Args:
      config: whose step does not fit.
      need: of this step.
      room: memory of a device that can be used, bytes.
      shares: number of devices over which the rows of a batch are split.
      measure: compiles the training step of a configuration.
    """
    answers = []
    variants = [("", config, need)]
    if recomputing := _recomputing(config):
        flags, changed = recomputing
        less = measure(changed)
        variants.append((f"{flags} ", changed, less))
        if less.memory <= room:
            answers.append(flags)
    for flags, changed, needed in variants:
        train = changed.train
        for parts in _divisors(train.batch_size // (shares * train.accumulate)):
            if needed.memory - needed.temporaries * (1 - 1 / parts) > room:
                continue
            accumulate = train.accumulate * parts
            split = dataclasses.replace(train, accumulate=accumulate)
            if measure(dataclasses.replace(changed, train=split)).memory > room:
                continue
            answers.append(f"{flags}--config.train.accumulate={accumulate}")
            smaller = dataclasses.replace(train, batch_size=train.batch_size // parts)
            if measure(dataclasses.replace(changed, train=smaller)).memory <= room:
                answers.append(f"{flags}--config.train.batch_size={smaller.batch_size}")
            return answers
    return answers


def _recomputing(config: Config) -> tuple[str, Config] | None:
    """Flags of recomputation that a configuration does not have yet, and it with them."""
    model = config.model
    changes: dict[str, Any] = {}
    if getattr(model, "remat", 1) == 0:
        changes["remat"] = 1
    if getattr(model, "remat_layers", "on") == "off":  # 'auto' does it for steps so large
        changes["remat_layers"] = "on"
    if not changes:
        return None
    flags = " ".join(f"--config.model.{name}={value}" for name, value in changes.items())
    return flags, dataclasses.replace(config, model=dataclasses.replace(model, **changes))


def _divisors(rows: int) -> Iterator[int]:
    """Numbers of parts, more than one, into which so many rows can be divided, ascending."""
    return (parts for parts in range(2, rows + 1) if rows % parts == 0)
