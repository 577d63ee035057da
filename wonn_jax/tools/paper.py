"""Accuracies that the paper prints (arXiv 2605.20922), for runs to be set beside."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("paper_results.json")


def results() -> dict[str, Any]:
    """The tables by name: `columns`, and `rows` by the name of the model."""
    return json.loads(RESULTS.read_text())


def rows_for(task: str, data: str, classes: int = 0) -> list[tuple[str, str, float]]:
    """Models of the paper on a task: name, parameters as printed, accuracy in %.

    Args:
      task: 'maze', 'sudoku' or 'image'.
      data: of images, `config.data.name`.
      classes: of ImageNet, 100 or 1000.

    Returns:
      A row for each; none where the paper has no figure.
    """
    kind = task if task != "image" else f"imagenet {classes}" if data == "imagenet" else data
    table, column = {
        "maze": ("maze_hard", "acc"),
        "sudoku": ("sudoku", "acc"),
        "cifar10": ("cifar", "cifar10_acc"),
        "cifar100": ("cifar", "cifar100_acc"),
        "imagenet 100": ("imagenet", "imagenet100_acc"),
        "imagenet 1000": ("imagenet", "imagenet1k_acc"),
    }.get(kind, ("", ""))
    if not table:
        return []
    found = results()[table]
    accuracy = found["columns"].index(column)
    size = found["columns"].index(column.replace("acc", "params"))
    rows = found["rows"].items()
    return [(n, r[size], r[accuracy]) for n, r in rows if "WONN" in n and r[accuracy] is not None]
