"""Data: boards read or generated, and batches as a function of the step."""

from pathlib import Path
from typing import Any

from wonn_jax.config import Config
from wonn_jax.data.source import GridSource


def load_source(config: Config, split: str) -> GridSource:
    """The 'train' or 'test' split of an experiment: its published arrays, or generated ones.

    Raises:
      FileNotFoundError, ValueError: data that is missing or not what the task needs.
    """
    d = config.data
    path = str(Path(d.path).expanduser()) if d.path else ""
    common: dict[str, Any] = {
        "data_dir": Path(d.dir).expanduser(),
        "split": split,
        "train_examples": d.train_examples,
        "test_examples": d.test_examples,
        "seed": d.seed,
    }
    # Imported here: TensorFlow Datasets is slow to import and not every command reads data.
    if config.task == "maze":
        from wonn_jax.data import maze

        return maze.load(path, height=d.height, width=d.width, min_path=d.min_path, **common)
    from wonn_jax.data import sudoku

    return sudoku.load(path, **common)
