"""Distribution of the final phases, its peaks and their distance (Fig. 4, left, of the paper).

    python -m experiments.figures.phase_distribution runs/digits distribution.png [--examples=4]

A panel per test example: the distribution of the phases of all oscillators of the last layer after
its last step, smoothed by 10°, with its two highest peaks. The axis is periodic.
"""

import argparse
import sys

import numpy as np

from experiments.figures import command
from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.tools.network import watch
from wonn_jax.tools.phases import distance, distribution


def draw(options: argparse.Namespace) -> None:
    """Writes the figure."""
    network, batch = command.examples(options, options.first, options.examples)
    phases = watch(network, batch, steps=options.steps).layers[-1].theta
    count = len(phases)
    figure = new_figure(2.7 * count + 0.6, 3.9)
    panels = figure.subplots(2, count, squeeze=False, height_ratios=(1, 1.3))
    ticks = np.linspace(-np.pi, np.pi, 5)
    highest = 0.0
    for column, theta in enumerate(phases):
        above, axes = panels[:, column]
        command.draw_input(above, network, command.row(batch, column))
        above.set_title(f"test example {batch['id'][column]}", fontsize=9)
        found = distribution(theta)
        highest = max(highest, float(found.density.max()))
        axes.fill_between(found.centres, found.density, color=command.BLUE, alpha=0.25, lw=0)
        axes.plot(found.centres, found.density, color=command.BLUE)
        axes.axhline(1 / (2 * np.pi), color=command.GREY, lw=0.8, ls=":")
        for peak in found.peaks:
            axes.axvline(peak, color=command.RED, lw=1.2)
        if len(found.peaks) == 2:
            apart = f"peaks {distance(*found.peaks) / np.pi:.2f} π apart"
        else:
            apart = "one peak"
        axes.set_title(apart, fontsize=9)
        axes.set_xticks(ticks, ["−π", "−π/2", "0", "π/2", "π"])
        axes.set(xlabel="phase θ, rad", xlim=(-np.pi, np.pi))
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[1]:
        axes.set_ylim(0, 1.12 * highest)
    panels[1, 0].set_ylabel("density per rad")
    figure.suptitle(
        "Final phases of the last layer (dotted: uniform)\n"
        + command.describe(network, batch["input"][0], options)
    )
    save_figure(figure, options.output, dpi=130)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.figure_parser(__doc__)
    parser.add_argument("--first", type=int, default=0, help="number of the first test example")
    parser.add_argument("--examples", type=int, default=4)
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
