"""Draws the training curve of a run from its metrics.

python -m experiments.curve runs/maze_hard-small experiments/results/maze_small.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from wonn_jax.metrics import read_lines


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


def draw(workdir: Path, target: Path) -> None:
    """Loss of the training batches, and exact boards of the test split, over steps."""
    lines = read_lines(workdir / "metrics.jsonl")
    train = [x for x in lines if x["kind"] == "train"]
    test = [x for x in lines if x["kind"] == "test"]
    if not train or not test:
        raise SystemExit(f"{workdir} has no training and test lines in metrics.jsonl yet.")
    config = json.loads((workdir / "config.json").read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    width = max(1, len(train) // 40)
    steps, loss = (np.array([x[name] for x in train]) for name in ("step", "loss"))
    left.plot(steps, loss, color="#b9c8f0", linewidth=0.7, label="every logged batch")
    left.plot(steps[width - 1 :], smooth(loss, width), color="#3d7eff", label=f"mean of {width}")
    left.set(xlabel="training step", ylabel="training loss", yscale="log")
    left.legend(frameon=False)
    steps = [x["step"] for x in test]
    for weights, colour in (("raw", "#b07d2b"), ("ema", "#3d7eff")):
        exact = [100 * x[f"{weights}_accuracy"] for x in test]
        right.plot(steps, exact, "o-", color=colour, markersize=3, label=f"{weights} weights")
    right.axhline(90, color="#888888", linestyle=":", linewidth=1)
    right.set(xlabel="training step", ylabel="exact test boards, %", ylim=(0, 100))
    right.legend(frameon=False, loc="lower right")
    data, model = config["data"], config["model"]
    figure.suptitle(
        f"{config['task']}, {data['height']}×{data['width']} boards, "
        f"C {model['width']}, T {model['steps']}, {model['heads']} heads",
        fontsize=11,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    draw(arguments.workdir, arguments.target)
