"""The kinds of bad inputs."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from experiments.faults.inputs import (
    command_lines,
    images,
    mazes,
    run_folders,
    settings,
    sudokus,
    weights,
)
from experiments.faults.inputs.base import Input

Strategy = st.SearchStrategy[Input]
KINDS: dict[str, Callable[[Path], Strategy]] = {
    "configurations": lambda _: settings.inputs(),
    "command lines": lambda _: command_lines.inputs(),
    "mazes": lambda _: mazes.inputs(),
    "Sudokus": lambda _: sudokus.inputs(),
    "weights": weights.inputs,
    "images": images.inputs,
    "run folders": run_folders.inputs,
}
"""Strategies that draw inputs, given the folder of `bases.py`."""


def import_libraries() -> None:
    """Imports all that commands import but themselves, whose flags can be defined only once."""
    import wonn_jax.evaluators.run
    import wonn_jax.interop.verify
    import wonn_jax.tools.animate
    import wonn_jax.tools.describe
    import wonn_jax.tools.flags
    import wonn_jax.tools.launch
    import wonn_jax.tools.puzzles
    import wonn_jax.tools.report.page
    import wonn_jax.train.loop  # noqa: F401
