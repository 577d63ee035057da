"""Draws the training curves of runs from their metrics.

python -m experiments.curve runs/maze_hard-small experiments/results/maze_small.png
python -m experiments.curve runs/wonn runs/resnet experiments/results/cifar10_small.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from wonn_jax.train.metrics import read_lines

COLOURS = ("#3d7eff", "#b07d2b", "#1b998b", "#d7263d")


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


def describe(config: dict[str, Any]) -> str:
    """A line on what a run trained."""
    data, model = config["data"], config["model"]
    if model.get("name") == "resnet":
        return f"ResNet, width {model['width']}"
    steps = model["steps"]
    steps = ", ".join(map(str, steps)) if isinstance(steps, list) else steps
    line = f"C {model['width']}, L {model['layers']}, T {steps}, {model['heads']} heads"
    if config["task"] == "image":
        return f"{data['name']}, {line}"
    return f"{config['task']}, {data['height']}×{data['width']} boards, {line}"


def draw(workdirs: list[Path], target: Path) -> None:
    """Loss of the training batches and accuracy on the test split, over steps.

    Of several runs over the share of each that is done, since their steps are not alike.
    """
    several = len(workdirs) > 1
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    titles = []
    for workdir, colour in zip(workdirs, COLOURS, strict=False):
        lines = read_lines(workdir / "metrics.jsonl")
        train = [x for x in lines if x["kind"] == "train"]
        test = [x for x in lines if x["kind"] == "test"]
        if not train or not test:
            raise SystemExit(f"{workdir} has no training and test lines in metrics.jsonl yet.")
        config = json.loads((workdir / "config.json").read_text())
        titles.append(describe(config))
        unit = lines[-1]["step"] / 100 if several else 1
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
    what = "accuracy on the test split, %" if config["task"] == "image" else "exact test boards, %"
    over = "share of the run, %" if several else "training step"
    left.set(xlabel=over, ylabel="training loss", yscale="log")
    right.set(xlabel=over, ylabel=what, ylim=(0, 100))
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, loc="lower right", fontsize=8)
    if not several:
        figure.suptitle(titles[0], fontsize=11)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", type=Path, nargs="+")
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    draw(arguments.workdirs, arguments.target)
