"""A trained network by itself, of a run or of a PyTorch file, and what it goes through.

network = load_network(Path("runs/maze_hard-small"))
watched = watch(network, batch_of(load_source(network.config, "test"), [0, 1, 2]))
watched.layers[-1].trajectory                           # [T, 3, H, W, C], rad
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from wonn_jax.config import Config, default_config, freeze
from wonn_jax.data.pipeline import Source
from wonn_jax.dist.mesh import MeshConfig
from wonn_jax.evaluators.accuracy import imported_weights, saved_weights
from wonn_jax.interop.winfree import from_pytorch
from wonn_jax.models import Model
from wonn_jax.models.base import Output
from wonn_jax.rng import stream_key
from wonn_jax.tasks import Batch, Task
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.step import batch_phases


class Network(NamedTuple):
    """A trained network: `variables` are what `model.apply` takes, `origin` says whose they are."""

    config: Config
    task: Task
    model: Model
    variables: dict[str, Any]
    origin: str


def load_network(
    workdir: Path,
    task: str = "",
    checkpoint: str = "last",
    weights: str = "ema",
    file: str = "",
    heads: int = 8,
) -> Network:
    """The network of a run, or of a PyTorch file, on one device.

    Args:
      workdir: of the run.
      task: what it has to be of: 'maze', 'sudoku' or 'image'; '': of any of them.
      checkpoint: 'last', 'best' or a step.
      weights: 'raw' or 'ema'.
      file: PyTorch weights for boards of `task` instead of a run; what they do not tell is as in
        the paper.
      heads: of attention, which these weights do not tell.

    Raises:
      ValueError, FileNotFoundError: nothing there, of another task, or without oscillators.
    """
    if checkpoint not in ("last", "best") and not checkpoint.isdigit():
        raise ValueError(f"checkpoint={checkpoint!r} must be last, best or a step.")
    config = _config_of_weights(task, file, heads) if file else _config_of_run(workdir, task)
    evaluation = dataclasses.replace(
        config.eval, checkpoint=checkpoint, votes=1, at_once=0, stop="never"
    )
    # Kernels of the device it was trained on may be none of this one.
    model = dataclasses.replace(config.model, attention="auto")
    config = dataclasses.replace(config, model=model, mesh=MeshConfig(), eval=evaluation)
    experiment = Experiment(config, devices=jax.devices()[:1])
    if file:
        sets, origin = imported_weights(experiment, file)
        weights = "imported"
    else:
        sets, origin = saved_weights(experiment, workdir)
    return Network(
        experiment.config,
        experiment.task,
        experiment.model,
        sets[weights],
        f"{origin}, {weights}",
    )


def _config_of_run(workdir: Path, task: str) -> Config:
    written = workdir / "config.json"
    if not written.is_file():
        raise FileNotFoundError(
            f"{workdir} holds no run: there is no {written.name}. Give the --workdir of a run"
            f"{f' on {task}, or --weights=FILE' if task else ''}; python -m wonn_jax.main trains "
            "one."
        )
    full = default_config()  # a run of an earlier version lacks later fields
    try:
        full.update(ml_collections.ConfigDict(read_object(written)))
        config = freeze(full)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{written} is no configuration of this version: {error}") from error
    if task and config.task != task:
        raise ValueError(
            f"{workdir} is a run on {config.task}, not on {task}: give another --workdir."
        )
    if config.model.name == "resnet":
        raise ValueError(f"{workdir} is a run of a ResNet, which has no oscillators.")
    return config


def _config_of_weights(task: str, file: str, heads: int) -> Config:
    config = default_config()
    config.task = task
    if task == "sudoku":
        config.data.height = config.data.width = 9
        config.model.steps = (16,)
    params = from_pytorch(Path(file).expanduser())["params"]
    found = len(params["frequency"]) if "frequency" in params else 0
    if found != {"maze": 4, "sudoku": 10}.get(task):
        kind = {4: "maze", 10: "sudoku"}.get(found, "images")
        raise ValueError(f"{file} holds weights for {kind}, not for {task}.")
    config.model.heads = heads
    config.model.width = int(params["frequency"].shape[1])
    config.model.layers = sum(name.startswith("layer_") for name in params)
    return freeze(config)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
      ValueError: that names the file, if it is no JSON or holds something else.
    """
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds a {type(found).__name__}, where an object is needed.")
    return found


def latest_run(task: str, folder: Path = Path("runs")) -> Path:
    """The run of a task in `folder` that was written to last."""
    found = []
    for written in folder.glob("*/config.json"):
        states = written.parent / "checkpoints"
        try:
            ours = read_object(written).get("task") == task
        except (ValueError, OSError):
            continue  # a run that only begins, or a damaged one
        if states.is_dir() and ours:
            found.append((states.stat().st_mtime_ns, written.parent))
    if not found:
        raise FileNotFoundError(
            f"There is no run on {task} in {folder}/. Train one, with python -m wonn_jax.main "
            f"--config=configs/{'maze_hard.py:small' if task == 'maze' else 'sudoku.py'}, or give "
            "--workdir=RUN or --weights=FILE."
        )
    return max(found)[1]


def batch_of(source: Source, numbers: Iterable[int]) -> dict[str, np.ndarray]:
    """Examples of a source by their numbers, as one batch.

    Raises:
      ValueError: a number that is none of an example.
    """
    numbers = list(numbers)
    rng = np.random.default_rng(0)  # draws nothing on a test split
    if wrong := [n for n in numbers if not 0 <= n < len(source)]:
        raise ValueError(f"Example {wrong[0]} does not exist; they go from 0 to {len(source) - 1}.")
    rows = [dict(source.example(n, rng)) for n in numbers]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {**batch, "id": np.array(numbers, np.int32)}


def watch(
    network: Network, batch: Mapping[str, Any], *, steps: int = 0, readings: tuple[int, ...] = ()
) -> Output:
    """What the network goes through on a batch: its output with all phases and energies, as NumPy.

    From the phases that evaluation starts with (its first draw).

    Args:
      network: to watch.
      batch: as `batch_of` gives it.
      steps: T of every layer; 0: that of training.
      readings: numbers of steps of the last layer after which to read the answer, too.
    """
    watched = _watch(
        network.config, network.task, network.model, steps, readings, network.variables, dict(batch)
    )
    return jax.device_get(watched)


@functools.partial(jax.jit, static_argnums=range(5))
def _watch(
    config: Config,
    task: Task,
    model: Model,
    steps: int,
    readings: tuple[int, ...],
    variables: dict[str, Any],
    batch: Batch,
) -> Output:
    batch = task.prepare(jax.tree.map(jnp.asarray, batch))
    theta = batch_phases(model, batch, stream_key(config.seed, "evaluation phases", 0), config)
    output: Any = model.apply(
        variables,
        batch["input"],
        theta,
        steps=steps or None,
        trajectory=True,
        energies=True,
        readings=readings,
    )
    return output
