"""Command line shared by all figures: which network, which examples, where to write."""

import argparse
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from wonn_jax.common.folders import make_folder
from wonn_jax.tools.launch import exit_status
from wonn_jax.tools.network import Network, batch_of, load_network
from wonn_jax.tools.puzzles import PUZZLES
from wonn_jax.tools.runs import path_argument

BLUE, RED, GREEN, BROWN, GREY = "#3d7eff", "#d7263d", "#1b998b", "#b07d2b", "#999999"


def figure_parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments of a figure of a network's dynamics."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("workdir", type=path_argument, help="folder of a run")
    parser.add_argument("output", type=path_argument, help="PNG to write")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--use", default="ema", choices=("ema", "raw"), help="which weights")
    parser.add_argument("--steps", type=int, default=0, help="T of every layer; 0: as in training")
    return parser


def run(
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
    draw: Callable[[argparse.Namespace], None],
) -> int:
    """Draws and returns the exit status: 2, with a message, if the input is wrong."""
    options = parser.parse_args(argv)
    return exit_status(lambda: _write(options, draw))


def _write(options: argparse.Namespace, draw: Callable[[argparse.Namespace], None]) -> int:
    if getattr(options, "steps", 0) < 0:
        raise ValueError(f"--steps={options.steps} must not be negative.")
    make_folder(options.output.parent)
    try:
        draw(options)
    except KeyError as error:
        raise ValueError(f"a file of {options.workdir} lacks the field {error}.") from error
    print(f"written   {options.output}")
    return 0


def examples(
    options: argparse.Namespace, first: int, number: int
) -> tuple[Network, dict[str, np.ndarray]]:
    """The network of the command line, and `number` test examples from the first one on.

    Raises:
      ValueError: no examples, or some that do not exist.
    """
    network = load_network(options.workdir, "", options.checkpoint, options.use)
    if number < 1:
        raise ValueError(f"--examples={number} must be at least 1.")
    return network, batch_of(network.load("test"), range(first, first + number))


def describe(network: Network, example: np.ndarray, options: argparse.Namespace) -> str:
    """A line about the network for titles; `example` is an input `[H, W, ...]`."""
    m = network.config.model
    height, width = example.shape[:2]
    weights = "EMA" if network.origin.rpartition(", ")[2] == "ema" else "raw"
    trained = ", ".join(map(str, m.steps))
    length = f"T {trained}"
    if options.steps:
        length = f"T {options.steps} (trained with {trained})"
    data = f"{network.config.data.name} {height}×{width}"
    return f"{data}, C {m.width}, L {m.layers}, {length}, {weights} weights"


def draw_input(axes: Axes, network: Network, example: dict[str, np.ndarray]) -> None:
    """The input of an example: a board or an image."""
    if puzzle := PUZZLES.get(network.config.task.name):
        puzzle.draw(axes, example["input"], None, example["target"])
    else:
        axes.imshow(example["input"])
    axes.set_axis_off()


def signed(value: float) -> str:
    """'+0.25' or '−0.25'."""
    return f"{value:+.2f}".replace("-", "−")


def row(batch: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """One example of a batch."""
    return {name: x[number] for name, x in batch.items()}
