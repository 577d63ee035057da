"""A trained network by itself, of a run or of a PyTorch file, and what it goes through.

network = load_network("runs/maze_hard-small")
watched = watch(network, batch_of(network.load("test"), [0, 1, 2]))
watched.layers[-1].trajectory                           # [T, 3, H, W, C], rad
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from wonn_jax.common.folders import absolute
from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.config import build
from wonn_jax.data import Mazes, Source, Sudokus
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.interop import from_pytorch
from wonn_jax.models import Oscillatory, Output
from wonn_jax.models.grid import GridConfig
from wonn_jax.parallel.mesh import MeshConfig
from wonn_jax.tasks import Batch, MazeConfig, SudokuConfig, Task
from wonn_jax.tasks.boards import BoardTaskConfig
from wonn_jax.train.card import Config
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.upgrade import read_config
from wonn_jax.train.weights import imported_weights, saved_weights

BOARDS: dict[str, tuple[type[BoardTaskConfig], Any, tuple[int, ...]]] = {
    "maze": (MazeConfig, Mazes(), (24,)),
    "sudoku": (SudokuConfig, Sudokus(), (16,)),
}
"""Tasks whose PyTorch weights can be used without a run: settings, data, and the paper's T."""


class Network(NamedTuple):
    """A trained network of oscillators.

    config: of the run.
    task: of the data.
    model: the network.
    variables: what `model.apply` takes.
    origin: where they come from, for a person.
    """

    config: Config
    task: Task
    model: Oscillatory
    variables: dict[str, Any]
    origin: str

    def load(self, split: str) -> Source:
        """A split of the data that the network was trained on."""
        return self.config.data.load(split, self.config.augment)


def load_network(
    workdir: epath.PathLike,
    task: str = "",
    checkpoint: str = "last",
    weights: str = "ema",
    file: str = "",
    heads: int = 8,
) -> Network:
    """The network of a run, or of a PyTorch file, on one device.

    Args:
      workdir: of the run.
      task: name of the task that it has to be trained on; '': any.
      checkpoint: 'last', 'best' or a step.
      weights: 'raw' or 'ema'.
      file: PyTorch weights for boards of `task` instead of a run; what they do not tell is as in
        the paper.
      heads: of attention, which these weights do not tell.

    Raises:
      ValueError, FileNotFoundError: nothing there, of another task, or without oscillators.
    """
    workdir = absolute(workdir)
    config = _config_of_weights(task, file, heads) if file else _config_of_run(workdir, task)
    config = dataclasses.replace(
        config,
        # Kernels of the device it was trained on may be none of this one.
        model=config.model.portable(),
        mesh=MeshConfig(),
        eval=dataclasses.replace(config.eval, checkpoint=checkpoint),
    )
    config.eval.check()
    experiment = Experiment(config, devices=jax.devices()[:1]).check()
    if not isinstance(experiment.model, Oscillatory):
        name = config.model.name
        raise ValueError(f"{workdir} is a run of the network {name!r}, which has no oscillators.")
    if file:
        sets, origin = imported_weights(experiment, file)
        weights = "imported"
    else:
        sets, origin = saved_weights(experiment, workdir)
    return Network(
        experiment.config, experiment.task, experiment.model, sets[weights], f"{origin}, {weights}"
    )


def config_of_run(workdir: epath.PathLike) -> Config:
    """The configuration of a run.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: its configuration is damaged, or none of this version.
    """
    written = epath.Path(workdir) / "config.json"
    if not written.is_file():
        raise FileNotFoundError(
            f"{workdir} holds no run: there is no {written.name}. Give the --workdir of a run; "
            "python -m wonn_jax.main trains one."
        )
    found = read_config(written)
    try:
        return build(Config, found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{written} is no configuration of this version: {error}") from error


def _config_of_run(workdir: epath.Path, task: str) -> Config:
    config = config_of_run(workdir)
    if task and config.task.name != task:
        raise ValueError(
            f"{workdir} is a run on {config.task.name}, not on {task}: give another --workdir."
        )
    return config


def _config_of_weights(task: str, file: str, heads: int) -> Config:
    if task not in BOARDS:
        raise ValueError(f"PyTorch weights are for {' or '.join(BOARDS)}, not for {task!r}.")
    settings, data, steps = BOARDS[task]
    params = from_pytorch(file)["params"]
    tokens = len(params["frequency"]) if "frequency" in params else 0
    if tokens != settings.tokens:
        others = [name for name, (other, *_) in BOARDS.items() if other.tokens == tokens]
        raise ValueError(f"{file} holds weights for {(others or ['images'])[0]}, not for {task}.")
    model = GridConfig(
        width=int(params["frequency"].shape[1]),
        layers=sum(name.startswith("layer_") for name in params),
        steps=steps,
        heads=heads,
    )
    model.check()
    evaluation = EvalConfig(evaluators=OSCILLATORS)
    return Config(task=settings(), data=data, model=model, eval=evaluation)


def latest_run(task: str, folder: Path = Path("runs")) -> epath.Path:
    """The run of a task in `folder` that was written to last.

    Raises:
      FileNotFoundError: there is none.
    """
    found = []
    for written in folder.glob("*/config.json"):
        states = written.parent / "checkpoints"
        try:
            ours = read_config(written)["task"]["name"] == task
        except (ValueError, OSError):
            continue  # a run that only begins, or a damaged one
        if states.is_dir() and ours:
            found.append((states.stat().st_mtime_ns, written.parent))
    if not found:
        raise FileNotFoundError(
            f"There is no run on {task} in {folder}/. Train one with python -m wonn_jax.main and a "
            "card in configs/, or give --workdir=RUN or --weights=FILE."
        )
    return absolute(max(found)[1])


def batch_of(source: Source, numbers: Iterable[int]) -> dict[str, np.ndarray]:
    """Examples of a source by their numbers, as one batch.

    Raises:
      ValueError: an index out of range.
    """
    numbers = list(numbers)
    rng = np.random.default_rng(0)  # draws nothing on a test split
    if wrong := [n for n in numbers if not 0 <= n < len(source)]:
        raise ValueError(f"Example {wrong[0]} does not exist; they go from 0 to {len(source) - 1}.")
    rows = [dict(source.example(n, rng)) for n in numbers]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {**batch, "id": np.array(numbers, np.int32)}


def watch(
    network: Network, batch: Mapping[str, Any], *, steps: int = 0, read_at: tuple[int, ...] = ()
) -> Output:
    """What the network goes through on a batch: its output with all phases and energies, as NumPy.

    From the phases that evaluation starts with (its first draw).

    Args:
      network: to watch.
      batch: as `batch_of` gives it.
      steps: T of every layer; 0: that of training.
      read_at: numbers of steps of the last layer after which to read the answer, too.
    """
    key = stream_key(network.config.seed, "evaluation phases", 0)
    watched = _watch(
        network.task, network.model, steps, read_at, network.variables, dict(batch), key
    )
    return jax.device_get(watched)


@functools.partial(jax.jit, static_argnums=range(4))
def _watch(
    task: Task,
    model: Any,
    steps: int,
    read_at: tuple[int, ...],
    variables: dict[str, Any],
    batch: Batch,
    key: jax.Array,
) -> Output:
    batch = task.prepare(jax.tree.map(jnp.asarray, batch))
    theta = model.initial_phases(example_keys(key, batch["id"]), batch["input"].shape[1:])
    output: Any = model.apply(
        variables,
        batch["input"],
        theta,
        steps=steps or None,
        trajectory=True,
        energies=True,
        read_at=read_at,
    )
    return output
