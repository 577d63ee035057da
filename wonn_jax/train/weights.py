"""Trained weights of a run's checkpoint, or of a PyTorch file, on the devices of an experiment."""

from typing import Any

import jax
from etils import epath

from wonn_jax.config import to_dict
from wonn_jax.interop import from_pytorch
from wonn_jax.interop.layers import differing_shapes
from wonn_jax.interop.state_dict import some
from wonn_jax.parallel.mesh import shardings
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.evaluation import WEIGHTS
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.state import Variables


def saved_weights(experiment: Experiment, workdir: epath.Path) -> tuple[dict[str, Variables], str]:
    """Both sets of weights of the checkpoint `eval.checkpoint`, and where they come from.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: it is damaged, or of another network.
    """
    config = experiment.config
    which = config.eval.checkpoint
    folder = workdir / ("best" if which == "best" else "checkpoints")
    missing = FileNotFoundError(
        f"There is no checkpoint in {folder}. Give the --workdir of a run, train one with "
        "--mode=train, or evaluate PyTorch weights with --weights=FILE."
    )
    if not folder.is_dir():
        raise missing
    like = _by_field(experiment.abstract_variables)
    placed = _by_field(shardings(experiment.variables_specs, experiment.mesh))
    with Checkpoints(folder, config.checkpoint.keep, writable=False) as checkpoints:
        if which.isdecimal():
            restored = checkpoints.restore_step(int(which), like, placed, partial=True)
        else:
            found = checkpoints.restore(like, placed, partial=True)
            if found is None:
                raise missing
            restored = found
    trained, now = restored.config["model"], to_dict(config.model)
    for name in [x for x in now if _plain(trained.get(x)) != _plain(now[x])]:
        ours, theirs = _plain(now[name]), _plain(trained.get(name))
        print(f"note     model.{name} is {ours!r}, trained with {theirs!r}")
    state = restored.state
    raw = {"params": state["params"], **state["model_state"]}
    sets = dict(zip(WEIGHTS, (raw, state["ema"]), strict=True))
    return sets, f"{restored.directory} (step {restored.step:,})"


def imported_weights(experiment: Experiment, path: str) -> tuple[dict[str, Variables], str]:
    """Weights of a PyTorch file for the network of an experiment, as `saved_weights` has them.

    Args:
      experiment: with a network of the reference.
      path: of the file, see `load_state_dict`.

    Raises:
      FileNotFoundError, ImportError, ValueError: no such file, a library that is missing, a
        damaged file, or weights of another network.
    """
    model: Any = experiment.config.model
    variables = from_pytorch(path, step_size=model.step_size)
    like = experiment.abstract_variables
    if differ := differing_shapes(variables, like):
        first, *others = differ
        layers = sum(n.startswith("layer_") for n in variables["params"])
        more = f"Different as well: {some(others)}. " if others else ""
        raise ValueError(
            f"{path} holds a model of other shapes than the configuration: {first}; {layers} "
            f"layers there. {more}Set --config.model.width, --config.model.layers (now "
            f"{model.width} and {model.layers}) and what else differs to those of the weights."
        )
    variables = jax.tree.map(lambda x, y: x.astype(y.dtype), variables, like)
    placed = jax.device_put(variables, shardings(experiment.variables_specs, experiment.mesh))
    return {"imported": placed}, path


def _by_field(variables: Variables) -> dict[str, Any]:
    """Variables under the names that they have in a training state."""
    collections = {name: x for name, x in variables.items() if name != "params"}
    return {"params": variables["params"], "model_state": collections, "ema": variables}


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows no tuples."""
    return list(value) if isinstance(value, tuple) else value
