"""Some training steps on meshes of fake devices, in a process of its own: see `test_mesh`.

    python mesh_worker.py RESULTS CASE:DATA,FSDP,GRID[:VARIANT] …

Variants: 'unchecked', as on accelerators JAX does not check over which mesh axes values vary;
'mean', the gradients of the devices are averaged rather than added, which is wrong; 'seams',
convolutions do not see their neighbours on other devices, which is wrong too.
"""

import functools
import math
import pickle
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from miniatures import miniature
from runs import QUICK_OPTIONS

from wonn_jax.common.rng import stream_key
from wonn_jax.evaluators.accuracy import make_accuracy_step
from wonn_jax.parallel import mesh as sharding
from wonn_jax.train.experiment import Experiment

DEVICES = 8

BOARD = {"data__height": 8, "data__width": 8}
IMAGE = {"data__image_size": 8, "train__last_batch": "drop"}
ONE = {"model__layers": 1}  # where transitions between layers are not the point
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "maze": ("maze", BOARD),
    "maze-blockwise": ("maze", BOARD | {"model__attention": "blockwise"}),
    "maze-shallow": ("maze", BOARD | ONE | {"train__batch_size": 16}),
    "maze-micro": (
        "maze",
        BOARD | ONE | {"train__accumulate": 2, "optimizer__clip_norm": 0.05},
    ),
    "sudoku": ("sudoku", ONE),
    "image-mlp": ("image", IMAGE | ONE | {"model__interaction": "mlp", "augment__cutmix": 1.0}),
    "image-conv": ("image", IMAGE | {"model__coupling": "convolution", "model__kernels": (7, 3)}),
    "image-patch": (
        "image",
        IMAGE | ONE | {"data__image_size": 16, "model__patch": 2, "model__group": 1},
    ),
}
"""Task and fields by name; the default is a network of two layers on 8×8 cells."""

COMMON = {
    "model__steps": (2,),
    "model__layers": 2,
    "model__attention": "plain",
    "train__batch_size": 8,
    "ema__after": 0,
    "ema__every": 1,
    "optimizer__eps": 1.0,
}


class Exact(Experiment):
    """An experiment in float64, which leaves rounding out of the comparison."""

    @functools.cached_property
    def model(self) -> Any:
        placement = sharding.placement(self.mesh)
        return self.config.model.build(self.task.examples, placement).clone(dtype=jnp.float64)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """Plain SGD, which does not hide a wrong scale; Adam where gradients are clipped."""
        if self.config.optimizer.clip_norm:
            return self.config.optimizer.build(lambda _: 0.1)
        return optax.sgd(0.1)


def random_batch(experiment: Experiment) -> dict[str, np.ndarray]:
    """Random examples: the last two are padding, and some cells of boards are not valid."""
    rng = np.random.default_rng(0)
    size, examples = experiment.config.train.batch_size, experiment.task.examples
    tokens = getattr(examples, "tokens", 256)
    batch = {}
    for name, x in experiment.task.abstract_batch(size).items():
        top = tokens if name == "input" else examples.classes
        batch[name] = rng.integers(0, top, x.shape).astype(x.dtype)
    if "valid" in batch:
        batch["valid"] = rng.random(batch["valid"].shape) < 0.9
    batch["id"] = np.arange(100, 100 + size, dtype=np.int32)
    if not getattr(experiment.config.augment, "cutmix", 0.0):
        batch["id"][-2:] = -1
    return batch


def make(case: str, sizes: tuple[int, ...]) -> Exact:
    """The experiment of a case on a mesh of these sizes."""
    task, fields = CASES[case]
    axes = dict(zip(("mesh__data", "mesh__fsdp", "mesh__grid"), sizes, strict=True))
    devices = jax.devices()[: math.prod(sizes)]
    return Exact(miniature(task, **COMMON | fields | axes), examples=1000, devices=devices)


@functools.cache
def initial_state(case: str) -> Any:
    """The state before the first step, on the host; it does not depend on the mesh."""
    experiment = make(case, (1, 1, 1))
    create = jax.jit(experiment._initial_state, compiler_options=QUICK_OPTIONS)
    return jax.device_get(create())


def run(case: str, sizes: tuple[int, ...], evaluate: bool) -> dict[str, Any]:
    """The state after three steps, with metrics, an evaluation and what was drawn.

    Args:
      case: one of `CASES`.
      sizes: of the axes data, fsdp and grid.
      evaluate: whether to evaluate the EMA.
    """
    experiment = make(case, sizes)
    config, mesh = experiment.config, experiment.mesh
    state = jax.device_put(initial_state(case), experiment.state_shardings)
    batch = sharding.put_batch(random_batch(experiment), mesh)
    history = []
    for _ in range(3):
        state, metrics = experiment.train_step(state, batch)
        history.append(metrics)

    def draw(batch: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        prepared = experiment.task.prepare(batch, stream_key(config.seed, "augmentation", 0))
        method: Any = experiment.method
        return prepared["input"], *method.start(prepared, stream_key(config.seed, "phases", 0))

    drawn = jax.jit(draw, compiler_options=QUICK_OPTIONS)(batch)
    shares = [x.addressable_shards[0].data.size / x.size for x in jax.tree.leaves(state.params)]
    leaves = jax.tree.leaves_with_path(state)
    found: dict[str, Any] = {
        "state": {jax.tree_util.keystr(path): leaf for path, leaf in leaves},
        "history": history,
        "drawn": drawn,
        "shares": shares,
    }
    if evaluate:
        step = make_accuracy_step(experiment)
        found["counts"], found["predictions"] = step(state.variables("ema"), batch)
    return jax.device_get(found)


def averaged(grads: Any, specs: Any) -> Any:
    added = sharding.add_gradients(grads, specs)
    return jax.tree.map(lambda x: x / DEVICES, added)


VARIANTS = {
    "unchecked": ("wonn_jax.parallel.mesh._check_vma", lambda _: False),
    "mean": ("wonn_jax.train.step.add_gradients", averaged),
    "seams": ("wonn_jax.parallel.grid.shifted", lambda x, *_: jnp.zeros_like(x)),
}


def main(path: str, *jobs: str) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    results = {}
    for job in jobs:
        case, sizes, *variants = job.split(":")
        with mock.patch("wonn_jax.train.step.compiler_options", lambda _: QUICK_OPTIONS):
            patches = [mock.patch(*VARIANTS[variant]) for variant in variants]
            for patch in patches:
                patch.start()
            wrong = bool({"mean", "seams"} & set(variants))
            results[job] = run(case, tuple(map(int, sizes.split(","))), evaluate=not wrong)
            for patch in patches:
                patch.stop()
    Path(path).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
