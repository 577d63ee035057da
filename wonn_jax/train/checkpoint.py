"""Checkpoints and resuming, on top of Orbax.

Checkpoint k is the state after k updates. It holds every array under a flat name
('params.coupling_0.qkv.kernel'), the configuration as JSON, and a checksum that detects damage.
The newest few are kept in `checkpoints/`, the best one in `best/`.

Process 0 writes whole arrays; every process reads all of them and keeps its shards, so a checkpoint
depends neither on the mesh nor on the number of processes. The models are small enough for that
(with Adam and EMA, 12 million parameters take 200 MB). Orbax is told that each process is the only
one: it contains no barrier between processes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from wonn_jax.common.checks import at_least, length
from wonn_jax.common.files import named_fields
from wonn_jax.common.folders import absolute, is_remote, listed, make_folder, move_folder
from wonn_jax.parallel import hosts
from wonn_jax.train.upgrade import array_name, read_config, upgrade

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints of a run are written and kept."""

    every: str = "10 minutes"  # or steps, epochs; and at the end
    keep: int = 3  # newest checkpoints to keep
    best: str = "ema_accuracy"  # metric by which the best one is kept, too; '': none

    def check(self) -> None:
        at_least(1, "checkpoint", self, "keep")
        length("checkpoint.every", self.every)

    def check_metric(self, known: Sequence[str]) -> None:
        """Raises a ValueError if `best` is not one of the known metrics."""
        if self.best and self.best not in known:
            raise ValueError(
                f"config.checkpoint.best={self.best!r} is not a metric of this task; use one of "
                f"{', '.join(known)}, or ''."
            )

    @property
    def sign(self) -> float:
        """1 if a higher metric is better, −1 if a lower one is (losses)."""
        return -1.0 if self.best.endswith("loss") else 1.0


Flat = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Restored:
    """A restored state and its origin."""

    state: Any
    step: int
    config: dict[str, Any]
    data: str  # fingerprint of the training data
    directory: epath.Path


def flatten(tree: Any) -> Flat:
    """The leaves of a tree by name, such as 'params.coupling_0.qkv.kernel'."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def unflatten(like: Any, flat: Flat) -> Any:
    """Inverse of `flatten`: a tree with the structure of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), [flat[name] for name in flatten(like)])


def checksum(flat: Flat) -> str:
    """SHA-256 of the names, shapes, dtypes and bytes of all arrays."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        array = np.asarray(flat[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _about_checksum(meta: dict[str, Any]) -> str:
    """SHA-256 of what a checkpoint says of itself."""
    said = {name: value for name, value in meta.items() if name != "about"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _replicate(mesh: Mesh) -> Any:
    return jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _readable(flat: Flat) -> Flat:
    """Replicates the arrays that are sharded over processes. All processes must call it."""

    def sharded(x: Any) -> bool:
        return isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)

    split = {name: x for name, x in flat.items() if sharded(x)}
    if not split:
        return flat
    return flat | _replicate(next(iter(split.values())).sharding.mesh)(split)


class _About(NamedTuple):
    """What a checkpoint says of itself; `arrays` are uninitialized."""

    arrays: Flat
    config: dict[str, Any]
    data: str
    checksum: str


_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "UNAUTHENTICATED")
"""In errors of TensorStore that say nothing of the files."""


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """False. Orbax asks JAX here, but JAX must be asked on all hosts with the same count.

        See `wonn_jax.train.agenda`.
        """
        return False


class Checkpoints:
    """The checkpoints in one directory; a context manager that waits for the last save.

    All processes must call the same methods in the same order; process 0 writes.

    Args:
      directory: absolute, relative or in a bucket; created if missing.
      keep: number of newest checkpoints to keep.
      writable: False to only read, for example while a run is writing.
    """

    def __init__(self, directory: epath.PathLike, keep: int, *, writable: bool = True):
        self.directory = absolute(directory)
        self._damaged: list[int] = []
        process = jax.process_index()
        self._writes = writable and process == 0
        if self._writes:
            make_folder(self.directory)
            self._tidy()
        if writable:
            hosts.barrier(f"{self.directory.name} created")
        alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
        self._manager = _Manager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep if self._writes else None,
                create=False,
                cleanup_tmp_directories=self._writes,
                multiprocessing_options=alone,
                # Threads that wait for folders would wait for minutes if they cannot be made.
                async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
            ),
            item_names=("state", "meta"),
        )

    def _tidy(self) -> None:
        """Names the incomplete checkpoints, which Orbax removes, and renames files and dangling
        links that have the name of a checkpoint."""
        for path in listed(self.directory):
            if ".orbax-checkpoint-tmp" in path.name:
                log.warning("Removing the incomplete checkpoint %s.", path)
            elif path.name.isdecimal() and not path.is_dir():
                other = path.with_name(f"{path.name}.no-checkpoint")
                log.warning("Renaming %s, which is no folder and so no checkpoint.", path)
                path.rename(other)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_writing()
        self._manager.close()

    def wait(self) -> None:
        """Returns on all hosts when the last save is on disk.

        Raises:
          OSError: it could not be written; the earlier checkpoints are intact.
        """
        self._finish_writing()
        hosts.barrier(f"{self.directory.name} on disk")

    def _finish_writing(self) -> None:
        if not self._writes:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # any error of Orbax's background thread
            raise OSError(
                f"A checkpoint could not be written into {self.directory} "
                f"({_reason(error)}). The earlier ones ({self._listed()}) are intact. Check "
                "free space and permissions there; the same command then resumes from the last one."
            ) from error

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first."""
        if not self._writes:
            self._manager.reload()  # another process may have saved
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, config: dict[str, Any], data: str = "") -> None:
        """Saves in the background; does nothing if the step has been saved.

        Args:
          step: number of updates.
          state: a tree of arrays, which may be sharded over devices and processes.
          config: the configuration of the run, as JSON.
          data: fingerprint of the training data.

        Raises:
          OSError: the disk is too full (nothing was written), or the save before this one failed.
        """
        flat = _readable(flatten(state))
        if not self._writes or step in self._manager.all_steps():
            return
        self._finish_writing()
        self.check_room(flat)
        # On a CPU these are views of buffers that the next update may reuse; Orbax copies them.
        flat = {name: np.asarray(x) for name, x in flat.items()}
        meta = {
            "step": step,
            "config": config,
            "data": data,
            "arrays": {name: _describe(x) for name, x in flat.items()},
            "checksum": checksum(flat),
        }
        meta["about"] = _about_checksum(meta)
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(flat), meta=ocp.args.JsonSave(meta)
            ),
            force=True,  # also an earlier step than the last: the best one after a resume
        )
        if not saved:
            raise OSError(f"Orbax did not save the checkpoint of step {step} in {self.directory}.")

    def check_room(self, state: Any) -> None:
        """Raises an OSError if the disk has no room for another checkpoint of `state`."""
        if not self._writes or is_remote(self.directory):
            return
        need = sum(x.nbytes for x in flatten(state).values()) + 2**20
        free = shutil.disk_usage(self.directory).free
        if free < need:
            raise OSError(
                f"A checkpoint needs {need / 2**20:.0f} MiB and {self.directory} has "
                f"{free / 2**20:.0f} MiB left. The checkpoints there ({self._listed()}) are "
                "intact. Free some space, or copy the workdir and continue there with --workdir."
            )

    def _listed(self) -> str:
        return ", ".join(str(step) for step in self.steps()) or "none"

    def restore(self, like: Any, sharding: Any = None, *, partial: bool = False) -> Restored | None:
        """The newest undamaged checkpoint, or None if the directory has no checkpoint.

        Damaged ones are logged and left in place (see `set_aside_damaged`).

        Args:
          like: a tree of arrays or `ShapeDtypeStruct` with the shapes and dtypes to restore.
          sharding: where to put the arrays: one `Sharding`, a tree of them, or None for NumPy
            arrays in host memory.
          partial: accept a checkpoint with more arrays than `like`, and ignore those.

        Raises:
          ValueError: a checkpoint of another model, or all of them are damaged.
        """
        self._damaged = []
        for step in reversed(self.steps()):
            try:
                return self.restore_step(step, like, sharding, partial=partial)
            except _DamagedError as error:
                log.error("%s; trying the previous one.", error)
                self._damaged.append(step)
        if self._damaged:
            raise ValueError(
                f"All checkpoints in {self.directory} are damaged (steps "
                f"{', '.join(map(str, self._damaged))}). Nothing was changed. Restore one from a "
                "backup, or start a new run with another --workdir."
            )
        return None

    def set_aside_damaged(self) -> None:
        """Moves the damaged checkpoints that `restore` found to `damaged/` beside the directory."""
        damaged = hosts.broadcast(lambda: self._damaged)
        if not damaged:
            return
        for step in damaged:
            self.set_aside(step, "damaged", f"{self.directory.name}-{step}")
        self._damaged = []

    def set_aside(self, step: int, folder: str, name: str = "") -> None:
        """Moves a checkpoint to `folder` beside the directory, where it has its step as name."""
        if self._writes:
            path = self.directory.parent / folder / (name or str(step))
            while path.exists():
                path = path.with_name(path.name + "-again")
            move_folder(self.directory / str(step), path)
            log.warning("Moved the checkpoint of step %d to %s.", step, path)
        hosts.barrier(f"checkpoint {step} moved")
        self._manager.reload()

    def forget_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, which will be computed again."""
        if self._writes:
            for later in [found for found in self.steps() if found > step]:
                self._manager.delete(later)

    def restore_step(
        self, step: int, like: Any, sharding: Any = None, *, partial: bool = False
    ) -> Restored:
        """The checkpoint of one step; see `restore`.

        Raises:
          ValueError: there is none, it is of another model, or it is damaged.
        """
        if step not in self.steps():
            raise ValueError(
                f"{self.directory} has no checkpoint of step {step}; it has {self._listed()}."
            )
        wanted = flatten(like)
        where = self.directory / str(step)
        about = self._about(step)
        found = {array_name(name): _describe(x) for name, x in about.arrays.items()}
        if partial:
            found = {name: x for name, x in found.items() if name in wanted}
        _check_same_model(where, found, {name: _describe(x) for name, x in wanted.items()})
        with _damage(where):
            flat = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(about.arrays))
            )["state"]
        if checksum(flat) != about.checksum:
            raise _DamagedError(f"Checkpoint {where} is damaged (its checksum differs)")
        state = unflatten(like, {array_name(name): x for name, x in flat.items()})
        if sharding is not None:
            state = _place(state, sharding)
        return Restored(state, step, about.config, about.data, where)

    def config(self, step: int) -> dict[str, Any]:
        """The configuration of the run that saved a checkpoint.

        Raises:
          ValueError: it is damaged.
        """
        return self._about(step).config

    def _about(self, step: int) -> _About:
        with _damage(self.directory / str(step)):
            meta = self._manager.restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            )["meta"]
            if "about" in meta and _about_checksum(meta) != meta["about"]:  # not in old runs
                raise ValueError("the checksum of its description differs")
            if meta.get("step", step) != step:
                raise ValueError(f"it is of step {meta['step']}, under another name")
            arrays = {name: _empty(x) for name, x in meta["arrays"].items()}
            return _About(arrays, upgrade(meta["config"]), meta["data"], meta["checksum"])


def _place(state: Any, sharding: Any) -> Any:
    """Puts arrays from host memory onto the devices; each process puts its own shards."""

    def place(x: np.ndarray, where: Sharding) -> jax.Array:
        return jax.make_array_from_callback(x.shape, where, lambda part: x[part])

    if isinstance(sharding, Sharding):
        return jax.tree.map(lambda x: place(x, sharding), state)
    return jax.tree.map(place, state, sharding)


class _DamagedError(ValueError):
    """A checkpoint that cannot be read, or whose checksum does not match."""


@contextlib.contextmanager
def _damage(where: epath.Path) -> Iterator[None]:
    """Takes errors of reading a checkpoint for damage, unless another attempt may succeed."""
    try:
        yield
    except (PermissionError, MemoryError, ConnectionError, TimeoutError):
        raise
    except Exception as error:  # Orbax passes on any error of its file formats
        if any(word in str(error) for word in _PASSING):
            raise OSError(f"Checkpoint {where} cannot be read ({_first_line(error)}).") from error
        raise _DamagedError(f"Checkpoint {where} is damaged ({_first_line(error)})") from error


def _reason(error: BaseException) -> str:
    """Why a file could not be written: of an error of TensorStore, that of the system in it."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return os.strerror(int(code[1])) if code else _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_same_model(where: epath.Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises a ValueError listing the arrays that differ."""
    differ = [
        f"{name}: found {found.get(name, 'nothing')}, required {wanted.get(name, 'nothing')}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if differ:
        more = f"\n  and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise ValueError(
            f"Checkpoint {where} is of another model:\n  "
            + "\n  ".join(differ[:5])
            + more
            + "\nUse the configuration it was trained with (config.json beside it), or another "
            "--workdir."
        )


def _describe(x: Any) -> str:
    """Dtype and shape, such as 'float32[96, 32]'."""
    return f"{np.dtype(x.dtype)}{list(x.shape)}"


def _empty(described: str) -> np.ndarray:
    """An uninitialized array of the dtype and shape described by `_describe`."""
    dtype, _, shape = described.rstrip("]").partition("[")
    return np.empty([int(size) for size in shape.split(",") if size], jnp.dtype(dtype))


# --- The configuration of a workdir ---------------------------------------------------------

_FREE_TO_CHANGE = (
    "eval",
    "checkpoint",
    "log",
    "profile",
    "devices",
    "mesh",
    "data.workers",
    "data.prefetch",
    "data.dir",
    "data.path",
    "train.length",
    "model.attention",
    "model.remat",
    "model.remat_layers",
    "model.keep_attention",
)


def check_workdir(workdir: epath.Path, config: dict[str, Any]) -> None:
    """Checks that `config.json` in the workdir, if any, describes the same experiment.

    Raises:
      ValueError: listing the fields that differ, or that the file is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        return
    found = read_config(path)
    check_same_experiment(workdir, found, config)


def check_same_experiment(where: epath.Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    """Checks that the run at `where` has the same configuration.

    Fields that do not affect the parameters may differ: evaluation, checkpoints, logging, devices,
    the path of the data (its fingerprint is compared elsewhere), and the length of training unless
    the learning rate schedule depends on it.

    Raises:
      ValueError: listing the fields that differ.
    """
    free: tuple[str, ...] = _FREE_TO_CHANGE
    if config["optimizer"]["schedule"] != "constant":
        free = tuple(name for name in free if name != "train.length")
    old, new = named_fields(found), named_fields(config)
    differ = [
        f"{name}: {old.get(name)!r} there, {new.get(name)!r} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        and not any(name == f or name.startswith(f + ".") for f in free)
    ]
    if differ:
        raise ValueError(
            f"{where} holds another experiment:\n  "
            + "\n  ".join(differ)
            + "\nUse another --workdir, or the configuration of this one."
        )
