"""Checkpoints and resuming, on top of Orbax.

Checkpoint k is the state after k updates. It holds every array under a flat name
('params.coupling_0.qkv.kernel'), the configuration as JSON, and a checksum, so that a damaged
one is noticed and not trained on. The last few are kept under `checkpoints/`, the best one
under `best/`.

Of several processes, number 0 writes whole arrays, and each reads them all and takes its parts: a
checkpoint depends neither on the mesh nor on the number of processes. Both are affordable, as the
models are small (with Adam and EMA, 12 million parameters come to 200 MB). Orbax does not know of
the other processes, so none waits for another inside it.
"""

import dataclasses
import functools
import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from wonn_jax.checks import at_least, length
from wonn_jax.dist import hosts
from wonn_jax.files import named_fields, read_object
from wonn_jax.train.upgrade import array_name, upgrade

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run."""

    every: str = "10 minutes"  # or steps, epochs; and at the end
    keep: int = 3  # last ones
    best: str = "ema_accuracy"  # evaluation metric of which the best is kept too; '': none

    def check(self) -> None:
        at_least(1, "checkpoint", self, "keep")
        length("checkpoint.every", self.every)

    def check_metric(self, known: Sequence[str]) -> None:
        """Raises a ValueError if `best` is none of the known metrics."""
        if self.best and self.best not in known:
            raise ValueError(
                f"config.checkpoint.best={self.best!r} is no metric of this task; use one of "
                f"{', '.join(known)}, or ''."
            )

    @property
    def sign(self) -> float:
        """1 if the best metric is the highest, −1 if it is the lowest: a loss."""
        return -1.0 if self.best.endswith("loss") else 1.0


Flat = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state and where it came from."""

    state: Any
    step: int
    config: dict[str, Any]
    data: str  # fingerprint of the data
    directory: Path


def flatten(tree: Any) -> Flat:
    """Leaves by name, 'params.coupling_0.qkv.kernel'."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def unflatten(like: Any, flat: Flat) -> Any:
    """The tree of the structure of `like` from its named leaves."""
    return jax.tree.unflatten(jax.tree.structure(like), [flat[name] for name in flatten(like)])


def checksum(flat: Flat) -> str:
    """Digest of names, shapes, dtypes and every bit of the arrays."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        array = np.asarray(flat[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def _replicate(mesh: Mesh) -> Any:
    return jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _within_reach(flat: Flat) -> Flat:
    """The same arrays, those split over processes replicated; all processes must call it."""

    def out_of_reach(x: Any) -> bool:
        return isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)

    split = {name: x for name, x in flat.items() if out_of_reach(x)}
    if not split:
        return flat
    return flat | _replicate(next(iter(split.values())).sharding.mesh)(split)


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """False: the loop asks, on all hosts; a host that asked twice would be out of step."""
        return False


class Checkpoints:
    """The checkpoints of one directory; use as a context, which waits for the last save.

    Every process has one and calls the same methods in the same order; process 0 writes.

    Args:
      directory: absolute or relative; made if missing.
      keep: how many of the newest to keep.
      writable: False for reading only, beside a run that may be writing.
    """

    def __init__(self, directory: str | Path, keep: int, *, writable: bool = True):
        self.directory = Path(directory).resolve()
        self._damaged: list[int] = []
        process = jax.process_index()
        self._writes = writable and process == 0
        if self._writes:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left in self.directory.glob("*.orbax-checkpoint-tmp*"):
                log.warning("%s was not written to its end; it is removed.", left)
        if writable:
            hosts.barrier(f"{self.directory.name} made")
        alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
        self._manager = _Manager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep if self._writes else None,
                create=False,
                read_only=not writable,
                cleanup_tmp_directories=self._writes,
                multiprocessing_options=alone,
            ),
            item_names=("state", "meta"),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._wait_here()
        self._manager.close()

    def wait(self) -> None:
        """Until the last save is on disk, and all hosts know.

        Raises:
          OSError: it could not be written; the checkpoints before it are intact.
        """
        self._wait_here()
        hosts.barrier(f"{self.directory.name} on disk")

    def _wait_here(self) -> None:
        if not self._writes:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # whatever the background thread of Orbax met
            raise OSError(
                f"A checkpoint could not be written into {self.directory} "
                f"({_first_line(error)}). The ones before ({self._listed()}) are untouched; make "
                "sure of room and rights there, then the same command goes on from the last."
            ) from error

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first."""
        if not self._writes:
            self._manager.reload()  # another process has saved meanwhile
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, config: dict[str, Any], data: str = "") -> None:
        """Saves in the background; a step that is already there is left as it is.

        Args:
          step: number of updates made.
          state: a tree of arrays, which may be split over devices and processes.
          config: of the run, as JSON.
          data: fingerprint of the data.

        Raises:
          OSError: not enough room on the disk; nothing was written.
        """
        flat = _within_reach(flatten(state))
        if not self._writes or step in self._manager.all_steps():
            return
        self._wait_here()
        self.check_room(flat)
        # On a CPU these are views of what the next update may write into; Orbax copies them first.
        flat = {name: np.asarray(x) for name, x in flat.items()}
        meta = {
            "step": step,
            "config": config,
            "data": data,
            "arrays": {name: _describe(x) for name, x in flat.items()},
            "checksum": checksum(flat),
        }
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(flat), meta=ocp.args.JsonSave(meta)
            ),
            force=True,  # also a step before one that is there: a best one of before the resume
        )
        if not saved:
            raise OSError(f"The checkpoint of step {step} was not accepted in {self.directory}.")

    def check_room(self, state: Any) -> None:
        """Raises an OSError if one more checkpoint of `state` does not fit on the disk."""
        if not self._writes:
            return
        need = sum(x.nbytes for x in flatten(state).values()) + 2**20
        free = shutil.disk_usage(self.directory).free
        if free < need:
            raise OSError(
                f"A checkpoint needs {need / 2**20:.0f} MiB and {self.directory} has "
                f"{free / 2**20:.0f} MiB left. The checkpoints there ({self._listed()}) are "
                "untouched; free some space, or go on elsewhere with a copy and --workdir."
            )

    def _listed(self) -> str:
        return ", ".join(str(step) for step in self.steps()) or "none"

    def restore(self, like: Any, sharding: Any = None, *, partial: bool = False) -> Restored | None:
        """The newest checkpoint that is whole; None if the directory holds none at all.

        Damaged ones are reported, and left where they are (see `set_aside_damaged`).

        Args:
          like: a tree of the shapes and dtypes to restore (arrays or `ShapeDtypeStruct`).
          sharding: where to put the arrays, one `Sharding` or a tree of them like `like`; None for
            host memory.
          partial: whether the checkpoint may hold more than `like`, which is then left out.

        Raises:
          ValueError: a checkpoint of another model, or all of them are damaged.
        """
        self._damaged = []
        for step in reversed(self.steps()):
            try:
                return self.restore_step(step, like, sharding, partial=partial)
            except _DamagedError as error:
                log.error("%s; trying the one before.", error)
                self._damaged.append(step)
        if self._damaged:
            raise ValueError(
                f"All checkpoints in {self.directory} are damaged (steps "
                f"{', '.join(map(str, self._damaged))}). Restore one of them from a copy, or begin "
                "anew with another --workdir; nothing was changed."
            )
        return None

    def set_aside_damaged(self) -> None:
        """Moves what `restore` found damaged out of the way of the steps to be saved again."""
        damaged = hosts.broadcast(lambda: self._damaged)
        if not damaged:
            return
        if self._writes:
            for step in damaged:
                place = self.directory.parent / "damaged" / f"{self.directory.name}-{step}"
                while place.exists():
                    place = place.with_name(place.name + "-again")
                place.parent.mkdir(exist_ok=True)
                (self.directory / str(step)).rename(place)
                log.warning("Moved the damaged checkpoint of step %d to %s.", step, place)
        hosts.barrier("damaged checkpoints set aside")
        self._damaged = []
        self._manager.reload()

    def forget_after(self, step: int) -> None:
        """Removes checkpoints of later steps, which will be run again."""
        if self._writes:
            for later in [found for found in self.steps() if found > step]:
                self._manager.delete(later)

    def restore_step(
        self, step: int, like: Any, sharding: Any = None, *, partial: bool = False
    ) -> Restored:
        """The checkpoint of one step; see `restore`.

        Raises:
          ValueError: no such step, another model, or damaged.
        """
        if step not in self.steps():
            raise ValueError(
                f"{self.directory} has no checkpoint of step {step}; it has {self._listed()}."
            )
        wanted = flatten(like)
        where = self.directory / str(step)
        try:
            meta = self._manager.restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            )["meta"]
            arrays, config, data = meta["arrays"], meta["config"], meta["data"]
            expected = meta["checksum"]
        except (PermissionError, MemoryError):
            raise  # no damage
        except Exception as error:  # Orbax raises whatever its file formats do
            raise _DamagedError(f"Checkpoint {where} is damaged ({_first_line(error)})") from error
        found = {array_name(name): x for name, x in arrays.items()}
        if partial:
            found = {name: x for name, x in found.items() if name in wanted}
        _check_same_model(where, found, {name: _describe(x) for name, x in wanted.items()})
        target = {name: _empty(x) for name, x in arrays.items()}
        try:
            flat = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
            )["state"]
        except (PermissionError, MemoryError):
            raise
        except Exception as error:
            raise _DamagedError(f"Checkpoint {where} is damaged ({_first_line(error)})") from error
        if checksum(flat) != expected:
            raise _DamagedError(f"Checkpoint {where} is damaged (its checksum differs)")
        state = unflatten(like, {array_name(name): x for name, x in flat.items()})
        if sharding is not None:
            state = _place(state, sharding)
        return Restored(state, step, upgrade(config), data, where)


def _place(state: Any, sharding: Any) -> Any:
    """Arrays of host memory onto the devices; each process takes its parts of them."""

    def place(x: np.ndarray, where: Sharding) -> jax.Array:
        return jax.make_array_from_callback(x.shape, where, lambda part: x[part])

    if isinstance(sharding, Sharding):
        return jax.tree.map(lambda x: place(x, sharding), state)
    return jax.tree.map(place, state, sharding)


class _DamagedError(ValueError):
    """A checkpoint that cannot be read or is not what was written."""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_same_model(where: Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises a ValueError that names the arrays which differ."""
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
    """'float32[96, 32]'."""
    return f"{np.dtype(x.dtype)}{list(x.shape)}"


def _empty(described: str) -> np.ndarray:
    """An array of the dtype and shape that `_describe` has written."""
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
    "model.keep_attention",
)


def check_workdir(workdir: Path, config: dict[str, Any]) -> None:
    """Checks that `config.json`, if there is one, is of the same experiment.

    Raises:
      ValueError: listing the fields that differ, or that the file is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        return
    found = upgrade(read_object(path))
    check_same_experiment(workdir, found, config)


def check_same_experiment(where: Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    """Checks that what lies at `where` was made with the same configuration.

    Free to change are fields that do not alter the run up to its end: evaluation, checkpoints,
    logging, devices, where the data lies (its fingerprint is checked apart), and the length of
    training unless the schedule depends on it.

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
