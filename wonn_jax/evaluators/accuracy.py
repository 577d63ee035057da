"""Accuracy and the other metrics of a task: every example counts once, sums are divided once."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array
from jax.sharding import PartitionSpec as P

from wonn_jax.common.checks import at_least
from wonn_jax.common.rng import stream_key
from wonn_jax.config import register
from wonn_jax.data.pipeline import Source
from wonn_jax.evaluators.steps import at_inference
from wonn_jax.parallel.mesh import ROWS, add_counts, by_row, put_batch, replicated, same_along_grid
from wonn_jax.tasks import Batch, Task
from wonn_jax.tasks.base import ratio, row_weight
from wonn_jax.train.evaluation import (
    Evaluation,
    EvaluatorConfig,
    metrics_table,
)
from wonn_jax.train.experiment import CompiledStep, Experiment
from wonn_jax.train.state import Variables
from wonn_jax.train.step import make_evaluation_step

VALUE, EXAMPLES = "value/", "examples"
"""Keys among the counts: prefix of the summed values of a prediction, and number of examples."""


@register("accuracy")
@dataclasses.dataclass(frozen=True)
class AccuracyConfig(EvaluatorConfig):
    """Settings of `Accuracy`."""

    in_training: ClassVar[bool] = True

    draws: int = 1  # of the initial phases; metrics get mean, standard deviation and ensemble

    def check(self) -> None:
        at_least(1, "eval", self, "draws", most=1000)

    @property
    def passes(self) -> int:
        return self.draws

    def check_model(self, model: Any) -> None:
        if self.draws > 1 and getattr(model, "initial_phase", "") == "zeros":
            raise ValueError(
                f"config.eval.draws={self.draws} draws are all the same with "
                "config.model.initial_phase='zeros'; use --config.model.initial_phase=noise."
            )

    def build(self, experiment: Experiment) -> "Accuracy":
        return Accuracy(experiment, self.draws)

    def metric_names(self, task: Task) -> list[str]:
        names = task.metric_names()
        return names + [f"ensemble_{name}" for name in names if self.draws > 1]


class Accuracy:
    """The metrics of a task, for one draw of the initial phases or several.

    Draws depend only on the seed, the number of the draw and the index of the example, so that they
    are the same in every evaluation, whatever the batch size. With several draws, `NAME` is the
    mean over draws, `NAME_std` the standard deviation (n − 1), and `ensemble_NAME` the metric of
    the averaged probabilities. Named values of a prediction, such as the energy, are averaged over
    examples.

    Args:
      experiment: of the weights.
      draws: number of draws.
    """

    def __init__(self, experiment: Experiment, draws: int = 1):
        self._experiment = experiment
        self.step = CompiledStep(make_accuracy_step(experiment, draws))

    def compile(self, variables: Variables) -> float:
        if self.step.seconds:
            return 0.0
        rows = self._experiment.evaluation_rows
        self.step.compile(variables, self._experiment.task.abstract_batch(rows))
        return self.step.seconds

    def evaluate(self, variables: Variables, source: Source) -> Evaluation:
        experiment = self._experiment
        mesh = experiment.mesh
        totals: list[dict[str, Any]] = []
        first: tuple[dict[str, np.ndarray], jax.Array] | None = None

        def add(counts: list[dict[str, jax.Array]]) -> None:
            nonlocal totals
            # In float64: float32 counts are exact for a batch, but not for a large data set.
            new = jax.tree.map(np.float64, jax.device_get(counts))
            totals = jax.tree.map(np.add, totals, new) if totals else new

        pending = None  # counts are read after the next batch is dispatched
        for batch in self._experiment.evaluation_batches(source):
            counts, predictions = self.step(variables, put_batch(batch, mesh))
            first = first or (batch, predictions)
            if pending is not None:
                add(pending)
            pending = counts
        if pending is not None:
            add(pending)
        if first is None:
            raise ValueError(f"{source!r} holds no example to evaluate on.")
        return Evaluation(over_draws([_metrics(experiment.task, x) for x in totals]), *first)

    def report(
        self,
        sets: Mapping[str, Variables],
        source: Source,
        workdir: epath.Path,
        about: dict[str, Any],
    ) -> dict[str, Any]:
        results = {name: self.evaluate(x, source).metrics for name, x in sets.items()}
        print(metrics_table(results))
        return results


def ensemble(logits: Array) -> Array:
    """Log of the mean probability `[..., classes]` of the draws `[K, ..., classes]`.

    In logarithms: the probability of a class is 0 in float32 where another is 104 ahead.
    """
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - math.log(len(logits))


def make_accuracy_step(experiment: Experiment, draws: int = 1) -> jax.stages.Wrapped:
    """The compiled step `(variables, batch) -> (counts, predictions)`.

    Counts are a list: those of each draw and, if there are several, those of their ensemble.
    Predictions are the classes of the first draw, `[B]` or `[B, H, W]`.
    """
    task, mesh, seed = experiment.task, experiment.mesh, experiment.config.seed
    method = at_inference(experiment)

    def evaluate(variables: Variables, batch: Batch):
        def answer(draw: Array | int):
            return method.predict(variables, batch, stream_key(seed, "evaluation phases", draw))

        # One draw at a time, to save memory.
        if draws > 1:
            logits, values = jax.lax.map(answer, jnp.arange(draws))
        else:
            logits, values = jax.tree.map(lambda x: x[None], answer(0))
        counts = [task.counts(x, batch) for x in logits]
        weight = row_weight(batch)
        for draw, count in enumerate(counts):
            sums = {f"{VALUE}{n}": (x[draw] * weight).sum() for n, x in values.items()}
            count |= sums | {f"{VALUE}{EXAMPLES}": weight.sum()}
        if draws > 1:
            counts.append(task.counts(ensemble(logits), batch))
        return counts, logits[0].argmax(-1)

    def merge(found):
        counts, predictions = found
        return add_counts(counts), same_along_grid(predictions)

    return make_evaluation_step(
        evaluate,
        task,
        experiment.variables_specs,
        mesh,
        merge=merge,
        out_specs=(P(), P(ROWS)),
        out_shardings=(replicated(mesh), by_row(mesh)),
    )


def _metrics(task: Task, counts: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of the task, and the means of the named values."""
    numbers = {name: float(x) for name, x in counts.items()}
    sums = {name: numbers.pop(name) for name in counts if name.startswith(VALUE)}
    examples = sums.pop(VALUE + EXAMPLES, 0.0)
    means = {name.removeprefix(VALUE): ratio(x, examples) for name, x in sums.items()}
    return task.summarise(numbers) | means


def over_draws(results: list[dict[str, float]]) -> dict[str, float]:
    """Combines the metrics of all draws, with those of their ensemble last; see `Accuracy`.

    The ensemble has no energy.
    """
    if len(results) == 1:
        return results[0]
    *draws, ensemble = results
    metrics: dict[str, float] = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        metrics[name] = float(np.mean(values))
        metrics[f"{name}_std"] = float(np.std(values, ddof=1))
        if name in ensemble:
            metrics[f"ensemble_{name}"] = ensemble[name]
    return metrics
