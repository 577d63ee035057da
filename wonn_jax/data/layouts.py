"""Where the examples of a split lie: in files, folders and archives, with or without splits.

parts, separate = parts_of("maze-30x30-hard-1k", "test")
parts[0].inputs.where, parts[0].labels.where        # '…/test/all__inputs.npy', …
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from wonn_jax.common.folders import local_path
from wonn_jax.data.documents import Document, Place, as_folder, documents, members

_PAIRS = {"all__inputs": "all__labels", "features": "labels"}
_ARRAYS = (".npy", ".pt")
_SPLITS = {"train": ("train", "training"), "test": ("test", "valid", "validation", "val", "eval")}
_ABOUT = re.compile(r"readme|licen[cs]e|citation|.*\.(?:md|py|ipynb|json|yaml|yml)", re.IGNORECASE)


class Part(NamedTuple):
    """A file of examples; and that of their labels, if another file has them."""

    inputs: Document
    labels: Document | None = None

    @property
    def changed(self) -> tuple[float, ...]:
        """When the files on disk were last changed."""
        places = [x.place for x in self if x is not None]
        return tuple(x.stat().st_mtime for x in places if isinstance(x, Path))


def parts_of(file: str, split: str = "") -> tuple[list[Part], bool]:
    """The files that hold a split.

    Files or folders whose names begin with `train` and with `test` (or `valid`, if there is no
    test) are these splits. In a folder, `all__inputs.npy` and `all__labels.npy`, or `features` and
    `labels` (.npy or .pt), belong together.

    Args:
      file: a file, a folder or a zip archive; '-' for standard input.
      split: 'train' or 'test'; '' for whatever there is, the test if there are both.

    Returns:
      The files, and whether they hold that split alone; otherwise they hold all examples.

    Raises:
      OSError: there is no such file.
      ValueError: a URL; there is no file of the split.
    """
    found = documents(file) if file == "-" else [Document(file, local_path(file, "FILE"))]
    folder = as_folder(found[0])
    if folder is None:
        return [_with_labels(found[0])], False
    names = [x for x in members(folder) if not _ABOUT.fullmatch(x.name) or x.is_dir()]
    splits = {name: _of_split(names, words) for name, words in _SPLITS.items()}
    if not any(splits.values()):
        return _parts(folder, file), False
    split = split or ("test" if splits["test"] else "train")
    if not splits[split]:
        raise ValueError(
            f"{file} holds {', '.join(x.name for x in names)}, and nothing for the split "
            f"{split!r}. Required: a file or folder whose name begins with {split}."
        )
    parts: list[Part] = []
    for place in splits[split]:
        where = f"{file}/{place.name}"
        parts += _parts(place, where) if place.is_dir() else [Part(Document(where, place))]
    return parts, True


def _of_split(places: list[Place], words: Sequence[str]) -> list[Place]:
    """The files or folders whose name begins with the first word that any of them begins with."""
    for word in words:
        pattern = re.compile(rf"{word}(?![a-z]).*", re.IGNORECASE)
        if found := [x for x in places if pattern.fullmatch(x.name)]:
            return found
    return []


def _parts(folder: Place, where: str) -> list[Part]:
    """The files of a folder: two that belong together, or each by itself."""
    files = {x.name: x for x in members(folder) if x.is_file()}
    for name in (stem + ending for stem in _PAIRS for ending in _ARRAYS):
        if name in files:
            return [_with_labels(Document(f"{where}/{name}", files[name]))]
    kept = [x for x in files.values() if not _ABOUT.fullmatch(x.name)] or list(files.values())
    if not kept:
        raise ValueError(f"{where} holds no files of examples. Give a folder with files.")
    return [Part(Document(f"{where}/{x.name}", x)) for x in kept]


def _with_labels(document: Document) -> Part:
    """A file, and that of its labels if its name says that there is one beside it."""
    place = document.place
    if isinstance(place, bytes):
        return Part(document)
    stem, dot, ending = place.name.rpartition(".")
    labels = _PAIRS.get(stem)
    if labels is None or dot + ending not in _ARRAYS:
        return Part(document)
    name = labels + dot + ending
    other = next((x for x in members(cast(Place, place.parent)) if x.name == name), None)
    where = document.where.removesuffix(place.name) + name
    if other is None:
        raise FileNotFoundError(
            f"{where} is not there, though {document.where} is. Required: both. Copy the labels of "
            "the same boards next to it."
        )
    return Part(document, Document(where, other))
