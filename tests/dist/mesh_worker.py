"""Some training steps on a mesh of fake devices, in a process of its own: see `test_mesh`.

    python mesh_worker.py DEVICES RESULTS CASE:DATA,FSDP,GRID[:VARIANT] …

Variants: 'unchecked', as on accelerators JAX does not check over which devices values vary;
'mean', the gradients of the devices are averaged, not added, which is wrong; 'seams', convolutions
see no neighbours beyond a device's rows, which is wrong too.
"""

import dataclasses
import pickle
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wonn_jax import config as configuration
from wonn_jax.config import Config
from wonn_jax.dist import grid as split_grid
from wonn_jax.dist import mesh as sharding
from wonn_jax.dist.mesh import MeshConfig
from wonn_jax.models import build
from wonn_jax.rng import stream_key
from wonn_jax.train import step
from wonn_jax.train.optim import make_optimizer

CASES = {
    "maze": {"task": "maze"},
    "maze-64": {"task": "maze", "train.batch_size": 64, "model.layers": 1},
    "maze-micro": {"task": "maze", "train.accumulate": 2, "model.layers": 1},
    "maze-clipped": {"task": "maze", "optimizer.clip_norm": 0.05, "model.layers": 1},
    "maze-blockwise": {"task": "maze", "model.attention": "blockwise"},
    "sudoku": {"task": "sudoku", "data.height": 9, "data.width": 9},
    "image-mlp": {"task": "image", "model.interaction": "mlp", "augment.cutmix": 1.0},
    "image-conv": {"task": "image", "model.coupling": "convolution", "model.kernels": (7, 3)},
    "image-patch": {"task": "image", "model.patch": 2, "model.group": 1},
}


def small_config(case: str, mesh: MeshConfig) -> Config:
    """A tiny network of two layers on boards or pictures of 8×8 cells."""
    config = configuration.default_config()
    fields = {
        "data.height": 8,
        "data.width": 8,
        "model.width": 8,
        "model.heads": 2,
        "model.steps": (2,),
        "model.layers": 2,
        "model.attention": "plain",
        "train.batch_size": 8,
        "ema.after": 0,
        "ema.every": 1,
    }
    if CASES[case]["task"] == "image":
        fields |= {
            "data.height": 30,
            "data.width": 30,
            "data.image_size": 16 if case == "image-patch" else 8,
            "train.last_batch": "drop",
        }
    with config.unlocked():
        for name, value in (fields | CASES[case]).items():
            group, _, field = name.rpartition(".")
            (config[group] if group else config)[field] = value
    return dataclasses.replace(configuration.freeze(config), mesh=mesh)


def random_batch(task, config: Config) -> dict[str, np.ndarray]:
    """Examples with two rows of padding at the end, and cells that do not count."""
    rng = np.random.default_rng(0)
    size = config.train.batch_size
    batch = {}
    for name, x in task.abstract_batch(config, size).items():
        if name == "input":
            top = 256 if config.task == "image" else task.tokens
        else:
            top = config.data.classes if config.task == "image" else len(task.classes)
        batch[name] = rng.integers(0, top, x.shape).astype(x.dtype)
    if "valid" in batch:
        batch["valid"] = rng.random(batch["valid"].shape) < 0.9
    batch["id"] = np.arange(100, 100 + size, dtype=np.int32)
    if not config.augment.cutmix:
        batch["id"][-2:] = -1
    return batch


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""These programs run for milliseconds, and would be compiled for half a minute."""


def run(case: str, sizes: MeshConfig) -> dict:
    """What three steps of plain SGD, which hides no wrong scale, leave behind."""
    config = small_config(case, sizes)
    mesh = sharding.make_mesh(sizes)
    task, model = build(config, sharding.placement(mesh))
    model = model.clone(dtype=jnp.float64)  # leaves rounding out of the comparison
    optimizer = optax.sgd(0.1)
    if config.optimizer.clip_norm:
        optimizer = make_optimizer(
            dataclasses.replace(config.optimizer, name="adam", eps=1.0), lambda _: 0.1
        )
    create = jax.jit(
        lambda: step.init_state(model, task, optimizer, config), compiler_options=QUICK
    )
    placed = sharding.shardings(step.state_specs(jax.eval_shape(create), mesh), mesh)
    state = jax.device_put(create(), placed)
    batch = random_batch(task, config)
    mine = {name: x[sharding.local_rows(mesh, len(x))] for name, x in batch.items()}
    update = step.make_train_step(model, task, optimizer, lambda _: 0.1, config, mesh)
    history = []
    for _ in range(3):
        state, metrics = update(state, sharding.put_batch(mine, mesh))
        history.append(metrics)
    evaluate = step.make_eval_step(model, task, config, mesh)
    counts, predictions = evaluate(state.variables("ema"), sharding.put_batch(mine, mesh))
    prepared = jax.jit(task.prepare, in_shardings=(sharding.by_row(mesh), None))(
        sharding.put_batch(mine, mesh), stream_key(config.seed, "augmentation", 0)
    )
    key = stream_key(config.seed, "phases", 0)
    phases = jax.jit(lambda batch: step.batch_phases(model, batch, key, config))(prepared)
    shares = [x.addressable_shards[0].data.size / x.size for x in jax.tree.leaves(state.params)]
    return jax.device_get(
        {
            "state": dataclasses.asdict(state) | {"opt_state": jax.tree.leaves(state.opt_state)},
            "history": history,
            "counts": counts,
            "predictions": predictions,
            "phases": phases,
            "input": prepared["input"],
            "shares": shares,
        }
    )


def averaged(grads, specs):
    added = sharding.add_gradients(grads, specs)
    return jax.tree.map(lambda x: x / jax.device_count(), added)


def main(devices: str, path: str, *jobs: str) -> None:
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.config.update("jax_enable_x64", True)
    step.compiler_options = lambda: QUICK
    results = {}
    for job in jobs:
        case, sizes, variant = (*job.split(":"), "")[:3]
        with pytest.MonkeyPatch.context() as patch:
            if variant == "unchecked":
                patch.setattr(sharding, "_checked", lambda: False)
            elif variant == "mean":
                patch.setattr(step, "add_gradients", averaged)
            elif variant == "seams":
                patch.setattr(split_grid, "shifted", lambda x, *_: jnp.zeros_like(x))
            results[job] = run(case, MeshConfig(*map(int, sizes.split(","))))
    Path(path).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
