"""Batches as a pure function of (seed, step, row): no state to save, nothing to replay.

Batch number k holds the same examples in the same rows whatever the number of hosts, devices
or workers, and whether the run began at step 0 or at k. Every epoch has an order of its own,
and what is random about an example is a function of (seed, epoch, number of the example).
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import grain
import numpy as np

PADDING = -1


class Source(Protocol):
    """Examples by number, as dictionaries of arrays."""

    def __len__(self) -> int: ...

    def example(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Example `index`; what is random about it is drawn from `rng`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when any example, or their order, changes."""
        ...


@dataclasses.dataclass(frozen=True)
class Transformed:
    """Pictures with labels as the network takes them: each passed through `transform`.

    Attributes:
      source: pictures and labels by number, see `wonn_jax.data.images.ImageSource`.
      transform: from a picture and a generator to uint8 `[size, size, 3]`.
    """

    source: Any
    transform: Callable[[Any, np.random.Generator], np.ndarray]

    def __len__(self) -> int:
        return len(self.source)

    def example(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, label = self.source.picture(index)
        return {"input": self.transform(image, rng), "target": np.asarray(label, np.int32)}

    @property
    def fingerprint(self) -> str:
        """Of the source: what the transform does is in the configuration."""
        return self.source.fingerprint

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.classes


def steps_per_epoch(examples: int, batch_size: int, last_batch: str) -> int:
    """Batches of one epoch; the last, partial one is kept (filled up with padding) or dropped.

    Raises:
      ValueError: fewer examples than one batch, and no partial batch kept.
    """
    count = math.ceil(examples / batch_size) if last_batch == "keep" else examples // batch_size
    if count == 0:
        raise ValueError(
            f"{examples} training examples do not fill one batch of {batch_size}; use "
            f"--config.train.batch_size={examples} or --config.train.last_batch=keep."
        )
    return count


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order of the examples in one epoch."""
    stream = zlib.crc32(b"order")
    return np.random.default_rng((seed, stream, epoch)).permutation(examples)


@dataclasses.dataclass(frozen=True)
class _TrainRow:
    """Number of the example in a row of a training batch, or PADDING, and the epoch."""

    seed: int
    examples: int
    batch_size: int
    steps_per_epoch: int

    def __call__(self, step: int, row: int) -> tuple[int, int]:
        epoch, batch = divmod(step, self.steps_per_epoch)
        place = batch * self.batch_size + row
        if place >= self.examples:
            return PADDING, epoch
        return int(epoch_order(self.seed, epoch, self.examples)[place]), epoch


@dataclasses.dataclass(frozen=True)
class _EvalRow:
    """The same for evaluation: each example once, and no epochs."""

    examples: int
    batch_size: int
    seed: int = 0

    def __call__(self, step: int, row: int) -> tuple[int, int]:
        place = step * self.batch_size + row
        return (place if place < self.examples else PADDING), 0


@dataclasses.dataclass(frozen=True)
class _Load:
    """Loads what belongs at a place of this host's sequence of rows."""

    source: Source
    plan: _TrainRow | _EvalRow
    start: int
    rows: tuple[int, ...]

    def __call__(self, place: int) -> dict[str, np.ndarray]:
        step, row = divmod(place, len(self.rows))
        index, epoch = self.plan(self.start + step, self.rows[row])
        # A row of padding needs the right shapes only: `id` says that it counts for nothing.
        number = max(index, 0)
        rng = np.random.default_rng((self.plan.seed, zlib.crc32(b"augment"), epoch, number))
        example = dict(self.source.example(number, rng))
        example["id"] = np.asarray(index, np.int32)
        return example


def _batches(
    source: Source,
    plan: _TrainRow | _EvalRow,
    *,
    start: int,
    stop: int,
    rows: Iterable[int] | None,
    workers: int,
    prefetch: int,
) -> Iterator[dict[str, np.ndarray]]:
    mine = tuple(map(int, range(plan.batch_size) if rows is None else rows))
    load = _Load(source, plan, start, mine)
    examples = grain.MapDataset.range(max(stop - start, 0) * len(mine)).map(load).batch(len(mine))
    reading = grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)
    batches = examples.to_iter_dataset(reading)
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def train_batches(
    source: Source,
    *,
    seed: int,
    start: int,
    stop: int,
    batch_size: int,
    last_batch: str,
    rows: Iterable[int] | None = None,
    workers: int = 0,
    prefetch: int = 8,
) -> Iterator[dict[str, np.ndarray]]:
    """This host's rows of the training batches number `start` to `stop` − 1.

    Args:
      source: examples.
      seed: of the order of the examples.
      start, stop: steps.
      batch_size: rows over all hosts.
      last_batch: 'keep' or 'drop' the partial batch of an epoch.
      rows: numbers of those that this host reads, see `sharding.local_rows`; None for all.
      workers: processes that load; 0 for threads of this one.
      prefetch: batches ready ahead.

    Yields:
      What the source holds, stacked, and `id` `[rows]`, −1 for padding.
    """
    epoch = steps_per_epoch(len(source), batch_size, last_batch)
    return _batches(
        source,
        _TrainRow(seed, len(source), batch_size, epoch),
        start=start,
        stop=stop,
        rows=rows,
        workers=workers,
        prefetch=prefetch,
    )


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    examples: int = 0,
    rows: Iterable[int] | None = None,
    workers: int = 0,
    prefetch: int = 8,
) -> Iterator[dict[str, np.ndarray]]:
    """This host's rows of batches that hold each of the first `examples` (0: all) once."""
    count = min(examples, len(source)) if examples else len(source)
    return _batches(
        source,
        _EvalRow(count, batch_size),
        start=0,
        stop=math.ceil(count / batch_size),
        rows=rows,
        workers=workers,
        prefetch=prefetch,
    )
