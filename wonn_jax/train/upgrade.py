"""Runs of version 0.1.0: their configuration in today's layout, and the names of their arrays.

There the configuration was one list of fields for all tasks, networks and data sets. Everything
a run depends on is carried over, so that it goes on bit for bit.
"""

from collections.abc import Mapping
from typing import Any

from etils import epath

from wonn_jax.common.files import read_object
from wonn_jax.config import components, field_names, to_dict

_ARRAYS = {"batch_stats.": "model_state.batch_stats."}
_FIELDS = {"deviation": "std", "limit": "max_steps"}
_DATA = {"maze": "maze", "sudoku": "sudoku"}  # images name their data set themselves
_AUGMENT = {"image": "image"}
_NETWORKS = {"maze": "winfree_grid", "sudoku": "winfree_grid", "image": "winfree_image"}
_WHOLE_PATH = {"maze": {"train_examples": 0, "test_examples": 0}}  # a path was read as a whole
_DEFAULTS = {"maze": {"train_examples": {1000: 0}, "test_examples": {1000: 0}}}  # 0 means 1000


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
    old: dict[str, Any] = {
        name: dict(x) if isinstance(x, Mapping) else x for name, x in config.items()
    }
    task, data, model, train = (old[name] for name in ("task", "data", "model", "train"))
    settings = {"name": task, "label_smoothing": train.pop("label_smoothing", 0.0)}
    if weights := old.pop("loss_weights", ()):
        settings["loss_weights"] = weights
    if data.get("path"):
        data |= _WHOLE_PATH.get(task, {})
    for field, values in _DEFAULTS.get(task, {}).items():
        data[field] = values.get(data[field], data[field])
    network = {"winfree": _NETWORKS[task]}
    model["name"] = network.get(model.get("name", "winfree"), model.get("name"))
    return old | {
        "task": _fields("task", settings),
        "data": _fields("data", data | {"name": _DATA.get(task, data.get("name"))}),
        "model": _fields("model", model),
        "augment": _fields(
            "augment", old.get("augment", {}) | {"name": _AUGMENT.get(task, "none")}
        ),
        "method": {"name": "supervised"},
        "optimizer": _fields("optimizer", old["optimizer"]),
        "eval": _evaluation(old["eval"], components("model")[model["name"]]),
    }


def read_config(path: epath.PathLike) -> dict[str, Any]:
    """The configuration of a run from its `config.json`, in today's layout.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged.
    """
    advice = (
        "Restore it from a copy, or delete it: training then goes on from the last checkpoint, "
        "which holds the configuration, too, and writes the file anew."
    )
    found = read_object(path, advice)
    try:
        config = upgrade(found)
        if lacking := [x for x in ("task", "data", "model") if "name" not in config[x]]:
            raise KeyError(f"{lacking[0]}.name")
    except KeyError as error:
        raise ValueError(f"{path} is damaged (it lacks the field {error}). {advice}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}). {advice}") from error
    return config


def _fields(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """The fields that the component of this name has, those left out at their defaults."""
    defaults = to_dict(components(kind)[values["name"]]())
    renamed = {_FIELDS.get(name, name): x for name, x in values.items()}
    return defaults | {name: x for name, x in renamed.items() if name in defaults}


def _evaluation(values: dict[str, Any], model: Any) -> dict[str, Any]:
    """The section `eval`, with the evaluators that a network has."""
    known: dict[str, Any] = dict(components("evaluator"))
    chosen = [n for n in known if model.oscillatory or not known[n].oscillatory]
    left_out = {f for n in known.keys() - chosen for f in field_names(known[n])}
    renamed = {_FIELDS.get(name, name): x for name, x in values.items()}
    kept = {name: x for name, x in renamed.items() if name not in left_out}
    return kept | {"evaluators": tuple(chosen)}
