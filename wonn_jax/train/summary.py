"""One line each of what a run is made of, for a person: devices, data, parameters."""

import math
from typing import Any

import jax
from jax.sharding import Mesh

from wonn_jax.data.pipeline import Source
from wonn_jax.tasks import Task
from wonn_jax.train.checkpoint import flatten


def parameter_table(params: Any) -> str:
    """Name, shape and size of every parameter, and their number."""
    rows = [
        (name, " × ".join(map(str, x.shape)) or "1", f"{math.prod(x.shape):,}")
        for name, x in flatten(params).items()
    ]
    total = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    head = ("parameter", "shape", "size")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(3)]

    def line(row: tuple[str, str, str]) -> str:
        return f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]:>{widths[2]}}"

    rule = "─" * (sum(widths) + 4)
    return "\n".join([line(head), rule, *map(line, rows), rule, f"{total:,} parameters"])


def device_line(mesh: Mesh) -> str:
    """Devices: '8 × TPU v5e on 2 hosts, mesh data 4 × grid 2 (jax 0.10.2)'."""
    kinds = ", ".join(sorted({device.device_kind for device in mesh.devices.flat}))
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    axes = [f"{name} {size}" for name, size in mesh.shape.items() if size > 1]
    split = f", mesh {' × '.join(axes)}" if axes and axes != [f"data {mesh.size}"] else ""
    return f"{mesh.size} × {kinds}{hosts}{split} (jax {jax.__version__})"


def examples_of(task: Task) -> str:
    """Kind and size of the examples: 'boards of 30×30'."""
    shape = task.abstract_batch(1)["input"].shape[1:3]
    return f"{task.noun} of {'×'.join(map(str, shape))}"


def data_line(source: Source, task: Task, origin: str) -> str:
    """Number and kind of the examples, where they come from, and their fingerprint."""
    return f"{len(source):,} {examples_of(task)}, {origin}, fingerprint {source.fingerprint}"
