"""Parameter counts of every model in the paper's tables, beside the printed figures.

    python -m experiments.parameter_counts

No array is allocated: the shapes come from `jax.eval_shape`. The exit status is 1 if a count does
not round to the printed figure.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import ml_collections

from wonn_jax.train.card import freeze
from wonn_jax.train.experiment import Experiment

Change = Callable[[ml_collections.ConfigDict], None]


class Row(NamedTuple):
    """A configuration, where it is printed, and the figure there ('2.98M')."""

    table: str
    card: str
    preset: str
    overrides: dict[str, Any]
    printed: str

    @property
    def command(self) -> str:
        """Flags of `python -m wonn_jax.main` that select it."""
        flags = [f"--config=configs/{self.card}.py" + (f":{self.preset}" if self.preset else "")]
        for name, value in self.overrides.items():
            text = value[0] if isinstance(value, tuple) and len(value) == 1 else value
            flags.append(f"--config.{name}={text}")
        return " ".join(flags)


# Figures printed in arXiv 2605.20922, in the order C 128, 64 → 256, 256.
_SIZES = ("128", "64-256", "256")
_CIFAR = {
    ("cifar10", "mlp"): ("3.08M", "7.54M", "12.02M"),
    ("cifar10", "trig"): ("2.98M", "7.40M", "11.84M"),
    ("cifar100", "mlp"): ("3.09M", "7.56M", "12.04M"),
    ("cifar100", "trig"): ("3.00M", "7.43M", "11.86M"),
}
_IMAGENET100 = {
    (4, "mlp"): ("3.09M", "7.56M", "12.05M"),
    (4, "trig"): ("3.00M", "7.43M", "11.87M"),
    (7, "mlp"): ("3.11M", "7.57M", "12.08M"),
    (7, "trig"): ("3.01M", "7.44M", "11.89M"),
}
# Layers, steps, group, coupling; learned S and I, trigonometric.
_ABLATION = {
    (1, 3, 2, "attention"): ("1.65M", "1.62M"),
    (6, 1, 2, "attention"): ("12.04M", "11.86M"),
    (6, 3, 1, "attention"): ("11.82M", "11.79M"),
    (6, 3, 2, "attention"): ("12.04M", "11.86M"),
    (6, 3, 2, "convolution"): ("18.72M", "18.54M"),
    (6, 3, 4, "attention"): ("15.14M", "12.67M"),
    (6, 6, 2, "attention"): ("12.04M", None),
    (9, 3, 2, "attention"): ("18.28M", None),
}
_ABLATED = {"layers": 6, "steps": 3, "group": 2, "coupling": "attention"}


def rows() -> Iterator[Row]:
    """Every WONN of the paper's tables."""
    for (card, kind), printed in _CIFAR.items():
        for size, figure in zip(_SIZES, printed, strict=True):
            yield Row("CIFAR", card, f"{kind}-{size}", {}, figure)
    for (patch, kind), printed in _IMAGENET100.items():
        for size, figure in zip(_SIZES, printed, strict=True):
            overrides = {} if patch == 4 else {"model.patch": patch}
            yield Row("ImageNet-100", "imagenet100", f"{kind}-{size}", overrides, figure)
    yield Row("ImageNet-100", "imagenet100", "mlp-256", {"model.patch": 8}, "12.09M")
    yield Row("ImageNet-1K", "imagenet1k", "mlp-64-256", {}, "7.79M")
    yield Row("ImageNet-1K", "imagenet1k", "mlp-256", {}, "12.28M")
    for values, figures in _ABLATION.items():
        overrides = {
            f"model.{name}": (value,) if name == "steps" else value
            for (name, default), value in zip(_ABLATED.items(), values, strict=True)
            if value != default
        }
        for kind, printed_figure in zip(("mlp", "trig"), figures, strict=True):
            if printed_figure:
                yield Row(
                    "CIFAR-100 ablation", "cifar100", f"{kind}-256", overrides, printed_figure
                )
    yield Row("Maze-hard", "maze_hard", "", {}, "0.396M")
    yield Row("Sudoku", "sudoku", "", {}, "1.58M")


def count(card: str, preset: str = "", overrides: dict[str, Any] | None = None) -> int:
    """Trainable parameters of a configuration; the arguments are those of a `Row`."""
    module = importlib.import_module(f"configs.{card}")
    config = module.get_config(preset) if preset else module.get_config()
    for name, value in (overrides or {}).items():
        group, field = name.split(".")
        config[group][field] = value
    shapes = Experiment(freeze(config)).abstract_variables
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


def rounds_to(number: int, printed: str) -> bool:
    """Whether a count rounds to a printed figure in millions."""
    decimals = len(printed.removesuffix("M").partition(".")[2])
    return f"{number / 1e6:.{decimals}f}M" == printed


def main() -> int:
    width = max(len(row.command) for row in rows())
    print(f"{'table':20}{'configuration':{width}}{'parameters':>13}{'paper':>9}")
    good, number = True, 0
    for row in rows():
        parameters = count(row.card, row.preset, row.overrides)
        agrees = rounds_to(parameters, row.printed)
        good, number = good and agrees, number + 1
        mark = "" if agrees else "  DIFFERS"
        print(f"{row.table:20}{row.command:{width}}{parameters:13,}{row.printed:>9}{mark}")
    verdict = "all round to" if good else "not all round to"
    print(f"{number} models; {verdict} the figures of the paper")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
