"""Maps of the two phase groups over the input (Fig. 4, right, and Fig. 6 of the paper).

    python -m experiments.figures.phase_groups runs/digits groups.png [--examples=4]

A row per test example. The groups gather around the two highest peaks of the final phases of the
last layer; a cell's weight in a group is the mean over its oscillators of max(0, cos(θ − peak)).
Every map has its own colour scale; its range is printed above it.
"""

import argparse
import sys

import numpy as np

from experiments.figures import command
from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.tools.network import watch
from wonn_jax.tools.phases import distance, groups, weights


def draw(options: argparse.Namespace) -> None:
    """Writes the figure."""
    network, batch = command.examples(options, options.first, options.examples)
    phases = watch(network, batch, steps=options.steps).layers[-1].theta
    count = len(phases)
    figure = new_figure(7.0, 2.2 * count + 0.7)
    panels = figure.subplots(count, 3, squeeze=False)
    image = None
    for line, theta in zip(range(count), phases, strict=True):
        command.draw_input(panels[line, 0], network, command.row(batch, line))
        panels[line, 0].set_title(f"test example {batch['id'][line]}", fontsize=9)
        centres = groups(theta)
        for number, centre in enumerate(centres):
            axes = panels[line, number + 1]
            weight = weights(theta, centre)
            image = axes.imshow(weight, cmap="magma")
            axes.set_title(
                f"group {number + 1} at {command.signed(centre / np.pi)} π\n"
                f"{weight.min():.2f} to {weight.max():.2f}",
                fontsize=9,
            )
            axes.set_axis_off()
        panels[line, 2].text(
            1.04,
            0.5,
            f"{distance(*centres) / np.pi:.2f} π apart",
            transform=panels[line, 2].transAxes,
            rotation=270,
            va="center",
            fontsize=8,
        )
    bar = figure.colorbar(image, ax=panels, label="weight of the cell in the group", shrink=0.5)
    bar.set_ticks([*image.get_clim()], labels=["least", "most"])
    figure.suptitle(
        "Phase groups of the last layer\n" + command.describe(network, batch["input"][0], options),
        fontsize=11,
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
