"""Runs of version 0.1.0: their configuration in today's layout, and the names of their arrays.

There the configuration was one list of fields for all tasks, networks and data sets. Everything
a run depends on is carried over, so that it goes on bit for bit.
"""

from collections.abc import Mapping
from typing import Any

from wonn_jax.config import components, field_names

_ARRAYS = {"batch_stats.": "model_state.batch_stats."}
_RENAMED = {"deviation": "std", "limit": "max_steps"}


def is_old(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is in the layout of version 0.1.0."""
    return isinstance(config.get("task"), str)


def array_name(name: str) -> str:
    """Today's name of an array of a checkpoint."""
    for old, new in _ARRAYS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in today's layout; one that is in it already stays as it is."""
    if not is_old(config):
        return dict(config)
    task, data, model = config["task"], dict(config["data"]), dict(config["model"])
    images = task == "image"
    if not images:
        data["name"] = task
        if data.get("path") and task == "maze":  # all boards of the path were used
            data["train_examples"] = data["test_examples"] = 0
    if model.get("name", "winfree") == "winfree":
        model["name"] = "winfree_image" if images else "winfree_grid"
    settings: dict[str, Any] = {"name": task}
    if config.get("loss_weights"):
        settings["loss_weights"] = config["loss_weights"]
    train = dict(config["train"])
    settings["label_smoothing"] = train.pop("label_smoothing", 0.0)
    evaluators: tuple[str, ...] = ("accuracy", "adaptive", "voting")
    plain = model["name"] == "resnet"
    augment = {**config.get("augment", {}), "name": "image" if images else "none"}
    evaluation = dict(config["eval"])
    if plain:
        evaluators = ("accuracy",)
        known = field_names(components("evaluator")["accuracy"])
        others = {n for e in components("evaluator").values() for n in field_names(e)}
        evaluation = {n: x for n, x in evaluation.items() if n not in others or n in known}
    return {
        **{name: x for name, x in config.items() if name != "loss_weights"},
        "task": _fields("task", settings),
        "data": _fields("data", data),
        "model": _fields("model", model),
        "augment": _fields("augment", augment),
        "method": {"name": "supervised"},
        "optimizer": _fields("optimizer", dict(config["optimizer"])),
        "train": train,
        "eval": {_RENAMED.get(n, n): x for n, x in evaluation.items()} | {"evaluators": evaluators},
    }


def _fields(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """The fields that the component of this name has."""
    known = components(kind)[values["name"]]
    renamed = {_RENAMED.get(name, name): x for name, x in values.items()}
    return {name: x for name, x in renamed.items() if name in ("name", *field_names(known))}
