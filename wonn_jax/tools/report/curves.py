"""Training curves of a run: loss, accuracy, energy."""

import io
from typing import Any

from wonn_jax.tasks.pictures import new_figure

_LOSS = "#3d7eff"
_WEIGHTS = {"raw": "#b07d2b", "ema": "#1b998b"}


def curves(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> bytes:
    """Loss of training batches, accuracy and, where it was recorded, energy of test examples.

    Args:
      train, test: lines of `metrics.jsonl` of these kinds.

    Returns:
      A PNG.
    """
    energies = [line for line in test if "raw_energy" in line]
    count = 3 if energies else 2
    figure = new_figure(5 * count, 3.4)
    left, right, *rest = figure.subplots(1, count)
    left.plot(_series(train, "step"), _series(train, "loss"), lw=0.7, color=_LOSS)
    left.set(xlabel="step", ylabel="loss of training batches", yscale="log")
    for weights, colour in _WEIGHTS.items():
        style: dict[str, Any] = {"marker": "o", "ms": 3, "color": colour}
        accuracy = [100 * x for x in _series(test, f"{weights}_accuracy")]
        right.plot(_series(test, "step"), accuracy, label=weights, **style)
        for axes in rest:
            axes.plot(_series(energies, "step"), _series(energies, f"{weights}_energy"), **style)
            axes.set(xlabel="step", ylabel="mean final energy, test examples")
    right.set(xlabel="step", ylabel="accuracy on the test split, %")
    right.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _series(lines: list[dict[str, Any]], name: str) -> list[Any]:
    return [line[name] for line in lines]
