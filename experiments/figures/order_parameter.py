"""Order parameter and energy over the steps: one example, and the mean over many.

    python -m experiments.figures.order_parameter runs/maze_hard-small order.png [--example=2]

Left: Kuramoto's order parameter r = |mean of exp(iθ)|, over all oscillators of a layer, and over
those of each channel, averaged over channels. Right: the energy of the state before each step.
Lines: one test example; bands: mean and standard deviation over the first test examples. The steps
of all layers are concatenated.
"""

import argparse
import sys

import numpy as np
from matplotlib.axes import Axes

from experiments.figures import command
from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.tools.network import batch_of, load_network, watch

BATCH = 10
"""Examples whose trajectories are held in memory at the same time."""


def orders(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r over all oscillators, and the mean of r over channels: `[T, B, H, W, C]` → `[T, B]`."""
    unit = np.exp(1j * theta)
    return np.abs(unit.mean((2, 3, 4))), np.abs(unit.mean((2, 3))).mean(-1)


def draw(options: argparse.Namespace) -> None:
    """Writes the figure."""
    network = load_network(options.workdir.resolve(), "", options.checkpoint, options.use)
    source = network.load("test")
    count = min(options.examples, len(source))
    if count < 2:
        raise ValueError(f"--examples={options.examples} must be at least 2.")
    numbers = [options.example, *range(count)]
    example = command.row(batch_of(source, numbers[:1]), 0)
    together: list[np.ndarray] = []
    for first in range(0, len(numbers), BATCH):
        some = numbers[first : first + BATCH]
        padded = some + [some[-1]] * (BATCH - len(some))  # one batch shape, compiled once
        layers = watch(network, batch_of(source, padded), steps=options.steps).layers
        both = [orders(np.asarray(layer.trajectory)) for layer in layers]
        series = (
            np.concatenate([whole for whole, _ in both]),
            np.concatenate([each for _, each in both]),
            np.concatenate([layer.energies for layer in layers]),
        )
        together.append(np.stack(series)[..., : len(some)])
    whole, each, energy = np.concatenate(together, -1)  # [steps, 1 + count] each
    ends = np.cumsum([len(layer.energies) for layer in layers])[:-1]

    figure = new_figure(10, 3.7)
    left, right = figure.subplots(1, 2)
    _plot(left, whole, command.BLUE, "all oscillators")
    _plot(left, each, command.GREEN, "per channel")
    left.set(ylabel="order parameter r after the step", ylim=(0, 1))
    _plot(right, energy, command.RED, "")
    right.set(ylabel="energy before the step")
    for axes in (left, right):
        axes.set_xlabel("step" if not len(ends) else "step; dashed: the next layer")
        for end in ends:
            axes.axvline(end + 0.5, color=command.GREY, lw=0.8, ls="--")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Order and energy: test example {options.example} (lines), mean ± standard deviation of "
        f"{count} (bands)\n{command.describe(network, example['input'], options)}",
        fontsize=10.5,
    )
    save_figure(figure, options.output, dpi=130)


def _plot(axes: Axes, series: np.ndarray, colour: str, name: str) -> None:
    """The first column as a line, mean and standard deviation of the others as a band."""
    steps = np.arange(1, len(series) + 1)
    mean, std = series[:, 1:].mean(1), series[:, 1:].std(1)
    axes.fill_between(steps, mean - std, mean + std, color=colour, alpha=0.18, lw=0)
    axes.plot(steps, mean, color=colour, lw=1, ls="--", label=f"{name}, mean" if name else "mean")
    label = f"{name}, one example" if name else "one example"
    axes.plot(steps, series[:, 0], "o-", ms=3, color=colour, label=label)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.figure_parser(__doc__)
    parser.add_argument("--example", type=int, default=0, help="number in the test split")
    parser.add_argument("--examples", type=int, default=50, help="for mean and deviation")
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
