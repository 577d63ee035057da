"""Adaptive steps: every example stops when its energy or its prediction has converged.

Beside it, from the same initial phases: the fixed number of steps, and as many fixed steps in every
layer as the examples took there on average. These cost the same, so stopping has to beat them.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from etils import epath

from wonn_jax.common.checks import at_least, no_effect, one_of
from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.config import register
from wonn_jax.data.pipeline import Source
from wonn_jax.evaluators.steps import oscillators, steps_per_layer
from wonn_jax.models.base import SIGNALS, Stop
from wonn_jax.parallel.mesh import put_batch
from wonn_jax.tasks import Batch
from wonn_jax.train.evaluation import EvaluatorConfig, evaluated_examples
from wonn_jax.train.experiment import CompiledStep, Experiment
from wonn_jax.train.state import Variables
from wonn_jax.train.step import make_evaluation_step

QUANTILES = (25, 50, 75, 95)


@register("adaptive")
@dataclasses.dataclass(frozen=True)
class AdaptiveConfig(EvaluatorConfig):
    """Settings of `Adaptive`."""

    oscillatory: ClassVar[bool] = True

    stop: str = "never"  # --mode=eval: signal that stops an example: energy, prediction, never
    max_steps: int = 0  # of a layer that stops; 0: as many as without stopping
    tolerance: float = 1e-3  # threshold: relative change of energy, share of classes that change
    patience: int = 2  # number of consecutive steps within the threshold before an example stops

    def check(self) -> None:
        one_of("eval.stop", self.stop, ("never", *SIGNALS))
        at_least(1, "eval", self, "patience")
        at_least(0, "eval", self, "max_steps", "tolerance")
        if not self.active:
            because = "where nothing stops (eval.stop)"
            no_effect("eval", self, because, "max_steps", "tolerance", "patience")

    @property
    def active(self) -> bool:
        return self.stop != "never"

    def criterion(self) -> Stop:
        """The criterion by which examples stop."""
        return Stop(self.stop, self.max_steps or None, self.tolerance, self.patience)

    def build(self, experiment: Experiment) -> "Adaptive":
        return Adaptive(experiment, self.criterion())


class Answers(NamedTuple):
    """Answers to N examples.

    right: by metric, whether the answer is right, `[N]` booleans.
    taken: steps of each layer, `[N, layers]`.
    """

    right: dict[str, Any]
    taken: Any


def make_adaptive_step(
    experiment: Experiment, steps: tuple[int, ...], stop: Stop | None = None
) -> jax.stages.Wrapped:
    """The compiled step `(variables, batch) -> Answers`, with the first draw of `Accuracy`.

    Args:
      experiment: of the network.
      steps: T of each layer.
      stop: criterion by which examples stop early; None for never.
    """
    model: Any = oscillators(experiment).clone(steps=steps)
    task, seed = experiment.task, experiment.config.seed

    def answer(variables: Variables, batch: Batch) -> Answers:
        keys = example_keys(stream_key(seed, "evaluation phases", 0), batch["id"])
        theta = model.initial_phases(keys, batch["input"].shape[1:])
        output: Any = model.apply(variables, batch["input"], theta, stop=stop)
        taken = [
            np.int32(length) + 0 * batch["id"] if layer.taken is None else layer.taken
            for length, layer in zip(steps, output.layers, strict=True)
        ]
        right = task.verdicts(output.logits.argmax(-1), batch)
        return Answers(right, jax.numpy.stack(taken, -1))

    return make_evaluation_step(answer, task, experiment.variables_specs, experiment.mesh)


def summarise(
    fixed: Answers, adaptive: Answers, same: Answers, limits: Sequence[float]
) -> dict[str, Any]:
    """Compares fixed steps, adaptive steps and the same number of fixed steps, as JSON values.

    Steps are added up over layers. `difference` is adaptive − fixed, with its standard error over
    examples; `at the limit` is the share of examples for which some layer has taken all the steps
    allowed.

    Args:
      fixed: answers with the T of training.
      adaptive: answers of examples that stop.
      same: answers with as many fixed steps as the adaptive ones take on average.
      limits: maximum number of steps of each layer, infinite for one that does not stop.
    """
    steps = adaptive.taken.sum(-1)
    before = float(fixed.taken.sum(-1).mean())
    result: dict[str, Any] = {
        "examples": len(steps),
        "fixed steps": before,
        "mean steps": float(steps.mean()),
        "steps saved": float(1 - steps.mean() / before),
        "quantiles": {f"{q} %": float(np.quantile(steps, q / 100)) for q in QUANTILES},
        "at the limit": float((adaptive.taken >= np.asarray(limits)).any(-1).mean()),
        "as many fixed steps": float(same.taken.sum(-1).mean()),
        "metrics": {},
    }
    for name, right in adaptive.right.items():
        ahead = right.astype(float) - fixed.right[name]
        result["metrics"][name] = {
            "fixed": float(fixed.right[name].mean()),
            "adaptive": float(right.mean()),
            "difference": float(ahead.mean()),
            "standard error": float(ahead.std() / math.sqrt(max(len(ahead) - 1, 1))),
            "as many fixed steps": float(same.right[name].mean()),
        }
    return result


def table(result: dict[str, Any], seconds: dict[str, float]) -> str:
    """A summary as text, with the seconds of each of the three passes."""
    rows = (
        ("fixed", "fixed steps"),
        ("adaptive", "mean steps"),
        ("as many fixed steps", "as many fixed steps"),
    )
    head = "".join(f"{name:>16}" for name in result["metrics"])
    lines = [f"{'':22}{head}{'mean steps':>14}{'seconds':>10}"]
    for name, steps in rows:
        shares = "".join(f"{100 * m[name]:14.2f} %" for m in result["metrics"].values())
        lines.append(f"{name:22}{shares}{result[steps]:14.2f}{seconds[name]:10.2f}")
    for name, m in result["metrics"].items():
        change = f"{100 * m['difference']:+.2f} ± {100 * m['standard error']:.2f}"
        lines.append(f"adaptive − fixed: {change} points of {name}")
    stops = ", ".join(f"{q} by {n:g}" for q, n in result["quantiles"].items())
    saved = 100 * result["steps saved"]
    lines.append(
        (f"{saved:.1f} % of the steps saved" if saved >= 0 else f"{-saved:.1f} % more steps")
        + f"; stopped {stops}; "
        f"{100 * result['at the limit']:.1f} % at the limit"
    )
    return "\n".join(lines)


class Adaptive:
    """Compares adaptive with fixed steps for every set of weights, and prints a table for each.

    Args:
      experiment: of the weights.
      stop: criterion by which examples stop.
    """

    def __init__(self, experiment: Experiment, stop: Stop):
        self._experiment = experiment
        self._stop = stop
        self._fixed = steps_per_layer(experiment)

    def _step(self, steps: tuple[int, ...], stop: Stop | None = None) -> CompiledStep:
        return CompiledStep(make_adaptive_step(self._experiment, steps, stop))

    def _limits(self) -> list[float]:
        """Maximum number of steps of each layer; infinite for one that does not stop."""
        limits: list[float] = [self._stop.max_steps or steps for steps in self._fixed]
        if self._stop.signal == "prediction":
            limits[:-1] = [math.inf] * (len(limits) - 1)
        return limits

    def collect(
        self, step: CompiledStep, variables: Variables, source: Source
    ) -> tuple[Answers, float]:
        """Answers to all examples of a source, in order, and the seconds without compilation."""
        config, mesh = self._experiment.config, self._experiment.mesh
        parts, seconds = [], 0.0
        for batch in self._experiment.evaluation_batches(source):
            placed = put_batch(batch, mesh)
            step.compile(variables, placed)
            began = time.perf_counter()
            parts.append(jax.device_get(step(variables, placed)))
            seconds += time.perf_counter() - began
        examples = evaluated_examples(source, config.eval)
        return jax.tree.map(lambda *x: np.concatenate(x)[:examples], *parts), seconds

    def report(
        self,
        sets: Mapping[str, Variables],
        source: Source,
        workdir: epath.Path,
        about: dict[str, Any],
    ) -> dict[str, Any]:
        stop, limits = self._stop, self._limits()
        results: dict[str, Any] = {}
        usual, stopping = self._step(self._fixed), self._step(self._fixed, stop)
        for name, variables in sets.items():
            adaptive, adaptive_seconds = self.collect(stopping, variables, source)
            mean = tuple(max(1, round(x)) for x in adaptive.taken.mean(0).tolist())
            passes = {"fixed": usual, "as many fixed steps": self._step(mean)}
            found, seconds = {}, {"adaptive": adaptive_seconds}
            for way, step in passes.items():
                found[way], seconds[way] = self.collect(step, variables, source)
            result = summarise(found["fixed"], adaptive, found["as many fixed steps"], limits)
            results[name] = {**result, "seconds": seconds}
            print(
                f"\n{name} weights: stopped when the {stop.signal} has changed by no more than "
                f"{stop.tolerance:g} in {stop.patience} steps, at {limits[-1]:g} in the last layer "
                f"at the latest\n{table(result, seconds)}",
                flush=True,
            )
        return {"adaptive": results}
