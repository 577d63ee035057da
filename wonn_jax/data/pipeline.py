"""Batches as a pure function of (seed, step, row): there is no state to save or to restore.

Batch k holds the same examples in the same rows regardless of the number of hosts, devices and
workers, and of the step at which the run started. Every epoch has its own order, and the random
augmentation of an example is a function of (seed, epoch, index of the example).
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import grain
import numpy as np

PADDING = -1  # in place of an example's index


class Source(Protocol):
    """A data set with random access to its examples, as dictionaries of arrays."""

    def __len__(self) -> int: ...

    def example(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Example `index`, augmented with random numbers from `rng`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when any example, or their order, changes."""
        ...


@dataclasses.dataclass(frozen=True)
class Transformed:
    """Labelled images, each passed through `transform`.

    Attributes:
      source: images and labels by index, see `wonn_jax.data.images.ImageSource`.
      transform: from an image and a random generator to uint8 `[size, size, 3]`.
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
        """The fingerprint of the source; the transform is part of the configuration."""
        return self.source.fingerprint

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.classes


def steps_per_epoch(examples: int, batch_size: int, last_batch: str) -> int:
    """Number of batches of one epoch.

    Args:
      examples: number of training examples.
      batch_size: rows over all hosts.
      last_batch: 'keep' the last, partial batch (filled up with padding) or 'drop' it.

    Raises:
      ValueError: fewer examples than one batch, and partial batches are dropped.
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
    """Permutation of the examples in one epoch."""
    stream = zlib.crc32(b"order")
    return np.random.default_rng((seed, stream, epoch)).permutation(examples)


@dataclasses.dataclass(frozen=True)
class _TrainRow:
    """From step and row of a training batch to the index of the example (or PADDING) and epoch."""

    seed: int
    examples: int
    batch_size: int
    steps_per_epoch: int

    def __call__(self, step: int, row: int) -> tuple[int, int]:
        epoch, batch = divmod(step, self.steps_per_epoch)
        position = batch * self.batch_size + row
        if position >= self.examples:
            return PADDING, epoch
        return int(epoch_order(self.seed, epoch, self.examples)[position]), epoch


@dataclasses.dataclass(frozen=True)
class _EvalRow:
    """The same for evaluation: every example once, in epoch 0."""

    examples: int
    batch_size: int
    seed: int = 0

    def __call__(self, step: int, row: int) -> tuple[int, int]:
        position = step * self.batch_size + row
        return (position if position < self.examples else PADDING), 0


@dataclasses.dataclass(frozen=True)
class _Load:
    """Loads element `position` of the sequence of all rows that this host reads."""

    source: Source
    plan: _TrainRow | _EvalRow
    start: int
    rows: tuple[int, ...]

    def __call__(self, position: int) -> dict[str, np.ndarray]:
        step, row = divmod(position, len(self.rows))
        index, epoch = self.plan(self.start + step, self.rows[row])
        # Padding only needs the right shapes: its `id` excludes it from losses and metrics.
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
    """This host's rows of the training batches `start` to `stop` − 1.

    Args:
      source: the examples.
      seed: seed of the order and of the augmentation.
      start, stop: steps.
      batch_size: rows over all hosts.
      last_batch: 'keep' or 'drop' the partial batch of an epoch.
      rows: indices of the rows that this host reads, see `wonn_jax.parallel.mesh`; None for all.
      workers: number of loading processes; 0 for threads of this process.
      prefetch: number of batches to load ahead.

    Yields:
      The arrays of the examples, stacked, and their indices `id` `[rows]`, −1 for padding.
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
    """This host's rows of batches that contain each of the first `examples` examples once.

    Arguments and results as in `train_batches`; `examples=0` means all.
    """
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
