"""`--mode=eval`: runs every active evaluator on a checkpoint or a PyTorch file."""

from typing import Any

import jax
from etils import epath

from wonn_jax.common.files import write_json
from wonn_jax.common.folders import writable_folder
from wonn_jax.evaluators.steps import oscillators
from wonn_jax.parallel import hosts
from wonn_jax.train.card import Config
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.summary import data_line, device_line
from wonn_jax.train.weights import imported_weights, saved_weights


def run_eval(config: Config, workdir: epath.PathLike, weights: str = "") -> dict[str, Any]:
    """Evaluates a checkpoint of `workdir`, or weights imported from a PyTorch file.

    Every active evaluator prints a table; the results are written to `eval.json` in the workdir.

    Raises:
      ValueError, FileNotFoundError: there is no checkpoint, or the weights are of another network.
      OSError: nothing can be written into the workdir.
    """
    workdir = epath.Path(workdir)
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
    hosts.broadcast(lambda: bool(writable_folder(workdir)))  # before the work is done
    about = {"weights": origin, "data": source.fingerprint, "seed": config.seed}
    report: dict[str, Any] = {"weights": origin, "data": source.fingerprint}
    for evaluator in config.eval.evaluators:
        if evaluator.active:
            report |= evaluator.build(experiment).report(sets, source, workdir, about)
    if jax.process_index() == 0:
        write_json(workdir / "eval.json", report)
    return report
