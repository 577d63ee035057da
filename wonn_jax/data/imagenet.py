"""ImageNet and subsets of it, from class folders or TFDS."""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from wonn_jax.common.checks import at_least
from wonn_jax.common.folders import local_path
from wonn_jax.config import register
from wonn_jax.data import images, source
from wonn_jax.data.documents import decode

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
)
"""Of image files, upper or lower case."""
_UNREAD = (".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".hdr", ".tga", ".npy")
_TEST_FOLDERS = ("val", "validation", "test")  # the first that exists is read


@register("imagenet")
@dataclasses.dataclass(frozen=True)
class ImageNet(images.ImageData):
    """ImageNet, subsets of it, or other folders of classes; see `load` for `path`."""

    classes: int = 1000
    image_size: int = 224
    resize: int = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    class_list: str = ""  # file with the class folders to use, one per line; '': all
    damaged_limit: int = 10  # images that may be unreadable, for each loading process

    def check(self) -> None:
        super().check()
        local_path(self.class_list, "config.data.class_list")
        at_least(0, "data", self, "damaged_limit")

    def unused(self) -> dict[str, str]:
        return super().unused() | {"dir": "images of ImageNet are read where data.path says"}

    def pictures(self, split: str) -> images.DecodedSource:
        return load(
            self.place,
            split=split,
            classes=self.classes,
            class_list=self.class_list and local_path(self.class_list, "config.data.class_list"),
            damaged_limit=self.damaged_limit,
        )


def load(
    path: str | os.PathLike,
    *,
    split: str,
    classes: int,
    class_list: str | os.PathLike = "",
    damaged_limit: int,
) -> images.DecodedSource:
    """Loads one split of ImageNet, whose images differ in size and are decoded at each access.

    Labels follow the order of `class_list`, or of the sorted names of all classes.

    Args:
        path: folder with train/ and val/ (or validation/, or test/), each with one folder of
            image files per class; or a folder that TFDS has prepared as array_record.
        split: "train" or "test"; "test" is the validation set of ImageNet.
        classes: number of classes.
        class_list: text file with the names of the classes to keep (folders such as n01440764),
            one per line, with comments after a #; words after the name are ignored, as in
            synset_words.txt. Or JSON: a list, or ImageNet's class index. Empty to keep all.
        damaged_limit: largest number of damaged images to tolerate in each loading process; see
            `images.DecodedSource`.

    Raises:
        FileNotFoundError: a folder or the class list does not exist.
        ValueError: classes are missing or empty, or their number is not `classes`.
    """
    source.check_request("imagenet", split, 1, 1)
    path = os.fspath(path)
    wanted = _read_class_list(os.fspath(class_list)) if class_list else []
    if wanted:
        _check_count(len(wanted), classes, os.fspath(class_list))
    if os.path.isfile(os.path.join(path, "dataset_info.json")):
        return _from_records(path, split, classes, wanted, damaged_limit)
    train = os.path.join(path, "train")
    tests = [os.path.join(path, name) for name in _TEST_FOLDERS]
    test = next((folder for folder in tests if os.path.isdir(folder)), "")
    if not path or not os.path.isdir(train) or not test:
        raise FileNotFoundError(
            f"ImageNet at {path or 'no path'!r}: found {_found(path)}. Required: a folder with "
            "train/ and val/, each with one folder of image files per class, or a folder of TFDS "
            "in array_record. It cannot be fetched without an account: register at "
            "https://image-net.org, unpack it like this, and type --config.data.path=FOLDER"
        )
    names = {folder: _class_folders(folder) for folder in (train, test)}
    if wanted:
        for folder, found in names.items():
            chosen = images.chosen_names(wanted, found, folder)
    elif names[train] != names[test]:
        only = [sorted(set(names[a]) - set(names[b])) for a, b in ((train, test), (test, train))]
        raise ValueError(
            f"{train} and {test} have different classes: only in the first {images.some(only[0])}, "
            f"only in the second {images.some(only[1])}. Required: the same folders in both. "
            "Move the images into folders of their classes, or type "
            "--config.data.class_list=FILE with the names to keep, one per line."
        )
    else:
        chosen = names[train]
        _check_count(len(chosen), classes, path)
    folder = train if split == "train" else test
    files, labels = [], []
    for label, name in enumerate(chosen):
        inside = _image_files(os.path.join(folder, name))
        files += [os.path.join(name, file) for file in inside]
        labels += [label] * len(inside)
    return images.FolderSource("imagenet", split, folder, files, labels, chosen, damaged_limit)


def _from_records(
    path: str, split: str, classes: int, class_list: Sequence[images.Line], damaged_limit: int
) -> images.RecordSource:
    # The test split of TFDS has no labels in some versions: prefer validation.
    records = ("train",) if split == "train" else ("validation", "test")
    result = images.RecordSource("imagenet", split, path, records, class_list, damaged_limit)
    _check_count(len(result.classes), classes, path)
    return result


def _read_class_list(file: str) -> list[images.Line]:
    """The lines of a class list that name classes."""
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"{file} is not there. Required: a text file with one class name per line. Correct "
            "--config.data.class_list, or leave it out to keep all classes."
        )
    text = decode(Path(file).read_bytes(), file)
    if text.lstrip().startswith(("{", "[")):
        names = _class_index(text, file)
    else:
        lines = [re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines()]
        names = [images.Line(file, f"line {n}", line) for n, line in enumerate(lines, 1) if line]
    if not names:
        raise ValueError(
            f"{file}: found 0 names. Required: the name of a class in each line. Write them there, "
            "or leave out --config.data.class_list to keep all classes."
        )
    return names


def _class_index(text: str, file: str) -> list[images.Line]:
    """The names in JSON: a list, {"0": [folder, description], …} or {folder: 0, …}, by label."""
    try:
        found = json.loads(text)
        if isinstance(found, dict) and all(type(x) is int for x in found.values()):
            if len(set(found.values())) < len(found):
                raise ValueError("two classes have the same label")
            found = sorted(found, key=found.__getitem__)
        elif isinstance(found, dict):
            found = [found[key] for key in sorted(found, key=int)]
        names = [item if isinstance(item, str) else item[0] for item in found]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{file} is no class list in JSON ({error}). Required: a list of names, "
            '{"0": ["n01440764", "tench"], …} or {"n01440764": 0, …}; '
            "or a text file with one class name per line."
        ) from error
    return [images.Line(file, f"entry {n}", str(name)) for n, name in enumerate(names, 1)]


def _check_count(found: int, classes: int, where: str) -> None:
    if found != classes:
        raise ValueError(
            f"{where} has {found} classes. Required: {classes}, as configured. Type "
            f"--config.data.classes={found}, or --config.data.class_list=FILE with the {classes} "
            "names to keep, one per line."
        )


def _class_folders(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        hidden = (".", "__MACOSX")
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(hidden))


def _image_files(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        inside = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    names = [name for name in inside if name.lower().endswith(SUFFIXES)]
    if not names:
        raise ValueError(
            f"{folder} has no image file: found {images.some(inside)}. Required: at "
            f"least one {', '.join(SUFFIXES)}. Copy the images of this class, or "
            "remove the folder from train and test alike."
        )
    unread = [name for name in inside if name.lower().endswith(_UNREAD)]
    if unread:
        log.warning(
            "%s: %s not read. Convert images to PNG or JPEG to use them.",
            folder,
            images.some(unread),
        )
    return names


def _found(path: str) -> str:
    if os.path.isfile(path):
        return "a file, which may have to be unpacked"
    if not os.path.isdir(path):
        return "nothing"
    return images.some(sorted(os.listdir(path)))
