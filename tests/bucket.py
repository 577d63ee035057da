"""A bucket of Google Cloud Storage on this machine: gs://BUCKET/NAME is a file of a folder.

It is as strict as a bucket: nothing can be appended to an object, one appears when it is closed,
folders are no more than parts of names, and are neither made nor renamed nor listed when empty.
Only what reaches the network is replaced, below epath and below Orbax.

    python tests/bucket.py FOLDER MODULE FLAG...                      runs a module with it
"""

import contextlib
import glob
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from etils.epath import backend, gpath, stat_utils
from orbax.checkpoint._src.path import gcs_utils

from wonn_jax.common import folders
from wonn_jax.train import lock


class Bucket(backend.Backend):
    """What epath asks of a bucket, with files below `root`."""

    def __init__(self, root: Path):
        self.root = root

    def local(self, path: Any) -> Path:
        """The file or folder of a name."""
        return self.root / os.fspath(path).removeprefix("gs://")

    @contextlib.contextmanager
    def open(self, path, mode):
        if "r" in mode:
            with open(self.local(path), mode) as file:
                yield file
            return
        assert "a" not in mode, f"{path}: gcsfs replaces what it should append to"
        place = self.local(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        hidden = self.root / f"upload-{os.getpid()}-{id(place)}"
        with open(hidden, mode) as file:
            yield file
        hidden.replace(place)

    def exists(self, path):
        return self.local(path).is_file() or self.isdir(path)

    def isdir(self, path):
        return any(files for _, _, files in os.walk(self.local(path)))

    def listdir(self, path):
        names = sorted(os.listdir(self.local(path))) if self.isdir(path) else []
        found = [name for name in names if self.exists(f"{os.fspath(path)}/{name}")]
        if not found:
            raise FileNotFoundError(path)
        return found

    def glob(self, path):
        found = map(Path, glob.glob(os.fspath(self.local(path))))
        return [f"gs://{x.relative_to(self.root)}" for x in found]

    def makedirs(self, path, *, exist_ok=False, mode=None):
        """Nothing, as with gcsfs."""

    def mkdir(self, path, *, exist_ok=False, mode=None):
        """Nothing, as with gcsfs."""

    def rmtree(self, path):
        if not self.isdir(path):
            raise FileNotFoundError(path)
        shutil.rmtree(self.local(path))

    def remove(self, path):
        self.local(path).unlink()

    def copy(self, path, dst, overwrite):
        self.local(dst).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.local(path), self.local(dst))

    def stat(self, path):
        if not self.exists(path):
            raise FileNotFoundError(path)
        place = self.local(path)
        size = place.stat().st_size
        return stat_utils.StatResult(place.is_dir(), size, int(place.stat().st_mtime))

    def rename(self, path, dst):
        raise NotImplementedError(f"{path}: objects cannot be renamed")

    def replace(self, path, dst):
        raise NotImplementedError(f"{path}: objects cannot be renamed")

    def walk(self, top, *, top_down=True, on_error=None):
        raise NotImplementedError("gives other paths with fsspec than with TensorFlow")


@contextlib.contextmanager
def bucket(root: Path) -> Iterator[Bucket]:
    """All gs:// paths of this process are below `root`."""
    made = Bucket(root)

    def kvstore(path: str) -> dict[str, str]:
        return {"driver": "file", "path": f"{made.local(path)}/"}

    with (
        mock.patch.dict(gpath._PREFIX_TO_BACKEND, gs=made),
        mock.patch.object(gpath, "_is_tf_installed", lambda: False),
        mock.patch.object(gcs_utils, "get_kvstore_for_gcs", kvstore),
        mock.patch.object(gcs_utils, "is_hierarchical_namespace_enabled", lambda _: False),
        mock.patch.object(folders, "_installed", lambda _: True),
        mock.patch.object(lock, "BEAT_SECONDS", 0.2),
        mock.patch.object(lock, "PATIENCE_SECONDS", 2.0),
        mock.patch.object(lock, "SETTLING_SECONDS", 0.1),
    ):
        yield made


if __name__ == "__main__":
    _, place, module, *sys.argv[1:] = sys.argv
    with bucket(Path(place)):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
