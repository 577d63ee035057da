"""Evaluation: every example once, counts added up, one division at the end."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from wonn_jax.config import Config, OptimizerConfig
from wonn_jax.data import load_source
from wonn_jax.data.pipeline import Source
from wonn_jax.dist.mesh import put_batch
from wonn_jax.evaluators import adaptive
from wonn_jax.evaluators.voting import run_votes
from wonn_jax.interop.winfree import from_pytorch
from wonn_jax.tasks import Task
from wonn_jax.tasks.base import ratio
from wonn_jax.train.checkpoint import Checkpoints, flatten, write_atomically
from wonn_jax.train.experiment import Experiment, data_line, device_line, evaluation_batches

WEIGHTS = ("raw", "ema")


class Evaluation(NamedTuple):
    """What one pass over a source gives.

    metrics: see the task and `over_draws`.
    batch: the first batch, the rows this process has read.
    predictions: classes predicted for the whole first batch, `[B]` or `[B, H, W]`, on the devices.
    """

    metrics: dict[str, float]
    batch: dict[str, np.ndarray]
    predictions: jax.Array


def evaluate(
    eval_step: Callable[..., Any],
    variables: dict[str, Any],
    task: Task,
    source: Source,
    config: Config,
    mesh: Mesh,
) -> Evaluation:
    """One set of weights on a source; the metrics do not depend on batch size or devices."""
    batches = evaluation_batches(source, config, mesh)
    totals: list[dict[str, Any]] = []
    first: tuple[dict[str, np.ndarray], jax.Array] | None = None

    def add(counts: list[dict[str, jax.Array]]) -> None:
        nonlocal totals
        # float64 on the host: float32 counts are exact in a batch, not over a large data set.
        new = jax.tree.map(np.float64, jax.device_get(counts))
        totals = jax.tree.map(np.add, totals, new) if totals else new

    pending = None  # counts are read when the next batch is at work
    for batch in batches:
        counts, predictions = eval_step(variables, put_batch(batch, mesh))
        first = first or (batch, predictions)
        if pending is not None:
            add(pending)
        pending = counts
    if pending is not None:
        add(pending)
    if first is None:
        raise ValueError(f"{source!r} holds no example to evaluate on.")
    return Evaluation(over_draws([_metrics(task, draw) for draw in totals]), *first)


def _metrics(task: Task, counts: dict[str, Any]) -> dict[str, float]:
    """Metrics of the task, and the mean `energy` where there are oscillators."""
    counts = {name: float(x) for name, x in counts.items()}
    energy, examples = counts.pop("energy", None), counts.pop("energies", 0.0)
    metrics = task.summarise(counts)
    return metrics if energy is None else {**metrics, "energy": ratio(energy, examples)}


def over_draws(results: list[dict[str, float]]) -> dict[str, float]:
    """Metrics of one draw of the initial phases, or of several and their ensemble, which is last.

    Of several draws: the mean of each metric, its spread as `NAME_std` (standard deviation, of
    n − 1), and `ensemble_NAME`, but for the energy: an ensemble has none.
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


def join_weights(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """`{'raw': {'loss': …}, 'ema': {'loss': …}}` as `{'raw_loss': …, 'ema_loss': …}`."""
    return {
        f"{weights}_{name}": value
        for weights, metrics in results.items()
        for name, value in metrics.items()
    }


def split_weights(results: dict[str, float]) -> dict[str, dict[str, float]]:
    """The inverse of `join_weights`."""
    return {
        weights: {
            name.removeprefix(f"{weights}_"): value
            for name, value in results.items()
            if name.startswith(f"{weights}_")
        }
        for weights in WEIGHTS
    }


def metrics_table(results: dict[str, dict[str, float]]) -> str:
    """Metrics in rows, sets of weights in columns."""
    names = list(next(iter(results.values())))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{column:>12}" for column in results)]
    for name in names:
        lines.append(f"{name:{width}}" + "".join(f"{r[name]:12.4f}" for r in results.values()))
    return "\n".join(lines)


# --- python -m wonn_jax.main --mode=eval ----------------------------------------------------------


def run_eval(config: Config, workdir: Path, weights: str = "") -> dict[str, dict[str, float]]:
    """Evaluates a checkpoint of `workdir`, or weights imported from a PyTorch file.

    Prints a table and writes `eval.json` into the workdir; with `eval.votes`, see `voting`, too.

    Raises:
      ValueError, FileNotFoundError: no checkpoint, or one (or weights) of another model.
    """
    experiment = Experiment(config if weights else with_trained_optimizer(config, workdir))
    sets, origin = (
        imported_weights(experiment, weights) if weights else saved_weights(experiment, workdir)
    )
    source = load_source(config, "test")
    print(f"device   {device_line(experiment.mesh)}")
    print(f"weights  {origin}")
    print(f"test     {data_line(source, experiment)}", flush=True)
    results = {
        name: evaluate(
            experiment.eval_step,
            variables,
            experiment.task,
            source,
            experiment.config,
            experiment.mesh,
        ).metrics
        for name, variables in sets.items()
    }
    print(metrics_table(results))
    report: dict[str, Any] = {"weights": origin, "data": source.fingerprint, **results}
    if config.eval.stop != "never":
        report["adaptive"] = adaptive.compare(experiment, sets, source)
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / "eval.json", json.dumps(report, indent=2) + "\n")
    if config.eval.votes > 1:
        about = {"weights": origin, "data": source.fingerprint, "seed": config.seed}
        run_votes(experiment, sets, source, workdir, about)
    return results


def with_trained_optimizer(config: Config, workdir: Path) -> Config:
    """With the optimizer of the run in `workdir`: checkpoints hold its state, whoever asks."""
    written = workdir / "config.json"
    if not written.is_file():
        return config
    known = {field.name for field in dataclasses.fields(OptimizerConfig)}
    fields = json.loads(written.read_text()).get("optimizer", {})
    trained = OptimizerConfig(**{name: x for name, x in fields.items() if name in known})
    return dataclasses.replace(config, optimizer=trained)


def saved_weights(experiment: Experiment, workdir: Path) -> tuple[dict[str, Any], str]:
    """Both sets of weights of a run's checkpoint `eval.checkpoint`, and where they come from."""
    which = experiment.config.eval.checkpoint
    folder = workdir / ("best" if which == "best" else "checkpoints")
    missing = FileNotFoundError(
        f"There is no checkpoint in {folder}. Give the --workdir of a run, train one with "
        "--mode=train, or evaluate PyTorch weights with --weights=FILE."
    )
    if not folder.is_dir():
        raise missing
    like, everywhere = experiment.abstract_state(), experiment.state_shardings
    with Checkpoints(folder, experiment.config.checkpoint.keep, writable=False) as checkpoints:
        if which.isdigit():
            restored = checkpoints.restore_step(int(which), like, everywhere)
        else:
            found = checkpoints.restore(like, everywhere)
            if found is None:
                raise missing
            restored = found
    # As JSON has it, which knows no tuples.
    trained, now = restored.config, json.loads(json.dumps(dataclasses.asdict(experiment.config)))
    for name in [x for x in now["model"] if trained["model"].get(x) != now["model"][x]]:
        print(
            f"note     model.{name} is {now['model'][name]!r}, trained with "
            f"{trained['model'].get(name)!r}"
        )
    sets = {name: restored.state.variables(name) for name in WEIGHTS}
    return sets, f"{restored.directory} (step {restored.step:,})"


def imported_weights(experiment: Experiment, path: str) -> tuple[dict[str, Any], str]:
    """Weights of a PyTorch file for the model of an experiment, as `saved_weights` has them."""
    step_size = experiment.config.model.step_size
    variables = from_pytorch(Path(path).expanduser(), step_size=step_size)
    like = experiment.abstract_state().variables("raw")
    found = jax.tree.map(lambda x: str(x.shape), variables)
    required = jax.tree.map(lambda x: str(x.shape), like)
    if found != required:
        theirs, ours = flatten(found), flatten(required)
        name = next(n for n in {**theirs, **ours} if theirs.get(n) != ours.get(n))
        raise ValueError(
            f"{path} holds a model of other shapes than the configuration: {name} is "
            f"{theirs.get(name, 'missing')} there, {ours.get(name, 'missing')} here; "
            f"{sum(n.startswith('layer_') for n in variables['params'])} layers there. "
            f"Set --config.model.width, --config.model.layers "
            f"(now {experiment.config.model.width} and {experiment.config.model.layers}) and "
            "what else differs to those of the weights."
        )
    variables = jax.tree.map(lambda x, y: x.astype(y.dtype), variables, like)
    placed = jax.device_put(variables, experiment.state_shardings.variables("raw"))
    return {"imported": placed}, path
