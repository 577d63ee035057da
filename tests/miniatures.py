"""Experiments of a few thousand parameters on every task, and random batches for them."""

import jax
import numpy as np
from cards import changed
from runs import QUICK_OPTIONS

from wonn_jax.data import Digits, ImageAugmentation, Mazes, Sudokus
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.models.grid import GridConfig
from wonn_jax.models.image import ImageConfig
from wonn_jax.tasks import ImageConfig as ImageTaskConfig
from wonn_jax.tasks import MazeConfig, SudokuConfig
from wonn_jax.train.card import Config, card, freeze
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.state import Variables, init_variables

_GRID = GridConfig(width=8, heads=2, steps=(3,))
_EVAL = EvalConfig(batch_size=4, evaluators=OSCILLATORS)
_EXPERIMENTS = {
    "maze": Config(task=MazeConfig(), data=Mazes(height=5, width=5), model=_GRID, eval=_EVAL),
    "sudoku": Config(task=SudokuConfig(), data=Sudokus(), model=_GRID, eval=_EVAL),
    "image": Config(
        task=ImageTaskConfig(),
        data=Digits(image_size=4),
        model=ImageConfig(width=8, heads=2, layers=2, steps=(3,), phase_scale=0.1),
        augment=ImageAugmentation(),
        eval=_EVAL,
    ),
}


def miniature(task: str, **changes) -> Config:
    """The experiment of a task with fields set, such as `eval__votes=3`, and checked."""
    return freeze(changed(card(_EXPERIMENTS[task]), **changes))


def random_batch(experiment: Experiment, rows: int) -> dict[str, np.ndarray]:
    """Examples drawn at random, as they come from the data."""
    rng = np.random.default_rng(0)
    shapes = experiment.task.abstract_batch(rows)
    batch = {name: rng.integers(0, 4, x.shape).astype(x.dtype) for name, x in shapes.items()}
    if "valid" in batch:
        batch["valid"] = np.ones_like(batch["valid"])
    return batch | {"id": np.arange(rows, dtype=np.int32)}


def fresh_variables(experiment: Experiment) -> Variables:
    """Untrained variables of the network of an experiment."""

    def init() -> Variables:
        return init_variables(experiment.alone, experiment.task, experiment.config.seed)

    return jax.jit(init, compiler_options=QUICK_OPTIONS)()
