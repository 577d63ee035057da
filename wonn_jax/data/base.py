"""Settings that all data sets and augmentations share."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from wonn_jax.common.checks import at_least
from wonn_jax.common.folders import local_path
from wonn_jax.config import Component
from wonn_jax.data.pipeline import Source
from wonn_jax.data.source import GridSource


@dataclasses.dataclass(frozen=True)
class Augmentation(Component):
    """Random changes to training examples, in the processes that load them."""

    kind: ClassVar[str] = "augment"


@dataclasses.dataclass(frozen=True)
class DataSet(Component):
    """A data set, and how its examples are read."""

    kind: ClassVar[str] = "data"

    path: str = ""  # of the data; '': generated or downloaded, if possible
    dir: str = "~/.cache/wonn_jax"  # local folder where generated and downloaded data sets are kept
    workers: int = 0  # number of loading processes; 0: threads of this process
    prefetch: int = 8  # number of batches to load ahead

    def check(self) -> None:
        local_path(self.path, "config.data.path")
        local_path(self.dir, "config.data.dir")
        at_least(0, "data", self, "workers", most=1000)
        at_least(1, "data", self, "prefetch")

    def load(self, split: str, augment: Augmentation) -> Source:
        """The 'train' or 'test' split; training examples are changed by `augment`.

        Raises:
          OSError, ValueError: data that is missing or malformed.
        """
        raise NotImplementedError

    def training_examples(self) -> int | None:
        """Number of training examples, if it is known without reading or generating any."""
        return None

    def unused(self) -> dict[str, str]:
        """Fields that have no effect, given the others, and why; setting them is an error."""
        if self.path:
            return {"dir": "data.path says where the data lies"}
        return {}

    @property
    def origin(self) -> str:
        """Where the examples come from, for messages."""
        return self.path or self.name

    def origin_of(self, source: Source) -> str:
        """Where the examples of a split come from, for messages."""
        return self.origin

    @property
    def folder(self) -> Path:
        """`dir` as a path."""
        return local_path(self.dir, "config.data.dir")

    @property
    def place(self) -> str:
        """`path` on this machine; '' if it is empty."""
        return str(local_path(self.path, "config.data.path")) if self.path else ""


@dataclasses.dataclass(frozen=True)
class BoardData(DataSet):
    """Boards of cells, read or generated."""

    train_examples: int = 0
    test_examples: int = 0
    seed: int = 0  # of the generator

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a board, cells."""
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        at_least(0, "data", self, "train_examples", "test_examples")
        at_least(0, "data", self, "seed", most=2**64 - 1)

    def unused(self) -> dict[str, str]:
        why = "data.path holds the boards, and none are generated"
        return super().unused() | ({"seed": why} if self.path else {})

    @property
    def origin(self) -> str:
        return self.path or "generated"

    def origin_of(self, source: Source) -> str:
        return (source.origin if isinstance(source, GridSource) else "") or self.origin
