"""Training curves of one or several runs: loss and test accuracy over steps.

python -m experiments.curve runs/maze_hard-small experiments/results/maze_small.png
python -m experiments.curve runs/wonn runs/resnet experiments/results/cifar10_small.png
"""

import argparse
import sys
from typing import Any

import numpy as np
from etils import epath

from wonn_jax.tasks.pictures import new_figure, save_figure
from wonn_jax.tools.runs import component, path_argument, read_run

COLOURS = ("#3d7eff", "#b07d2b", "#1b998b", "#d7263d")


FIELDS = {"width": "C {}", "layers": "L {}", "steps": "T {}", "heads": "{} heads"}
"""How fields of a network are written, where it has them."""


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


def describe(config: dict[str, Any]) -> str:
    """A line about the data and the network of a run, from its `config.json`."""
    data, model = config["data"], config["model"]
    parts = [component(config, "data"), component(config, "model")]
    if "height" in data:
        parts[0] += f" {data['height']}×{data['width']}"
    for name, words in FIELDS.items():
        if name in model:
            value = model[name]
            value = ", ".join(map(str, value)) if isinstance(value, list) else value
            parts.append(words.format(value))
    return ", ".join(parts)


def draw(workdirs: list[epath.Path], target: epath.Path) -> None:
    """Loss of the training batches and accuracy on the test split, over steps.

    Several runs are drawn over the share of each that is done, since their lengths differ.

    Raises:
      FileNotFoundError: no run.
      ValueError: a run without training and test metrics.
    """
    several = len(workdirs) > 1
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    titles = []
    for workdir, colour in zip(workdirs, COLOURS, strict=False):
        run = read_run(workdir)
        train, test = run.of_kind("train"), run.of_kind("test")
        if not train or not test:
            raise ValueError(f"{workdir} has no training and test lines in metrics.jsonl yet.")
        titles.append(describe(run.config))
        unit = run.lines[-1]["step"] / 100 if several else 1
        width = max(1, len(train) // 40)
        steps, loss = (np.array([x[name] for x in train]) for name in ("step", "loss"))
        label = titles[-1] if several else f"mean of {width}"
        if not several:
            left.plot(steps, loss, color="#b9c8f0", linewidth=0.7, label="every logged batch")
        left.plot(steps[width - 1 :] / unit, smooth(loss, width), color=colour, label=label)
        steps = np.array([x["step"] for x in test]) / unit
        for weights, style in (("raw", "o:"), ("ema", "o-")):
            accuracy = [100 * x[f"{weights}_accuracy"] for x in test]
            tone = "#b07d2b" if weights == "raw" and not several else colour
            label = f"{weights} weights" if not several else f"{titles[-1]}, {weights}"
            right.plot(steps, accuracy, style, color=tone, markersize=3, label=label)
    over = "share of the run, %" if several else "training step"
    left.set(xlabel=over, ylabel="training loss", yscale="log")
    right.set(xlabel=over, ylabel="accuracy on the test split, %", ylim=(0, 100))
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, loc="lower right", fontsize=8)
    if not several:
        figure.suptitle(titles[0], fontsize=11)
    save_figure(figure, target, dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workdirs", type=path_argument, nargs="+", help="folders of runs")
    parser.add_argument("target", type=path_argument, help="PNG to write")
    options = parser.parse_args(argv)
    try:
        draw(options.workdirs, options.target)
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
