"""Where a run lies: in a local folder, or in a bucket of Google Cloud Storage (gs://BUCKET/PATH).

Both are an `epath.Path`, which reads and writes them alike. But a bucket has objects, not files:
nothing can be appended to one, folders exist only as parts of the names of objects, and they can
be copied, but not renamed.
"""

import contextlib
import errno
import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from etils import epath

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HALF_URL = re.compile(r"(gs|s3|az|hf):/?(?!/)")


def parse_path(text: epath.PathLike) -> epath.Path:
    """The absolute path that a person has typed: local, with `~` or not, file:///PATH or gs://.

    Raises:
      ValueError: another kind of URL, or what cannot be a path.
      ImportError: gs:// without the packages for it.
      OSError: a bucket that cannot be reached.
    """
    text = os.fspath(text)
    if half := _HALF_URL.match(text):
        raise ValueError(
            f"{text!r} is neither a path nor a URL; use {half[1]}://{text[half.end() :]}, or "
            f"./{text} for a local folder of that name."
        )
    url = _URL.match(text)
    if text.startswith("file:"):
        return _local(_path_of(text))
    if url is None:
        return _local(text)
    if url[1] != "gs":
        raise ValueError(
            f"{text!r} is neither a local path nor gs://BUCKET/PATH, which is all that runs can be "
            "written to. Mount other storage as a folder."
        )
    return _bucket(text)


_COPY = {
    "gs": "gcloud storage cp -r {} .",
    "s3": "aws s3 cp {} .",
    "http": "curl -LO {}",
    "https": "curl -LO {}",
}


def local_path(text: str | os.PathLike[str], what: str) -> Path:
    """The path on this machine that a person has typed: with `~` or not, or file:///PATH.

    Args:
      text: the path.
      what: what it is the path of, for messages, such as 'config.data.path'.

    Raises:
      ValueError: a URL of data elsewhere, or what cannot be a path.
    """
    text = os.fspath(text)
    if text.startswith("file:"):
        return Path(_path_of(text))
    if url := _URL.match(text) or _HALF_URL.match(text):
        way = _COPY.get(url[1].lower(), "").format(f"{url[1]}://{text[url.end() :]}")
        raise ValueError(
            f"{what}={text!r} is a URL. Required: a path on this machine. Copy what is there to "
            f"this machine{f' ({way})' if way else ''} and give the path of the copy, or mount the "
            "storage as a folder."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # an unknown user after ~
        raise ValueError(f"{what}={text!r} is not a path: {error}") from error


def _bucket(url: str) -> epath.Path:
    bucket, *names = url.removeprefix("gs://").split("/")
    if not bucket or ".." in (bucket, *names):
        raise ValueError(f"{url!r} must be gs://BUCKET or gs://BUCKET/PATH, without '..'.")
    missing = [] if _installed("gcsfs") or _installed("tensorflow") else ["gcsfs"]
    missing += [] if _installed("google.cloud.storage") else ["google-cloud-storage"]
    if missing:
        packages = " ".join(missing)
        raise ImportError(f"{url} needs packages that are missing: pip install {packages}.")
    import fsspec

    # Other processes write there, too: folders have to be listed anew each time.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    path = epath.Path("/".join(["gs:/", bucket, *(x for x in names if x not in ("", "."))]))
    with naming(path):
        path.exists()
    return path


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(f"{url!r} must be file:///PATH, an absolute path on this machine.")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has ? or # in it; use the path, without file://.")
    return url2pathname(parts.path)


def _local(text: str) -> epath.Path:
    try:
        path = Path(text).expanduser().resolve()
    except RuntimeError as error:  # an unknown user after ~, or a loop of links
        raise ValueError(f"{text!r} is not a path: {error}") from error
    found = epath.Path(path)
    if is_remote(found):
        raise ValueError(f"{path} is {found} to etils and Orbax; mount it as another folder.")
    return found


def absolute(path: epath.PathLike) -> epath.Path:
    """The same path, which the working directory has no part in."""
    return epath.Path(path) if is_remote(path) else epath.Path(Path(path).resolve())


@contextlib.contextmanager
def naming(path: epath.PathLike) -> Iterator[None]:
    """Makes errors of reading and writing a path name it.

    That of a full disk names none; those of a bucket are of many kinds, and become OSErrors.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or is_remote(path):
            raise _unreachable(path, error) from error
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except Exception as error:
        if not is_remote(path):
            raise
        raise _unreachable(path, error) from error


@contextlib.contextmanager
def naming_full_disk(folder: epath.PathLike) -> Iterator[None]:
    """Makes the error of a full disk name `folder`, unless it names a file already.

    Python leaves the name out where writing fails, and not each library adds it.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(folder)) from error


def _unreachable(path: epath.PathLike, error: Exception) -> OSError:
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    return OSError(
        f"{path} cannot be read or written ({type(error).__name__}: {reason}). Check the path, the "
        "permissions and the network."
    )


def writable_folder(folder: epath.Path) -> list[Path]:
    """Makes a folder, unless it exists, and checks that files can be written there.

    Returns:
      The folders that were made, innermost first.

    Raises:
      OSError: it is a file, or nothing can be written there.
    """
    if is_remote(folder):
        return []  # which exist with what is in them
    path = Path(folder)
    missing = [p for p in (path, *path.parents) if not p.exists()]
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the path of a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()
        raise OSError(
            f"Nothing can be written into {path} ({error.strerror}). Make it writable, or use "
            "another folder."
        ) from error
    return missing


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is in a bucket."""
    return os.fspath(path).startswith("gs://")


def listed(folder: epath.Path) -> list[epath.Path]:
    """What is in a folder; nothing if there is no folder, as of an empty one in a bucket."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def make_folder(path: epath.Path) -> None:
    """Makes a folder, unless it exists; in a bucket, none has to be made."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def copy_folder(source: epath.Path, target: epath.Path) -> None:
    """Copies all files of a folder, which replace those of the same name in `target`."""
    make_folder(target)
    for path in source.iterdir():
        if path.is_dir():
            copy_folder(path, target / path.name)
        else:
            (target / path.name).write_bytes(path.read_bytes())


def move_folder(source: epath.Path, target: epath.Path) -> None:
    """Moves a folder to a path that does not exist."""
    if is_remote(source):
        copy_folder(source, target)
        source.rmtree()
    else:
        make_folder(target.parent)
        os.rename(source, target)
