"""This project's model against a fixture computed with the PyTorch reference, in float64."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.interop.winfree import KINDS, UNUSED, from_pytorch, to_pytorch
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import KERNELS, ImageModel
from wonn_jax.tasks import TASKS, ImageTask, Task

Fixture = Mapping[str, np.ndarray]


def verify(path: str | Path, tolerance: float = 1e-8) -> bool:
    """Runs this project's model on a fixture in float64 and prints how far it is off.

    One line per quantity with the largest difference over the largest value of the fixture.
    Angles are compared modulo 2π; a gradient that is zero, against the largest gradient.

    Returns:
      Whether every quantity is within `tolerance`.
    """
    jax.config.update("jax_enable_x64", True)
    with np.load(path) as file:
        fixture = {name: file[name] for name in file.files}
    meta = json.loads(str(fixture["meta"]))
    if meta["kind"] not in KINDS:
        raise ValueError(f"{path} is of kind {meta['kind']!r}; this verifies {', '.join(KINDS)}.")
    rows = [*_verify_export(fixture, meta), *_verify_model(fixture, meta)]
    width = max(len(name) for name, _ in rows)
    good = True
    for name, error in rows:
        within = error <= tolerance  # False for NaN
        good &= within
        print(f"{name:{width}}  {error:9.2e}  {'ok' if within else 'DIFFERS'}")
    print(f"{path}: {'all within' if good else 'NOT within'} {tolerance:g}")
    return good


Row = tuple[str, float]


def _error(ours: Any, theirs: np.ndarray, *, scale: float | None = None) -> float:
    ours = np.asarray(ours)
    if ours.shape != theirs.shape:
        return float("inf")
    size = np.abs(theirs).max(initial=0.0) if scale is None else scale
    return float(np.abs(ours - theirs).max(initial=0.0) / (size or 1.0))


def _verify_export(fixture: Fixture, meta: dict[str, Any]) -> list[Row]:
    """Import, then export: every tensor that is read comes back as it was."""
    theirs = {n.removeprefix("param/"): x for n, x in fixture.items() if n.startswith("param/")}
    gamma = float(theirs["gamma"][0])
    back = to_pytorch(from_pytorch(theirs, step_size=gamma), meta["kind"], step_size=gamma)
    read = [name for name in theirs if not UNUSED.fullmatch(name)]
    same = back.keys() == theirs.keys() and all(np.array_equal(back[n], theirs[n]) for n in read)
    return [("import and export", 0.0 if same else float("inf"))]


def _model(meta: dict[str, Any], classes: int, step_size: float) -> tuple[Task, Any]:
    """The task and our model of a fixture, from the reference's arguments."""
    arguments = meta["model"]
    common = {
        "width": arguments["ch"],
        "layers": arguments["L"],
        "steps": (arguments["T"],),
        "heads": arguments.get("heads", 8),
        "step_size": step_size,
        "dtype": jnp.float64,
    }
    if meta["kind"] == "image":
        return ImageTask(classes), ImageModel(
            classes=classes,
            widening=arguments.get("ch_final", arguments["ch"]) != arguments["ch"],
            patch=arguments.get("input_patch_size", 1) if "imagenet" in arguments["data"] else 1,
            interaction=arguments["si_func"],
            group=arguments.get("group_size", 1),
            coupling={"attn": "attention", "conv": "convolution"}[arguments["coupling"]],
            kernels=tuple(arguments.get("kernel_sizes", KERNELS)),
            norm="none" if arguments.get("norm") == "none" else "group",
            transition_bias=meta.get("phase_bias", arguments.get("phase_bias", False)),
            readout_side=arguments.get("output_ksize", 3),
            **common,
        )
    task: Any = TASKS[meta["kind"]]()
    return task, GridModel(
        tokens=task.tokens,
        classes=len(task.classes),
        inject=task.inject,
        **common,
    )


def _verify_model(fixture: Fixture, meta: dict[str, Any]) -> list[Row]:
    weights = {n.removeprefix("param/"): x for n, x in fixture.items() if n.startswith("param/")}
    gamma = float(weights["gamma"][0])
    variables = jax.tree.map(jnp.asarray, from_pytorch(weights, step_size=gamma))
    task, model = _model(meta, fixture["eval/logits"].shape[-1], gamma)
    inputs, target = jnp.asarray(fixture["input"]), jnp.asarray(fixture["target"])
    theta = jnp.asarray(fixture["theta0"]).transpose(0, 2, 3, 1)
    batch = {"target": target, "id": jnp.arange(len(target))}
    options = {}
    if meta["kind"] == "image":
        inputs = inputs.transpose(0, 2, 3, 1)
    else:
        batch["valid"] = jnp.ones(target.shape, bool)
    if "is_input" in fixture:
        options["given"] = jnp.asarray(fixture["is_input"])
    batch["input"] = inputs

    @jax.jit
    def evaluate(variables):
        return model.apply(variables, inputs, theta, trajectory=True, energies=True, **options)

    @jax.jit
    def train(variables):
        def loss(params):
            output, updates = model.apply(
                {**variables, "params": params},
                inputs,
                theta,
                train=True,
                mutable=["batch_stats"],
                **options,
            )
            mean = task.loss_sum(output.logits, batch) / task.loss_count(batch)
            return mean, (output.logits, updates)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    output = evaluate(variables)
    rows = [("eval/logits", _error(output.logits, fixture["eval/logits"]))]
    for i, layer in enumerate(output.layers):
        theirs = fixture[f"eval/layer{i}/theta"]
        phases = np.asarray(layer.trajectory).transpose(0, 1, 4, 2, 3)
        turn = np.angle(np.exp(1j * (phases - theirs)))
        error = _error(turn, np.zeros_like(theirs), scale=np.abs(theirs).max())
        rows.append((f"eval/layer{i}/theta", error))
        energies = fixture[f"eval/layer{i}/energy"][1:]  # the reference lists a leading zero
        rows.append((f"eval/layer{i}/energy", _error(layer.energies, energies)))

    (loss, (logits, updates)), grads = train(variables)
    rows.append(("train/logits", _error(logits, fixture["train/logits"])))
    rows.append(("train/loss", _error(loss, fixture["train/loss"])))
    gradients = {n: x for n, x in fixture.items() if n.startswith("train/grad/")}
    largest = max(np.abs(x).max() for x in gradients.values())
    ours = to_pytorch({"params": grads, **updates}, meta["kind"], step_size=gamma)
    for name, grad in gradients.items():
        zero = np.abs(grad).max() < 1e-12 * largest
        scale = largest if zero else None
        rows.append((name, _error(ours[name.removeprefix("train/grad/")], grad, scale=scale)))
    for name, buffer in fixture.items():
        if name.startswith("train/buffer/"):
            rows.append((name, _error(ours[name.removeprefix("train/buffer/")], buffer)))
    return rows
