"""How an answer assembles over the steps (the paper's Fig. 5, 10, 11 for Maze, 12 for Sudoku).

    python -m experiments.figures.over_time runs/maze_hard-small board.png [--example=2]
        [--animate=board.gif]

One row: a test board after some of the steps, and the label; below, its energy. In a maze the blue
of a cell is the probability that it is on the path, purple through walls. In a Sudoku givens are
black, right digits blue, wrong ones red; in the animation, which does not know the label, those are
red that break a rule.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from experiments.figures import command
from wonn_jax.tasks.maze import PATH
from wonn_jax.tasks.pictures import draw_maze, draw_sudoku, plt
from wonn_jax.tools.animate import maze_image, save_dynamics
from wonn_jax.tools.network import watch

PANELS = 7


def draw(options: argparse.Namespace) -> None:
    """Writes the figure, and the animation if one is asked for."""
    network, batch = command.examples(options, options.example, 1)
    task = network.config.task
    if task == "image":
        raise ValueError(f"{options.workdir} is a run on images; this figure is of boards.")
    length = options.steps or network.config.model.steps[-1]
    seen = watch(network, batch, steps=options.steps, readings=tuple(range(1, length + 1)))
    probabilities = np.asarray(jax.nn.softmax(seen.readings))[:, 0]
    energies = seen.layers[-1].energies[:, 0]
    example = command.row(batch, 0)
    wrong = int((probabilities[-1].argmax(-1) != example["target"]).sum())
    said = "exact" if not wrong else f"{wrong} cells differ from the label at the end"
    title = f"Test board {options.example}: {said}\n{command.describe(network, options)}"
    boards(
        options.output, task, example["input"], example["target"], probabilities, energies, title
    )
    if options.animate:
        save_dynamics(options.animate, task, example["input"], probabilities, energies)
        print(f"written   {options.animate}")


def boards(
    path: Path,
    task: str,
    tokens: np.ndarray,
    target: np.ndarray,
    probabilities: np.ndarray,
    energies: np.ndarray,
    title: str,
) -> None:
    """Writes the figure of one board: tokens and label `[H, W]`, `[T, H, W, classes]`, `[T]`."""
    steps = len(energies)
    shown = np.unique(np.rint(np.linspace(1, steps, PANELS)).astype(int))
    count = len(shown) + 1
    figure = plt.figure(figsize=(1.9 * count, 4.1), layout="constrained")
    grid = figure.add_gridspec(2, count, height_ratios=(2.2, 1))
    for column, step in enumerate([*shown, 0]):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(f"step {step}" if step else "label", fontsize=9)
        if task == "maze":
            if step:
                axes.imshow(maze_image(tokens, probabilities[step - 1][..., PATH]))
            else:
                draw_maze(axes, target)
        else:
            now = probabilities[step - 1].argmax(-1) if step else target
            draw_sudoku(axes, np.where(tokens > 0, tokens, now + 1), tokens > 0, target + 1)
        axes.set_axis_off()
    below = figure.add_subplot(grid[1, :])
    below.plot(np.arange(1, steps + 1), energies, "o-", ms=3, color=command.RED)
    below.set(xlabel="step", ylabel="energy before it")
    below.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.figure_parser(__doc__)
    parser.add_argument("--example", type=int, default=0, help="number in the test split")
    parser.add_argument("--animate", type=Path, help="GIF to write")
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
