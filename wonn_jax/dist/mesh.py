"""Devices: the mesh, where arrays live on it, and how a batch gets there.

Three axes. `data` and `fsdp` split the rows of a batch between them; `fsdp` splits what is
trained too (parameters, optimizer, EMA: fully sharded); `grid` splits the rows of cells of every
board or picture. What the devices do with their shares is written out in `wonn_jax.train.step`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from wonn_jax.dist.grid import Placement

DATA, FSDP, GRID = "data", "fsdp", "grid"
ROWS = (DATA, FSDP)
"""Axes over which the rows of a batch are split."""
AXES = (DATA, FSDP, GRID)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the devices of all hosts share the work.

    The sizes of the three axes multiply to the number of devices; one of them may be -1, and
    takes what the others leave.
    """

    data: int = -1  # splits the batch
    fsdp: int = 1  # splits the batch, and also parameters, optimizer state and EMA
    grid: int = 1  # splits the rows of cells of each board or picture

    def check(self) -> None:
        """Raises a ValueError if an axis has an impossible size, or two have -1."""
        sizes = dataclasses.asdict(self)
        for name, size in sizes.items():
            if size < 1 and size != -1:
                raise ValueError(
                    f"config.mesh.{name}={size} must be at least 1, or -1 for what is left: "
                    f"--config.mesh.{name}=1."
                )
        if len(rest := [name for name, size in sizes.items() if size == -1]) > 1:
            raise ValueError(
                f"config.mesh.{rest[0]} and config.mesh.{rest[1]} are both -1; only one axis can "
                f"take what is left: --config.mesh.{rest[1]}=1."
            )


def make_mesh(
    config: MeshConfig | None = None, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """All devices of all processes (or the given ones), neighbours on a ring being near.

    Several TPU slices lie along `data`, the axis with the least to say.

    Raises:
      ValueError: axes that do not come to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(config or MeshConfig(), len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices > 1:
        if shape[0] % slices:
            raise ValueError(
                f"config.mesh.data={shape[0]} does not divide into the {slices} slices that the "
                f"devices form; it must be a multiple of {slices}."
            )
        grid = mesh_utils.create_hybrid_device_mesh(
            (shape[0] // slices, *shape[1:]), (slices, 1, 1), devices
        )
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(jax.sharding.AxisType.Auto,) * len(AXES))


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, ...]:
    """Sizes of the three axes, with −1 filled in.

    Raises:
      ValueError: they do not come to the number of devices.
    """
    sizes = {DATA: config.data, FSDP: config.fsdp, GRID: config.grid}
    given = math.prod(size for size in sizes.values() if size != -1)
    if -1 in sizes.values() and devices % given == 0:
        return tuple(devices // given if size == -1 else size for size in sizes.values())
    if given == devices:
        return tuple(sizes.values())
    written = " × ".join(f"{name} {size}" for name, size in sizes.items())
    fixed = " × ".join(f"{name} {size}" for name, size in sizes.items() if name != DATA)
    of_rest = sizes[FSDP] * sizes[GRID] if -1 not in (sizes[FSDP], sizes[GRID]) else 0
    if of_rest and devices % of_rest == 0:
        advice = f"--config.mesh.data=-1 takes what is left, {devices // of_rest}"
    else:
        advice = f"axes must multiply to {devices}; {fixed} cannot, --config.mesh.fsdp=1 and "
        advice += "--config.mesh.grid=1 can, with --config.mesh.data=-1"
    raise ValueError(f"config.mesh ({written}) does not fit {devices} devices: {advice}.")


# --- Where arrays live ----------------------------------------------------------------------------


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device."""
    return NamedSharding(mesh, P())


def by_row(mesh: Mesh) -> NamedSharding:
    """Split by the first axis, the rows of a batch; the same all along `grid`."""
    return NamedSharding(mesh, P(ROWS))


def parameter_spec(shape: tuple[int, ...], mesh: Mesh) -> P:
    """How an array of what is trained is split over `fsdp`: by its longest axis that divides."""
    parts = mesh.shape[FSDP]
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not axes:
        return P()
    longest = max(axes, key=lambda axis: shape[axis])
    return P(*[FSDP if axis == longest else None for axis in range(longest + 1)])


def parameter_specs(tree: Any, mesh: Mesh) -> Any:
    """`parameter_spec` of every array of a tree."""
    return jax.tree.map(lambda x: parameter_spec(x.shape, mesh), tree)


def shardings(specs: Any, mesh: Mesh) -> Any:
    """A tree of `PartitionSpec` as shardings."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def share_axis(spec: P) -> int | None:
    """The axis that a `parameter_spec` splits; None if it splits none."""
    return spec.index(FSDP) if FSDP in spec else None


# --- How a batch gets there -----------------------------------------------------------------------


def local_rows(mesh: Mesh, rows: int) -> np.ndarray:
    """Numbers of those rows of a global batch that devices of this process work on, ascending."""
    indices = by_row(mesh).addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[index] for index in indices]))


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """A global batch from the rows that this process has read, see `local_rows`."""
    sharding = by_row(mesh)
    shares = row_shares(mesh)
    # Of one row a share: how many shares are here.
    here = len(local_rows(mesh, shares))

    def put(local: np.ndarray) -> jax.Array:
        total = len(local) // here * shares
        rows = local_rows(mesh, total)

        def share(index: Any) -> np.ndarray:
            wanted = np.arange(total)[index[0]]
            first = int(np.searchsorted(rows, wanted[0])) if len(wanted) else 0
            return local[first : first + len(wanted)]

        return jax.make_array_from_callback((total, *local.shape[1:]), sharding, share)

    return {name: put(local) for name, local in batch.items()}


def first_rows(x: jax.Array) -> np.ndarray:
    """Of an array split as a batch is, the first of the rows that this process has."""
    shard = min(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.asarray(shard.data)


def row_shares(mesh: Mesh) -> int:
    """Number of shares into which the rows of a batch are split."""
    return mesh.shape[DATA] * mesh.shape[FSDP]


def check_divisible(field: str, size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises a ValueError if a batch (of `parts` micro-batches) does not split over the devices."""
    shares = row_shares(mesh)
    unit = shares * parts
    if size % unit:
        lower, upper = size // unit * unit, -(-size // unit) * unit
        advice = f"{lower} or {upper}" if lower else f"{upper}"
        micro = f" in {parts} micro-batches" if parts > 1 else ""
        split = " (config.mesh.data × config.mesh.fsdp)" if shares != mesh.size else ""
        raise ValueError(
            f"config.{field}={size} cannot be split over {shares} devices{split}{micro}; "
            f"it must be a multiple of {unit}: --config.{field}={advice}."
        )


# --- What devices say to each other ---------------------------------------------------------------


def per_device(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """`function` on each device's share; on a single device, the function itself.

    On a CPU JAX checks over which devices values vary. Fused kernels of GPUs and TPUs do not tell.
    """
    if mesh.size == 1:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=_checked()
    )


def _checked() -> bool:
    return jax.default_backend() == "cpu"


def platform_of(mesh: Mesh) -> str:
    """Platform of the devices of a mesh: 'cpu', 'gpu' or 'tpu'."""
    return mesh.devices.flat[0].platform


def placement(mesh: Mesh) -> Placement:
    """Where a model inside `per_device` runs: on a single device there are no axes."""
    if mesh.size == 1:
        return Placement(platform=platform_of(mesh))
    return Placement(AXES, GRID if mesh.shape[GRID] > 1 else None, platform_of(mesh))


def whole_parameters(tree: Any, specs: Any) -> Any:
    """Whole arrays from the shares that devices along `fsdp` hold of them."""

    def gather(x: jax.Array, spec: P) -> jax.Array:
        axis = share_axis(spec)
        return x if axis is None else jax.lax.all_gather(x, FSDP, axis=axis, tiled=True)

    return jax.tree.map(gather, tree, specs)


def own_parameters(tree: Any, specs: Any) -> Any:
    """The same as each device's own: a derivative with respect to them is of its work alone."""

    def cast(x: jax.Array, spec: P) -> jax.Array:
        gathered = share_axis(spec) is not None  # already its own along `fsdp`
        return jax.lax.pcast(x, (DATA, GRID) if gathered else AXES, to="varying")

    return jax.tree.map(cast, whole_parameters(tree, specs), specs)


def own_batch(tree: Any) -> Any:
    """Rows of a batch, which all devices along `grid` have, as each device's own."""
    return jax.tree.map(lambda x: jax.lax.pcast(x, GRID, to="varying"), tree)


def add_gradients(tree: Any, specs: Any) -> Any:
    """The sum over all devices; of what is split over `fsdp`, every device gets its share."""

    def add(x: jax.Array, spec: P) -> jax.Array:
        axis = share_axis(spec)
        if axis is None:
            return jax.lax.psum(x, AXES)
        x = jax.lax.psum_scatter(x, FSDP, scatter_dimension=axis, tiled=True)
        return jax.lax.psum(x, (DATA, GRID))

    return jax.tree.map(add, tree, specs)


def add_counts(tree: Any) -> Any:
    """The sum over the rows of the batch; devices along `grid` have counted the same."""

    def add(x: jax.Array) -> jax.Array:
        return jax.lax.psum(x, AXES) / jax.lax.axis_size(GRID)

    return jax.tree.map(add, tree)


def compiler_options() -> dict[str, str] | None:
    """For the compiled steps. On a CPU the default order of operations lets more live at once.

    A CIFAR step (C 128, 8 images on a core) takes 435 MiB instead of 637, and 0.94 of the time.
    """
    if jax.default_backend() == "cpu":
        return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return None
