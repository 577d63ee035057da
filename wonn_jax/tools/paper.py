"""Accuracies reported in the paper (arXiv 2605.20922), to compare runs with."""

import importlib.resources
import json
from typing import Any, NamedTuple

RESULTS = importlib.resources.files(__package__) / "paper_results.json"


class Benchmark(NamedTuple):
    """Where the paper reports results on some data.

    table, column: in `results()`.
    task, data, classes: names in the configuration and number of classes; '' and 0 match any.
    boards: what the paper's boards are, where those of a run may be easier.
    """

    table: str
    column: str
    task: str
    data: str = ""
    classes: int = 0
    boards: str = ""


BENCHMARKS = (
    Benchmark("maze_hard", "acc", "maze", boards="Maze-hard, 30×30"),
    Benchmark("sudoku", "acc", "sudoku", boards="those of SATNet"),
    Benchmark("cifar", "cifar10_acc", "image", "cifar10"),
    Benchmark("cifar", "cifar100_acc", "image", "cifar100"),
    Benchmark("imagenet", "imagenet100_acc", "image", "imagenet", 100),
    Benchmark("imagenet", "imagenet1k_acc", "image", "imagenet", 1000),
)


def results() -> dict[str, Any]:
    """The tables by name: `columns`, and `rows` by the name of the model."""
    return json.loads(RESULTS.read_text())


def benchmark(task: str, data: str, classes: int = 0) -> Benchmark | None:
    """The benchmark of a task and a data set, None if the paper has none.

    Args:
      task: its name.
      data: name of the data set.
      classes: number of classes of the data set.
    """
    for known in BENCHMARKS:
        if known.task == task and known.data in ("", data) and known.classes in (0, classes):
            return known
    return None


def rows_for(known: Benchmark) -> list[tuple[str, str, float]]:
    """The paper's WONN models on a benchmark: name, parameters as printed, accuracy in %."""
    table = results()[known.table]
    accuracy = table["columns"].index(known.column)
    size = table["columns"].index(known.column.replace("acc", "params"))
    rows = table["rows"].items()
    return [(n, r[size], r[accuracy]) for n, r in rows if "WONN" in n and r[accuracy] is not None]
