"""How the two phase groups form over steps and layers (Fig. 7 of the paper).

    python -m experiments.figures.group_evolution runs/digits groups.png [--example=3]
        [--animate=groups.gif]

A row per layer, a column per step: the weight of each cell in the first group minus its weight in
the second (see `phase_groups`), centred to mean 0. The groups and the colour scale of a layer come
from its phases after its last step. The animation shows all steps of all layers, with the
distribution of the phases beside the map.
"""

import argparse
import sys

import numpy as np
from etils import epath
from matplotlib.animation import FuncAnimation
from matplotlib.artist import Artist

from experiments.figures import command
from wonn_jax.tasks.pictures import new_figure, save_figure, save_movie
from wonn_jax.tools.network import Network, watch
from wonn_jax.tools.phases import colour_limit, contrast, distribution, groups
from wonn_jax.tools.runs import path_argument

COLUMNS = 8


def draw(options: argparse.Namespace) -> None:
    """Writes the figure and, if requested, the animation."""
    network, batch = command.examples(options, options.example, 1)
    layers = watch(network, batch, steps=options.steps).layers
    paths = [np.asarray(layer.trajectory)[:, 0] for layer in layers]  # [T, H, W, C] each
    example = command.row(batch, 0)
    about = command.describe(network, example["input"], options)
    title = f"Phase groups, test example {options.example}\n{about}"

    columns = max(min(COLUMNS, len(path)) for path in paths) + 1
    figure = new_figure(1.55 * columns + 0.8, 1.75 * len(paths) + 0.9)
    panels = figure.subplots(len(paths), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    command.draw_input(panels[0, 0], network, example)
    panels[0, 0].set_title("input", fontsize=9)
    for layer, path in enumerate(paths):
        centres = groups(path[-1])
        limit = colour_limit(path[-1], centres)
        shown = np.unique(np.rint(np.linspace(1, len(path), columns - 1)).astype(int))
        for column, step in enumerate(shown, 1):
            axes = panels[layer, column]
            now = contrast(path[step - 1], centres)
            image = axes.imshow(now, vmin=-limit, vmax=limit, cmap="RdBu")
            name = f"layer {layer + 1}, " if len(paths) > 1 and column == 1 else ""
            axes.set_title(f"{name}step {step}", fontsize=9)
        figure.colorbar(image, ax=panels[layer], label="group 1 − group 2 − mean", shrink=0.8)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, options.output, dpi=130)
    if options.animate:
        animate(options.animate, network, example, paths, title)
        print(f"written   {options.animate}")


def animate(
    path: epath.Path,
    network: Network,
    example: dict[str, np.ndarray],
    paths: list[np.ndarray],
    title: str,
) -> None:
    """Writes the GIF: input, map and distribution after every step of every layer."""
    frames = [(layer, step) for layer, steps in enumerate(paths) for step in range(len(steps))]
    centres = [groups(steps[-1]) for steps in paths]
    highest = max(
        distribution(steps[i]).density.max() for steps in paths for i in range(len(steps))
    )
    figure = new_figure(8.4, 3.4)
    left, middle, right = figure.subplots(1, 3)
    command.draw_input(left, network, example)
    left.set_title("input", fontsize=9)
    figure.suptitle(title, fontsize=10)

    def frame(number: int) -> list[Artist]:
        layer, step = frames[min(number, len(frames) - 1)]
        theta = paths[layer][step]
        middle.clear()
        limit = colour_limit(paths[layer][-1], centres[layer])
        middle.imshow(contrast(theta, centres[layer]), vmin=-limit, vmax=limit, cmap="RdBu")
        middle.set_axis_off()
        middle.set_title(
            f"layer {layer + 1} of {len(paths)}, step {step + 1}\ngroup 1 (blue) − 2 (red)",
            fontsize=9,
        )
        right.clear()
        found = distribution(theta)
        right.fill_between(found.centres, found.density, color=command.GREY, alpha=0.4, lw=0)
        for centre, colour in zip(centres[layer], (command.BLUE, command.RED), strict=True):
            right.axvline(centre, color=colour, lw=1.2)
        right.set_xticks(np.linspace(-np.pi, np.pi, 5), ["−π", "−π/2", "0", "π/2", "π"])
        right.set(xlim=(-np.pi, np.pi), ylim=(0, 1.08 * highest), xlabel="phase θ, rad")
        right.set_title("distribution of the phases\ngroups 1 (blue) and 2 (red)", fontsize=9)
        return [middle, right]

    # The last step is repeated: not every viewer honours the duration of a single frame.
    movie = FuncAnimation(figure, frame, frames=len(frames) + 6)
    save_movie(movie, path, 4)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.figure_parser(__doc__)
    parser.add_argument("--example", type=int, default=0, help="number in the test split")
    parser.add_argument("--animate", type=path_argument, help="GIF to write")
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
