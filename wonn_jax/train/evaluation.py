"""What evaluation is to the loop: settings, results, and the contract of an evaluator.

The evaluators themselves are components in `wonn_jax.evaluators`, which a card picks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import numpy as np
from etils import epath

from wonn_jax.common.checks import at_least, length
from wonn_jax.config import Component
from wonn_jax.data.pipeline import Source
from wonn_jax.tasks import Task
from wonn_jax.train.state import Variables

WEIGHTS = ("raw", "ema")
"""The two sets of weights of a run: of the last update, and their moving average."""


class Evaluation(NamedTuple):
    """Results of one pass over a split.

    metrics: by name.
    batch: the first batch, the rows that this process has read.
    predictions: classes predicted for the whole first batch, `[B]` or `[B, H, W]`, on the devices.
    """

    metrics: dict[str, float]
    batch: dict[str, np.ndarray]
    predictions: jax.Array


class Evaluator(Protocol):
    """Judges trained weights by the examples of a split."""

    def report(
        self,
        sets: Mapping[str, Variables],
        source: Source,
        workdir: epath.Path,
        about: dict[str, Any],
    ) -> dict[str, Any]:
        """Evaluates sets of weights for `--mode=eval`: prints a table, writes files of its own.

        Args:
          sets: variables by the name of the weights.
          source: of the examples.
          workdir: for files.
          about: where weights and examples come from, to be written into these files.

        Returns:
          What belongs into `eval.json`.
        """
        ...


class TrainingEvaluator(Evaluator, Protocol):
    """An evaluator that runs during training, too."""

    def compile(self, variables: Variables) -> float:
        """Compiles what is needed; the seconds that took, 0 if it was compiled before."""
        ...

    def evaluate(self, variables: Variables, source: Source) -> Evaluation:
        """One set of weights on a split; metrics do not depend on batch size or devices."""
        ...


@dataclasses.dataclass(frozen=True)
class EvaluatorConfig(Component):
    """Settings of an evaluator; its fields are fields of the section `eval`."""

    kind: ClassVar[str] = "evaluator"
    in_training: ClassVar[bool] = False  # whether it builds a `TrainingEvaluator`
    oscillatory: ClassVar[bool] = False  # whether it needs a network of oscillators

    @property
    def passes(self) -> int:
        """Forward passes of an example that an evaluation takes."""
        return 1

    @property
    def active(self) -> bool:
        """Whether there is anything to do, given the fields."""
        return True

    def check_model(self, model: Any) -> None:
        """Raises a ValueError if the settings contradict those of the network."""

    def build(self, experiment: Any) -> Any:
        """The `Evaluator` of an `Experiment`."""
        raise NotImplementedError

    def metric_names(self, task: Task) -> list[str]:
        """Names of the metrics of each set of weights, if it runs during training."""
        return []


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation on the test split, of raw and of EMA weights."""

    every: str = "100 epochs"  # and at the end
    batch_size: int = 50
    examples: int = 0  # the first so many; 0: all
    pictures: int = 4  # examples in the picture of predictions; 0: no picture
    checkpoint: str = "last"  # that --mode=eval reads: last, best or a step
    steps: int = 0  # T of every layer of oscillators; 0: that of training
    evaluators: tuple[EvaluatorConfig, ...] = ()  # see wonn_jax.evaluators; ('accuracy', …)

    def check(self) -> None:
        at_least(1, "eval", self, "batch_size")
        at_least(0, "eval", self, "examples", "pictures", "steps")
        length("eval.every", self.every, "steps", "epochs")
        if self.checkpoint not in ("last", "best") and not self.checkpoint.isdecimal():
            raise ValueError(
                f"config.eval.checkpoint={self.checkpoint!r} must be last, best or a step."
            )


def evaluated_examples(source: Source, config: EvalConfig) -> int:
    """Number of examples that are evaluated on."""
    return min(config.examples or len(source), len(source))


# --- Metrics of two sets of weights -----------------------------------------------------------


def join_weights(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """`{'raw': {'loss': …}, 'ema': {'loss': …}}` as `{'raw_loss': …, 'ema_loss': …}`."""
    return {
        f"{weights}_{name}": value
        for weights, metrics in results.items()
        for name, value in metrics.items()
    }


def split_weights(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The inverse of `join_weights`."""
    return {
        weights: {
            name.removeprefix(f"{weights}_"): value
            for name, value in results.items()
            if name.startswith(f"{weights}_")
        }
        for weights in WEIGHTS
    }


def metrics_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics in rows, sets of weights in columns."""
    names = list(next(iter(results.values())))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{column:>12}" for column in results)]
    for name in names:
        lines.append(f"{name:{width}}" + "".join(f"{r[name]:12.4f}" for r in results.values()))
    return "\n".join(lines)
