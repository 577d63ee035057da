"""The cases that `steps` measures: models of the paper, and a batch for each."""

import ast
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ml_collections

# Only the standard library is imported until a function needs more, see `sides`.


class Case(NamedTuple):
    """A card in `configs/`, its preset, and the batch on a CPU and on a GPU."""

    card: str
    preset: str
    batch: int
    gpu_batch: int


CASES = {
    "maze": Case("maze_hard", "", 8, 64),
    "sudoku": Case("sudoku", "", 32, 100),
    "cifar-trig-128": Case("cifar10", "trig-128", 16, 128),
    "cifar-trig-256": Case("cifar10", "trig-256", 16, 128),
    "cifar-mlp-128": Case("cifar10", "mlp-128", 16, 128),
    "cifar-mlp-256": Case("cifar10", "mlp-256", 16, 128),
    "imagenet-mlp-256": Case("imagenet1k", "mlp-256", 2, 64),
}


def parse_override(text: str) -> tuple[str, Any]:
    """'model.remat=1' → ('model.remat', 1); a value that is not a Python literal is a string.

    Raises:
      ValueError: the text is not of the form GROUP.FIELD=VALUE.
    """
    name, equals, value = text.partition("=")
    if not equals or "." not in name.strip(".") or not value:
        raise ValueError(f"--set {text} must be GROUP.FIELD=VALUE: --set model.remat=1, say.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def card(
    name: str, *, batch: int, precision: str, overrides: dict[str, Any]
) -> "ml_collections.ConfigDict":
    """The card of a case at a batch size and a precision, with fields overridden.

    Raises:
      ValueError: an override of a field that does not exist, or with a value of another type.
    """
    case = CASES[name]
    get_config = importlib.import_module(f"configs.{case.card}").get_config
    config = get_config(case.preset) if case.preset else get_config()
    config.train.batch_size = config.eval.batch_size = batch
    config.model.precision = precision
    override(config, overrides, f"the case {name}")
    return config


def override(config: "ml_collections.ConfigDict", overrides: dict[str, Any], what: str) -> None:
    """Sets fields of a card.

    Raises:
      ValueError: a field does not exist, or has another type; `what` names the card.
    """
    for key, value in overrides.items():
        *groups, field = key.split(".")
        node = config
        try:
            for group in groups:
                node = node[group]
            if isinstance(node[field], tuple) and not isinstance(value, tuple):
                value = (value,)
            node[field] = value
        except (AttributeError, KeyError, TypeError) as error:
            reason = str(error.args[0]).replace("\n", ". ").rstrip(".")
            raise ValueError(
                f"--set {key}={value} cannot be set on {what}: {reason}. "
                f"{_known_fields(config, groups[0])}"
            ) from error


def _known_fields(config: "ml_collections.ConfigDict", group: str) -> str:
    """The fields of the section that an override was meant for, or the sections."""
    section = config.get(group)
    if hasattr(section, "keys"):
        return f"{group} has the fields {', '.join(section)}."
    return f"The card has the sections {', '.join(config)}."


def rows(config: dict[str, Any]) -> dict[str, Any]:
    """A batch as it comes from the data, of a configuration as a dictionary; see `wonn_jax.tasks`.

    Images are noise; a maze is one long winding path, about as long as those of the benchmark;
    a Sudoku has random digits, two in five of them given.
    """
    import numpy as np

    random = np.random.default_rng(0)
    count = config["train"]["batch_size"]
    batch = _ROWS[config["task"]["name"]](config["data"], count, random)
    return batch | {"id": np.arange(count, dtype=np.int32)}


def _images(data: dict[str, Any], count: int, random: Any) -> dict[str, Any]:
    import numpy as np

    side = data["image_size"]
    images = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {"input": images, "target": np.arange(count, dtype=np.int32) % data["classes"]}


def _sudokus(data: dict[str, Any], count: int, random: Any) -> dict[str, Any]:
    import numpy as np

    board = (count, 9, 9)
    target = random.integers(0, 9, board, dtype=np.int32)
    tokens = np.where(random.random(board) < 0.4, target + 1, 0).astype(np.int32)
    return {"input": tokens, "target": target, "valid": np.ones(board, bool)}


def _mazes(data: dict[str, Any], count: int, random: Any) -> dict[str, Any]:
    import numpy as np

    board = (count, data["height"], data["width"])
    tokens = np.ones(board, np.int32)  # free
    for number, column in enumerate(range(7, board[2] - 1, 8)):
        tokens[:, :, column] = 0  # a wall, open at one end
        tokens[:, 0 if number % 2 else -1, column] = 1
    tokens[:, 0, 0], tokens[:, 0, -1] = 2, 3
    return {"input": tokens, "target": tokens, "valid": np.ones(board, bool)}


_ROWS: dict[str, Callable[..., dict[str, Any]]] = {
    "image": _images,
    "maze": _mazes,
    "sudoku": _sudokus,
}
