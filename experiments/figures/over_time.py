"""How an answer assembles over the steps (the paper's Fig. 5, 10, 11 for Maze, 12 for Sudoku).

    python -m experiments.figures.over_time maze runs/maze_hard-small over_time.png [--board=2]

One row: a test board after some of the steps, and the label; below, its energy. In a maze the blue
of a cell is the probability that it is on the path, purple through walls. In a Sudoku givens are
black, right digits blue, wrong ones red.
"""

import argparse
import logging
import sys
from pathlib import Path

import numpy as np

from wonn_jax.animate import maze_image
from wonn_jax.data import load_source
from wonn_jax.pictures import draw_maze, draw_sudoku, plt
from wonn_jax.solve import Answer, answer, load_network
from wonn_jax.tasks.maze import PATH

PANELS = 7


def draw(
    path: Path, task: str, tokens: np.ndarray, target: np.ndarray, found: Answer, title: str
) -> None:
    """Writes the figure of one board (tokens and label `[H, W]`) as PNG."""
    steps = len(found.energies)
    shown = np.unique(np.rint(np.linspace(1, steps, PANELS)).astype(int))
    count = len(shown) + 1
    figure = plt.figure(figsize=(1.9 * count, 3.9), layout="constrained")
    grid = figure.add_gridspec(2, count, height_ratios=(2.2, 1))
    for column, step in enumerate([*shown, 0]):
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(f"step {step}" if step else "label", fontsize=9)
        if task == "maze":
            if step:
                axes.imshow(maze_image(tokens, found.probabilities[step - 1][..., PATH]))
            else:
                draw_maze(axes, target)
        else:
            said = found.probabilities[step - 1].argmax(-1) if step else target
            draw_sudoku(axes, np.where(tokens > 0, tokens, said + 1), tokens > 0, target + 1)
        axes.set_axis_off()
    below = figure.add_subplot(grid[1, :])
    below.plot(np.arange(1, steps + 1), found.energies, "o-", ms=3, color="#d7263d")
    below.set(xlabel="step", ylabel="energy before it")
    below.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=("maze", "sudoku"))
    parser.add_argument("workdir", type=Path)
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--board", type=int, default=0, help="number in the test split")
    parser.add_argument("--steps", type=int, default=0, help="T; default: that of training")
    options = parser.parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of its own options
    try:
        network = load_network(options.task, options.workdir.resolve())
        source = load_source(network.config, "test")
        if not 0 <= options.board < len(source) or options.steps < 0:
            raise ValueError(
                f"--board={options.board} must be from 0 to {len(source) - 1}, and "
                f"--steps={options.steps} not negative."
            )
        example = source.example(options.board, np.random.default_rng(0))
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    found = answer(network, example["input"], steps=options.steps)
    wrong = int((found.classes != example["target"]).sum())
    said = "exact" if not wrong else f"{wrong} cells differ from the label at the end"
    title = f"{options.task}, test board {options.board}, EMA weights: {said}"
    draw(options.output, options.task, example["input"], example["target"], found, title)
    print(f"written   {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
