"""The best state of a run by a metric of the test split, kept in `best/`.

Values of the metric are compared only if they were measured in the same way: over as many examples,
with as many draws and steps. A best state that was chosen in another way stays until there is a new
one, and then moves to `earlier_best/`.
"""

import math
from collections.abc import Mapping
from typing import Any

from etils import epath

from wonn_jax.common.files import named_fields
from wonn_jax.config import field_names, to_dict
from wonn_jax.parallel import hosts
from wonn_jax.tasks import Task
from wonn_jax.train.card import Config
from wonn_jax.train.checkpoint import Checkpoints
from wonn_jax.train.lines import read_lines

EARLIER = "earlier_best"
"""Folder beside `best/` of states that were the best by another metric or measurement."""


class Best:
    """The best state so far; all processes must call the same methods.

    Args:
      config: of the run; `checkpoint.best` is the metric.
      task: of the run.
      data: fingerprint of the data.
      checkpoints: `best/`.
      metrics: `metrics.jsonl`, where the values of earlier evaluations are.

    Attributes:
      note: why an earlier best state is not compared with, for a person; '' if there is none.
    """

    def __init__(
        self, config: Config, task: Task, data: str, checkpoints: Checkpoints, metrics: epath.Path
    ):
        self._metric, self._sign = config.checkpoint.best, config.checkpoint.sign
        self._fields = measured_by(config, task)
        self._record = to_dict(config)
        self._data = data
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._value = -math.inf  # of the best state, higher is better
        self._other: int | None = None  # step of a best state that is not compared with
        self.note = ""
        step, value, why = hosts.broadcast(self._look_up)  # that has the files
        if value is not None:
            self._value = self._sign * value
        elif step is not None:
            self._other = step
            self.note = (
                f"{checkpoints.directory.name}/{step} is not compared with ({why}); it moves to "
                f"{EARLIER}/ when there is a new best state"
            )

    def _look_up(self) -> tuple[int | None, float | None, str]:
        """Step and value of the best state, or why it cannot be compared with."""
        steps = self._checkpoints.steps()
        if not steps:
            return None, None, ""
        step, now = steps[-1], named_fields(self._record)
        try:
            then = named_fields(self._checkpoints.config(step))
        except ValueError as error:
            return step, None, str(error)
        for name in self._fields:
            if then.get(name, now[name]) != now[name]:
                return step, None, f"{name}: {then[name]!r} there, {now[name]!r} now"
        lines = [x for x in read_lines(self._metrics) if x["kind"] == "test" and x["step"] == step]
        value = lines[-1].get(self._metric, math.nan) if lines else math.nan
        why = f"{self._metrics.name} has no {self._metric} of this step"
        return step, None if math.isnan(value) else value, why

    def offer(self, step: int, results: Mapping[str, float], state: Any) -> None:
        """Saves the state if it is better than the best so far; returns when it is on disk.

        Args:
          step: number of updates.
          results: of the evaluation of the state.
          state: a tree of arrays.
        """
        value = self._sign * results[self._metric]
        if not hosts.broadcast(lambda: value > self._value):
            return
        self._value = value
        if self._other not in (None, step):
            self._checkpoints.set_aside(self._other, EARLIER)
        self._other = None
        self._checkpoints.save(step, state, self._record, self._data)
        self._checkpoints.wait()


def measured_by(config: Config, task: Task) -> list[str]:
    """Fields of the configuration on which the value of `checkpoint.best` of a state depends.

    Those of the evaluator that measures it, and how many examples and steps it takes. (What the
    examples are, and the network, cannot change during a run.)
    """
    metric = config.checkpoint.best.partition("_")[2]
    fields = ["checkpoint.best", "eval.examples", "eval.steps"]
    for evaluator in config.eval.evaluators:
        if metric in evaluator.metric_names(task):
            fields += [f"eval.{name}" for name in field_names(evaluator)]
    return fields
