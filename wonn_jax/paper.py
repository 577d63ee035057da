"""Accuracies that the paper prints (arXiv 2605.20922), for runs to be set beside."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("paper_results.json")


def results() -> dict[str, Any]:
    """The tables by name: `columns`, and `rows` by the name of the model."""
    return json.loads(RESULTS.read_text())


def rows_for(task: str, data: str) -> list[tuple[str, str, float]]:
    """Models of the paper on a task and data set: name, parameters as printed, accuracy in %.

    Empty where the paper has none.
    """
    table, column = {
        "maze": ("maze_hard", "acc"),
        "sudoku": ("sudoku", "acc"),
        "cifar10": ("cifar", "cifar10_acc"),
        "cifar100": ("cifar", "cifar100_acc"),
        "imagenet100": ("imagenet", "imagenet100_acc"),
        "imagenet1k": ("imagenet", "imagenet1k_acc"),
    }.get(data if task == "image" else task, ("", ""))
    if not table:
        return []
    found = results()[table]
    accuracy = found["columns"].index(column)
    size = found["columns"].index(column.replace("acc", "params"))
    rows = found["rows"].items()
    return [(n, r[size], r[accuracy]) for n, r in rows if "WONN" in n and r[accuracy] is not None]
