"""Training batches: how many there are, which belongs to which step, how they reach devices."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from wonn_jax.common.checks import at_least, length, one_of
from wonn_jax.data.base import DataSet
from wonn_jax.data.pipeline import Source, train_batches
from wonn_jax.parallel.mesh import local_rows, put_batch

AHEAD = 2
"""Batches that are brought to the devices before it is their turn."""

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length and batches of training."""

    length: str = "9000 epochs"
    batch_size: int = 64  # over all devices and hosts
    last_batch: str = "keep"  # of an epoch, if partial: keep or drop
    accumulate: int = 1  # micro-batches per update

    def check(self) -> None:
        one_of("train.last_batch", self.last_batch, ("keep", "drop"))
        at_least(1, "train", self, "batch_size", "accumulate")
        if self.batch_size % self.accumulate:
            up = -(-self.batch_size // self.accumulate) * self.accumulate
            raise ValueError(
                f"config.train.batch_size={self.batch_size} is not divisible by "
                f"config.train.accumulate={self.accumulate}; try --config.train.batch_size={up}."
            )
        length("train.length", self.length, "steps", "epochs", never=False)


def training_batches(
    source: Source,
    config: TrainConfig,
    data: DataSet,
    mesh: Mesh,
    *,
    seed: int,
    start: int,
    stop: int,
    updates: int = 1,
) -> Iterator[Batch]:
    """This host's rows of the batch of each of the updates `start` to `stop` − 1.

    Args:
      source: of the examples.
      config: size of the batches.
      data: how they are read.
      mesh: of all devices.
      seed: of the order of the examples.
      start, stop: updates.
      updates: consecutive updates that get the same batch, which is then the same object.
    """
    batches = train_batches(
        source,
        seed=seed,
        start=start // updates,
        stop=-(-stop // updates),
        batch_size=config.batch_size,
        last_batch=config.last_batch,
        rows=local_rows(mesh, config.batch_size),
        workers=data.workers,
        prefetch=data.prefetch,
    )
    repeated = (batch for batch in batches for _ in range(updates))
    return itertools.islice(repeated, start % updates, start % updates + stop - start)


class Ahead:
    """The next batches, on the devices or on their way there while these compute."""

    def __init__(self, batches: Iterator[Batch], mesh: Mesh):
        self._batches = batches
        self._mesh = mesh
        self._last: tuple[Batch, dict[str, jax.Array]] | None = None
        self._ready: collections.deque[dict[str, jax.Array]] = collections.deque()
        self.fill()

    def fill(self) -> None:
        """Brings batches until `AHEAD` are there; call it after a step was dispatched."""
        for batch in itertools.islice(self._batches, AHEAD - len(self._ready)):
            if self._last is None or self._last[0] is not batch:
                # This transfer is meant; with several hosts JAX does not see that it is.
                with jax.transfer_guard("allow"):
                    self._last = batch, put_batch(batch, self._mesh)
            self._ready.append(self._last[1])

    def take(self) -> dict[str, jax.Array]:
        """The next batch."""
        return self._ready.popleft()
