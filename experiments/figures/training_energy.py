"""Energy and accuracy during training, from the metrics of a run (Fig. 8 of the paper).

    python -m experiments.figures.training_energy runs/maze_hard-small energy.png

At each evaluation, over all test examples: the mean energy of the last layer before its last step,
and the accuracy, with raw and with averaged (EMA) weights.
"""

import argparse
import sys

import numpy as np

from experiments.figures import command
from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.tools.runs import path_argument
from wonn_jax.train.lines import read_lines

WEIGHTS = {"raw": command.BROWN, "ema": command.GREEN}


def draw(options: argparse.Namespace) -> None:
    """Writes the figure."""
    written = options.workdir / "metrics.jsonl"
    if not written.is_file():
        raise FileNotFoundError(f"{options.workdir} holds no run: there is no {written.name}.")
    read = [line for line in read_lines(written) if isinstance(line, dict)]
    lines = [line for line in read if line.get("kind") == "test"]
    if not lines:
        raise ValueError(f"{written} has no evaluation yet.")
    lines = [line for line in lines if "raw_energy" in line]
    if not lines:
        raise ValueError(
            f"{written} has no energies: the model has no oscillators, or the run is from an "
            "earlier version, which did not record them."
        )
    steps = [line["step"] for line in lines]
    figure = new_figure(9.4, 3.5)
    left, right = figure.subplots(1, 2)
    for weights, colour in WEIGHTS.items():
        energy, accuracy = (
            np.array([line[f"{weights}_{name}"] for line in lines], float)  # null: not finite
            for name in ("energy", "accuracy")
        )
        left.plot(steps, energy, "o-", ms=3, color=colour, label=f"{weights} weights")
        right.plot(steps, 100 * accuracy, "o-", ms=3, color=colour, label=f"{weights} weights")
    left.set(xlabel="training step", ylabel="mean final energy")
    right.set(xlabel="training step", ylabel="accuracy on the test split, %", ylim=(0, 100))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Energy and accuracy on the test split during training: {options.workdir.name}"
    )
    save_figure(figure, options.output, dpi=130)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workdir", type=path_argument, help="folder of a run")
    parser.add_argument("output", type=path_argument, help="PNG to write")
    return command.run(parser, argv, draw)


if __name__ == "__main__":
    sys.exit(main())
