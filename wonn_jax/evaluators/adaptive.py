"""Adaptive steps: every example stops when its energy or its prediction has settled.

Beside it, from the same initial phases: the fixed number of steps, and as many fixed steps in every
layer as the examples took there in the mean. These cost the same, so stopping has to beat them.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from wonn_jax.config import Config
from wonn_jax.data.pipeline import Source
from wonn_jax.dist import mesh as sharding
from wonn_jax.models import Model
from wonn_jax.models.base import Stop
from wonn_jax.nn.oscillators import per_layer
from wonn_jax.rng import stream_key
from wonn_jax.tasks import Batch, Task
from wonn_jax.train.experiment import CompiledStep, Experiment, evaluation_batches
from wonn_jax.train.step import batch_phases, init_variables, variables_specs

QUANTILES = (25, 50, 75, 95)


class Found(NamedTuple):
    """What came of N examples.

    right: by metric, whether the answer is right, `[N]` booleans.
    taken: steps of each layer, `[N, layers]`.
    """

    right: dict[str, Any]
    taken: Any


def stop_of(config: Config) -> Stop:
    """When examples stop, from `config.eval`."""
    e = config.eval
    return Stop(e.stop, e.limit or None, e.tolerance, e.patience)


def fixed_steps(config: Config) -> tuple[int, ...]:
    """T of each layer, where nothing stops."""
    m, steps = config.model, config.eval.steps
    return per_layer((steps,) if steps else m.steps, m.layers, "steps")


def make_step(
    model: Model,
    task: Task,
    config: Config,
    mesh: Mesh,
    *,
    steps: tuple[int, ...],
    stop: Stop | None = None,
) -> jax.stages.Wrapped:
    """The compiled step `(variables, batch) -> Found`, from the first draw of `make_eval_step`.

    `steps` is T of each layer.
    """
    model = model.clone(steps=steps)
    many = mesh.size > 1
    specs = variables_specs(jax.eval_shape(lambda: init_variables(model, task, config)), mesh)

    def answer(variables: dict[str, Any], batch: Batch) -> Found:
        if many:
            params = sharding.whole_parameters(variables["params"], specs["params"])
            variables, batch = {**variables, "params": params}, sharding.own_batch(batch)
        key = stream_key(config.seed, "evaluation phases", 0)
        theta = batch_phases(model, batch, key, config)
        output: Any = model.apply(variables, batch["input"], theta, stop=stop)
        taken = [
            np.int32(length) + 0 * batch["id"] if layer.taken is None else layer.taken
            for length, layer in zip(steps, output.layers, strict=True)
        ]
        found = Found(task.verdicts(output.logits.argmax(-1), batch), jax.numpy.stack(taken, -1))
        if many:  # devices along the grid agree; the maximum tells JAX so
            found = jax.tree.map(lambda x: jax.lax.pmax(x, sharding.GRID), found)
        return found

    compute = sharding.per_device(
        answer, mesh, in_specs=(specs, P(sharding.ROWS)), out_specs=P(sharding.ROWS)
    )
    return jax.jit(
        lambda variables, batch: compute(variables, task.prepare(batch)),
        in_shardings=(sharding.shardings(specs, mesh), sharding.by_row(mesh)),
        out_shardings=sharding.replicated(mesh),
        compiler_options=sharding.compiler_options(sharding.platform_of(mesh)),
    )


def collect(
    step: CompiledStep, variables: dict[str, Any], source: Source, config: Config, mesh: Mesh
) -> tuple[Found, float]:
    """Answers to all examples of a source, in its order, and the seconds it took, compiled."""
    parts, seconds = [], 0.0
    for batch in evaluation_batches(source, config, mesh):
        placed = sharding.put_batch(batch, mesh)
        step.compile(variables, placed)
        began = time.perf_counter()
        parts.append(jax.device_get(step(variables, placed)))
        seconds += time.perf_counter() - began
    examples = min(config.eval.examples or len(source), len(source))
    return jax.tree.map(lambda *x: np.concatenate(x)[:examples], *parts), seconds


def summarise(
    fixed: Found, adaptive: Found, same: Found, limits: Sequence[float]
) -> dict[str, Any]:
    """Answers of fixed, adaptive and as many fixed steps, as numbers that JSON can hold.

    `limits` are of each layer, infinite for one that does not stop. Steps are added up over layers.
    `difference` is adaptive − fixed, with its standard error over
    examples; `at the limit` is the share of examples of which a layer has taken all the steps it
    may.
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


def compare(experiment: Experiment, sets: dict[str, Any], source: Source) -> dict[str, Any]:
    """Every set of weights with fixed and with adaptive steps; prints a table for each."""
    config, mesh = experiment.config, experiment.mesh
    stop = stop_of(config)
    fixed = fixed_steps(config)
    limits: list[float] = [stop.limit or steps for steps in fixed]
    if stop.signal == "prediction":
        limits[:-1] = [math.inf] * (len(fixed) - 1)

    def step(steps: tuple[int, ...], stop: Stop | None = None) -> CompiledStep:
        made = make_step(experiment.model, experiment.task, config, mesh, steps=steps, stop=stop)
        return CompiledStep(made)

    results: dict[str, Any] = {}
    usual, stopping = step(fixed), step(fixed, stop)
    for name, variables in sets.items():
        adaptive, adaptive_seconds = collect(stopping, variables, source, config, mesh)
        mean = tuple(max(1, round(x)) for x in adaptive.taken.mean(0).tolist())
        passes = {"fixed": usual, "as many fixed steps": step(mean)}
        found, seconds = {}, {"adaptive": adaptive_seconds}
        for way, made in passes.items():
            found[way], seconds[way] = collect(made, variables, source, config, mesh)
        result = summarise(found["fixed"], adaptive, found["as many fixed steps"], limits)
        results[name] = {**result, "seconds": seconds}
        print(
            f"\n{name} weights: stopped when the {stop.signal} has changed by no more than "
            f"{stop.tolerance:g} in {stop.patience} steps, at {limits[-1]:g} in the last layer at "
            f"the latest\n{table(result, seconds)}",
            flush=True,
        )
    return results
