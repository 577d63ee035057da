"""Devices: the mesh, where arrays live on it, and how a batch gets there.

One axis, `data`: parameters on every device, the rows of a batch split over all of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA = "data"


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """All devices of all processes (or the given ones) in one row."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), (DATA,), axis_types=(jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device."""
    return NamedSharding(mesh, P())


def by_row(mesh: Mesh) -> NamedSharding:
    """Split over the devices by the first axis."""
    return NamedSharding(mesh, P(DATA))


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """A global batch from the rows this process has read."""
    sharding = by_row(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def check_divisible(field: str, size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises a ValueError if a batch (of `parts` micro-batches) does not split over the devices."""
    unit = mesh.size * parts
    if size % unit:
        lower, upper = size // unit * unit, -(-size // unit) * unit
        advice = f"{lower} or {upper}" if lower else f"{upper}"
        micro = f" in {parts} micro-batches" if parts > 1 else ""
        raise ValueError(
            f"config.{field}={size} cannot be split over {mesh.size} devices{micro}; "
            f"it must be a multiple of {unit}: --config.{field}={advice}."
        )


def per_device(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """`function` on each device's share; on a single device, the function itself.

    JAX checks over which devices values vary, but on TPUs: Pallas's kernels do not say it.
    """
    if mesh.size == 1:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=_checked()
    )


def _checked() -> bool:
    return jax.default_backend() != "tpu"


def compiler_options() -> dict[str, str] | None:
    """For the compiled steps. On a CPU the default order of operations lets more live at once.

    A CIFAR step (C 128, 8 images on a core) takes 435 MiB instead of 637, and 0.94 of the time.
    """
    if jax.default_backend() == "cpu":
        return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return None


def axis_name(mesh: Mesh) -> str | None:
    """Name of the axis to reduce over inside `per_device`; None where there is nothing to."""
    return DATA if mesh.size > 1 else None


def on_any_host(flag: bool) -> bool:
    """Whether `flag` is set on any host: clocks and signals differ, what follows must not."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())
