"""`--mode=eval`: runs every active evaluator on a checkpoint or a PyTorch file."""

from pathlib import Path
from typing import Any

import jax

from wonn_jax.common.files import write_json
from wonn_jax.evaluators.steps import oscillators
from wonn_jax.train.card import Config
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.summary import data_line, device_line
from wonn_jax.train.weights import imported_weights, saved_weights


def run_eval(config: Config, workdir: Path, weights: str = "") -> dict[str, Any]:
    """Evaluates a checkpoint of `workdir`, or weights imported from a PyTorch file.

    Every active evaluator prints a table; the results are written to `eval.json` in the workdir.

    Raises:
      ValueError, FileNotFoundError: there is no checkpoint, or the weights are of another network.
    """
    experiment = Experiment(config).check()
    if weights:
        oscillators(experiment)
        sets, origin = imported_weights(experiment, weights)
    else:
        sets, origin = saved_weights(experiment, workdir)
    source = config.data.load("test", config.augment)
    print(f"device   {device_line(experiment.mesh)}")
    print(f"weights  {origin}")
    examples = data_line(source, experiment.task, config.data.origin_of(source))
    print(f"test     {examples}", flush=True)
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
    about = {"weights": origin, "data": source.fingerprint, "seed": config.seed}
    report: dict[str, Any] = {"weights": origin, "data": source.fingerprint}
    for evaluator in config.eval.evaluators:
        if evaluator.active:
            report |= evaluator.build(experiment).report(sets, source, workdir, about)
    if jax.process_index() == 0:
        write_json(workdir / "eval.json", report)
    return report
