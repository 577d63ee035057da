"""How an answer forms over the steps (Fig. 5, 10 and 11 of the paper for mazes, 12 for Sudokus).

    python -m experiments.figures.over_time runs/maze_hard-small board.png [--example=2]
        [--animate=board.gif]

One row: a test board after some of the steps, and its label; below, the energy. In a maze, blue
shows the probability that a cell is on the path, purple if it is a wall. In a Sudoku, given digits
are black, correct ones blue and wrong ones red; the animation does not use the label and shows
digits that break a rule in red.
"""

import argparse
import sys

import jax
import numpy as np
from etils import epath

from experiments.figures import command
from wonn_jax.tasks.pictures import errors, new_figure, save_figure
from wonn_jax.tools.animate import save_dynamics
from wonn_jax.tools.network import watch
from wonn_jax.tools.puzzles import PUZZLES, Puzzle
from wonn_jax.tools.runs import path_argument

PANELS = 7


def draw(options: argparse.Namespace) -> None:
    """Writes the figure and, if requested, the animation."""
    network, batch = command.examples(options, options.example, 1)
    puzzle = PUZZLES.get(network.config.task.name)
    if puzzle is None:
        raise ValueError(
            f"{options.workdir} is a run on {network.task.noun}; this figure shows boards "
            f"({', '.join(PUZZLES)})."
        )
    length = options.steps or network.model.steps[-1]
    seen = watch(network, batch, steps=options.steps, read_at=tuple(range(1, length + 1)))
    probabilities = np.asarray(jax.nn.softmax(seen.read_early))[:, 0]
    energies = seen.layers[-1].energies[:, 0]
    example = command.row(batch, 0)
    result = errors(probabilities[-1].argmax(-1), example["target"])
    about = command.describe(network, example["input"], options)
    title = f"Test board {options.example}: {result}\n{about}"
    draw_steps(
        options.output, puzzle, example["input"], example["target"], probabilities, energies, title
    )
    if options.animate:
        save_dynamics(options.animate, puzzle, example["input"], probabilities, energies)
        print(f"written   {options.animate}")


def draw_steps(
    path: epath.Path,
    puzzle: Puzzle,
    tokens: np.ndarray,
    target: np.ndarray,
    probabilities: np.ndarray,
    energies: np.ndarray,
    title: str,
) -> None:
    """Writes the figure of one board.

    Args:
      path: PNG to write.
      puzzle: the kind of board.
      tokens, target: of the board `[H, W]`.
      probabilities: of each class after each step `[T, H, W, classes]`.
      energies: before each step `[T]`.
      title: of the figure.
    """
    steps = len(energies)
    shown = np.unique(np.rint(np.linspace(1, steps, PANELS)).astype(int))
    count = len(shown) + 1
    figure = new_figure(1.9 * count, 4.1)
    grid = figure.add_gridspec(2, count, height_ratios=(2.2, 1))
    for column, step in enumerate([*shown, 0]):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(f"step {step}" if step else "label", fontsize=9)
        if step:
            puzzle.draw_step(axes, tokens, probabilities[step - 1], target)
        else:
            puzzle.draw(axes, tokens, target, target)
        axes.set_axis_off()
    below = figure.add_subplot(grid[1, :])
    below.plot(np.arange(1, steps + 1), energies, "o-", ms=3, color=command.RED)
    below.set(xlabel="step", ylabel="energy before the step")
    below.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path, dpi=130)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.figure_parser(__doc__)
    parser.add_argument("--example", type=int, default=0, help="number in the test split")
    parser.add_argument("--animate", type=path_argument, help="GIF to write")
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
