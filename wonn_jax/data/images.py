"""Shared by the image data sets: examples in memory, in class folders, and in records of TFDS."""

import abc
import dataclasses
import functools
import hashlib
import logging
import math
import os
import re
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from wonn_jax.common.checks import at_least
from wonn_jax.data import source
from wonn_jax.data.augment import Augment, Evaluate, ImageAugmentation
from wonn_jax.data.base import Augmentation, DataSet
from wonn_jax.data.decoding import decode
from wonn_jax.data.pipeline import Transformed

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ImageData(DataSet):
    """Labelled colour images, and the settings that all of these data sets share."""

    classes: int = 10
    image_size: int = 32  # side of what the network sees, pixels
    resize: int = 0  # evaluation: shorter side before the centre is cut out; 0: sizes are right
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # of the channels, of values from 0 to 1
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def check(self) -> None:
        super().check()
        at_least(1, "data", self, "classes", "image_size")
        at_least(0, "data", self, "resize")
        finite = all(map(math.isfinite, self.mean + self.std))
        if not finite or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"config.data.mean={self.mean} and config.data.std={self.std} must be three "
                "numbers each, the standard deviations above 0: "
                "--config.data.mean='(0.5, 0.5, 0.5)', say."
            )
        if 0 < self.resize < self.image_size:
            raise ValueError(
                f"config.data.resize={self.resize} must be at least config.data.image_size="
                f"{self.image_size}, which is cut out of it, or 0."
            )

    def pictures(self, split: str) -> "ImageSource":
        """The images of a split as they are stored.

        Raises:
          OSError, ValueError: data that is missing or malformed.
        """
        raise NotImplementedError

    def load(self, split: str, augment: Augmentation) -> Transformed:
        if not isinstance(augment, ImageAugmentation):
            raise ValueError(
                f"config.augment.name={augment.name!r} is not for images; use 'image', whose "
                "changes are all off by default."
            )
        source: Any = self.pictures(split)
        transform: Any
        if split == "train":
            transform, cut = Augment(augment, self.image_size), augment.crop_scale > 0
            way = "--config.augment.crop_scale=0.08 to cut such images out of others"
        else:
            transform, cut = Evaluate(self.image_size, self.resize), self.resize > 0
            way = f"--config.data.resize={self.image_size} to make them so"
        # Checked with the first image, before training begins.
        height, width = source[0]["image"].shape[:2]
        if not cut and (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"{source!r} has images of {height}×{width}, not of config.data.image_size="
                f"{self.image_size}. Use --config.data.image_size={height} if they are square, or "
                f"{way}."
            )
        return Transformed(source, transform)


class ImageSource(abc.ABC):
    """One split of an image data set, with random access.

    Args:
        name: name of the data set.
        split: "train" or "test".
        classes: names of the classes, in the order of their labels 0, 1, ...
        count: number of examples.
    """

    def __init__(self, name: str, split: str, classes: Sequence[str], count: int):
        source.check_request(name, split, 1, 1)
        self.name = name
        self.split = split
        self.classes = tuple(classes)
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Example `index`: image uint8 `[H, W, 3]`, label int32 `[]`."""
        image, label = self.picture(index)
        return {"image": np.array(image), "label": np.array(label, np.int32)}

    def picture(self, index: int) -> tuple[np.ndarray | Image.Image, int]:
        """Image and label of example `index`; a decoded Pillow image saves a copy."""
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(
                f"Example {index} of {self!r} was asked for. Required: 0 to {len(self) - 1}. "
                "Take the index modulo len(source)."
            )
        return self._example(index)

    def __repr__(self) -> str:
        # Grain compares representations when it restores a position.
        return (
            f"{type(self).__name__}(name={self.name!r}, split={self.split!r}, "
            f"classes={len(self.classes)}, count={len(self)})"
        )

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits that change when any example, label, or their order, changes."""

    @abc.abstractmethod
    def _example(self, index: int) -> tuple[np.ndarray | Image.Image, int]:
        """Image and label of example `index`, which is in range."""


class ArraySource(ImageSource):
    """Images in memory.

    Args:
        name: name of the data set.
        split: "train" or "test".
        images: uint8 `[N, H, W, 3]`.
        labels: integers `[N]`, 0 to len(classes) - 1.
        classes: names of the classes.
        where: file or folder, for error messages; if empty, name and split.

    Raises:
        ValueError: arrays of another dtype or shape, or labels out of range.
    """

    def __init__(
        self, name: str, split: str, images, labels, classes: Sequence[str], where: str = ""
    ):
        images, labels = np.asarray(images), np.asarray(labels)
        _check_arrays(images, labels, len(classes), where or f"{name}/{split}")
        super().__init__(name, split, classes, len(images))
        self._images = images
        self._labels = labels.astype(np.int32)

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self._images.shape).encode())
        for array in (self._images, self._labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def _example(self, index: int) -> tuple[np.ndarray, int]:
        return self._images[index].copy(), self._labels[index]


def _check_arrays(images: np.ndarray, labels: np.ndarray, classes: int, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"{where}: found images {images.dtype} {list(images.shape)}. Required: uint8 "
            f"[N, H, W, 3], 0 to 255. {conversion(images)}"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: found labels {labels.dtype} {list(labels.shape)}. Required: integers [N]. "
            f"{label_conversion(labels, len(images))}"
        )
    if len(images) and images.max() <= 1:
        raise ValueError(
            f"{where}: found images of the values {images.min()} to {images.max()}. Required: 0 to "
            "255. Multiply images of 0 and 1 by 255; write those of floating-point numbers again, "
            "with (255 * images).round().astype(numpy.uint8)."
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{where}: found {len(images)} images and {len(labels)} labels. Required: one label "
            "an image. Take both from the same data set."
        )
    if not len(images):
        raise ValueError(f"{where}: found no image. Required: at least one. Write the set again.")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        if labels.min() < 0:
            way = "Leave out the examples without a class, which a negative label often marks."
        elif labels.min() == 1 and labels.max() == classes:
            way = "Number the classes from 0, with labels - 1."
        else:
            way = "Set --config.data.classes to the number of classes of the data."
        raise ValueError(
            f"{where}: example {first} has label {labels[first]} ({int(wrong.sum())} of "
            f"{len(labels)} labels are out of range). Required: 0 to {classes - 1}. {way}"
        )


def conversion(images: np.ndarray) -> str:
    """What to type to make uint8 `[N, H, W, 3]` of images of another type or shape."""
    ways = []
    low, high = (
        (images.min(), images.max()) if images.size and images.dtype.kind in "iuf" else (0, 0)
    )
    whole = images.dtype.kind in "iu"
    if images.dtype.kind == "b":
        ways.append("images.astype(numpy.uint8) * 255")
    elif images.dtype.kind not in "iuf":
        ways.append("numbers from 0 to 255 in place of other values")
    elif not (np.isfinite(low) and np.isfinite(high)):
        ways.append("finite numbers in place of NaN and infinity, such as numpy.nan_to_num(images)")
    elif not (low >= 0 and high <= 65535):
        ways.append(
            f"(255 * (images - LOW) / (HIGH - LOW)).round().astype(numpy.uint8), where LOW and "
            f"HIGH are black and white (found: {low} to {high})"
        )
    elif high > 255:
        ways.append(f"(images // 257).astype(numpy.uint8), if white is 65535 (found: up to {high})")
    elif not whole and high <= 1:
        ways.append("(255 * images).round().astype(numpy.uint8), since they go from 0 to 1")
    elif images.dtype != np.uint8:
        ways.append(("images" if whole else "images.round()") + ".astype(numpy.uint8)")
    if images.ndim == 4 and images.shape[2] == 3 != images.shape[3] and images.shape[1] != 3:
        ways.append("images.transpose(3, 0, 1, 2), to put the examples first")
    elif images.ndim == 4 and images.shape[3] != 3 and images.shape[1] == 3:
        ways.append("images.transpose(0, 2, 3, 1), to put the channels last")
    elif images.ndim == 4 and images.shape[3] == 4:
        ways.append("images[..., :3], to leave out the alpha channel")
    elif images.ndim == 2 and images.shape[1] == 3072:
        ways.append("images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), if they are as in CIFAR")
    elif images.ndim == 3 and images.shape[2] == 3:
        ways.append("images[None], to make a set of one image")
    elif images.ndim == 3 or (images.ndim == 4 and 1 in (images.shape[1], images.shape[3])):
        ways.append("numpy.repeat(images.reshape(N, H, W, 1), 3, axis=3), to make grey RGB")
    return f"Convert with {', and '.join(ways)}." if ways else "Put the channels last."


def label_conversion(labels: np.ndarray, count: int) -> str:
    """What to type to make integers `[N]` of labels of another type or shape, for N = `count`."""
    if labels.dtype.kind in "SUO":
        return "Number the names: labels = numpy.unique(labels, return_inverse=True)[1]."
    if labels.ndim == 2 and min(labels.shape) > 1:
        axis = int(labels.shape[0] == count)
        return f"If they are one-hot, convert with labels.argmax({axis})."
    if labels.dtype.kind == "f" and not (labels % 1 == 0).all():
        return "Number the classes 0, 1, … in place of fractions and NaN."
    return "Convert with labels.reshape(-1).astype(numpy.int32)."


class DecodedSource(ImageSource):
    """Images decoded to RGB by Pillow at each access; damaged images are skipped.

    An image that cannot be decoded is replaced by the next one that can, with that one's label,
    at every access alike. Each damaged image is logged once. More than `damaged_limit` of them
    are an error; every loading process counts those that it has encountered. A file that cannot
    be read at all raises an OSError at once: the cause may be temporary, and the data must not
    depend on it.

    Args:
        name: name of the data set.
        split: "train" or "test".
        classes: names of the classes.
        count: number of examples.
        damaged_limit: largest number of damaged images to tolerate.
    """

    def __init__(
        self, name: str, split: str, classes: Sequence[str], count: int, damaged_limit: int
    ):
        super().__init__(name, split, classes, count)
        self._damaged_limit = damaged_limit
        self._forget()

    def _forget(self) -> None:
        self._damaged: dict[int, str] = {}  # index and reason
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_damaged", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @abc.abstractmethod
    def _read(self, index: int) -> tuple[bytes | np.ndarray, int]:
        """Encoded image, or uint8 `[H, W, 3]`, and label."""

    @abc.abstractmethod
    def _place(self, index: int) -> str:
        """Where example `index` is stored, for error messages."""

    def _example(self, index: int) -> tuple[np.ndarray | Image.Image, int]:
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            if candidate not in self._damaged:
                try:
                    image, label = self._read(candidate)
                    return image if isinstance(image, np.ndarray) else decode(image), label
                except IsADirectoryError:
                    self._note(candidate, "it is a folder")
                except ValueError as error:
                    self._note(candidate, str(error))
            if len(self._damaged) > self._damaged_limit:
                break
        limit = min(self._damaged_limit, len(self) - 1)
        some = "; ".join(f"{self._place(i)} ({self._damaged[i]})" for i in list(self._damaged)[:5])
        raise ValueError(
            f"{self!r}: {len(self._damaged)} images cannot be decoded, among them {some}. "
            f"Required: at most {limit} of {len(self)}. Copy or convert these files, or "
            "tolerate more with --config.data.damaged_limit=N."
        )

    def _note(self, index: int, reason: str) -> None:
        """Counts a damaged image, once."""
        with self._lock:
            if index in self._damaged:
                return
            self._damaged[index] = reason
        log.warning(
            "%s cannot be decoded: %s. The next readable image takes its place.",
            self._place(index),
            reason,
        )


class FolderSource(DecodedSource):
    """Image files under one folder.

    Its fingerprint is computed from the relative paths, sizes and labels of the files, in order,
    without decoding any.

    Args:
        name: name of the data set.
        split: "train" or "test".
        folder: folder of the files.
        files: paths relative to it.
        labels: integers `[N]`.
        classes: names of the classes.
        damaged_limit: largest number of damaged images to tolerate; see `DecodedSource`.
    """

    def __init__(
        self,
        name: str,
        split: str,
        folder: str | os.PathLike,
        files: Sequence[str],
        labels: Sequence[int] | np.ndarray,
        classes: Sequence[str],
        damaged_limit: int = 0,
    ):
        super().__init__(name, split, classes, len(files), damaged_limit)
        self._folder = os.fspath(folder)
        # An array, not a list: a list of a million names would take 100 MB in every process.
        self._files = np.array([os.fsencode(file) for file in files])
        self._labels = np.asarray(labels, np.int32)

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for index, label in enumerate(self._labels):
            size = os.path.getsize(self._place(index))
            digest.update(b"%s\0%d %d\n" % (self._files[index], size, label))
        return digest.hexdigest()[:16]

    def _place(self, index: int) -> str:
        return os.path.join(self._folder, os.fsdecode(self._files[index]))

    def _read(self, index: int) -> tuple[bytes, int]:
        with open(self._place(index), "rb") as file:
            return file.read(), self._labels[index]


class RecordSource(DecodedSource):
    """A data set that TFDS has prepared as array_record, with features 'image' and 'label'.

    Its fingerprint is computed from the names and sizes of the record files and from the
    selected classes, without reading any record.

    Args:
        name: name of the data set.
        split: "train" or "test".
        folder: the folder that contains dataset_info.json.
        records: possible names of the split in TFDS; the first that exists is read.
        class_list: lines that name the classes to keep (see `chosen_names`), in the order of
            their labels; empty for all, in the order of TFDS. Selecting classes reads every
            record of the split once.
        damaged_limit: largest number of damaged images to tolerate; see `DecodedSource`.

    Raises:
        ValueError: the folder contains something else, or lacks a class of the list.
    """

    def __init__(
        self,
        name: str,
        split: str,
        folder: str,
        records: Sequence[str],
        class_list: "Sequence[Line]" = (),
        damaged_limit: int = 0,
    ):
        builder = tfds.builder_from_directory(folder)
        info = builder.info
        self._folder = folder
        self._records = next((name for name in records if name in info.splits), records[0])
        self._check_info(info)
        self._files = [os.fspath(file) for file in info.splits[self._records].filepaths]
        label = info.features["label"]
        self.image_shape = info.features["image"].shape  # None where images differ
        encoded = isinstance(info.features["image"], tfds.features.Image)
        dtype = np.dtype(info.features["image"].np_dtype)
        # TFDS writes images of floating-point numbers as bytes of PNG files.
        if not (encoded or self.image_shape[2:] == (3,)) or dtype.name not in (
            ("uint8", "uint16") if encoded else ("uint8",)
        ):
            raise ValueError(
                f"{folder}: found images {dtype} {list(self.image_shape)}. Required: uint8 "
                "[H, W, 3], or the feature Image with uint8 or uint16. Prepare the data set again "
                "with tfds.features.Image()."
            )
        # Decoded by Pillow, as files are: TFDS would use OpenCV if it is installed.
        decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
        self._data = builder.as_data_source(self._records, decoders=decoders)
        names = list(label.names or map(str, range(label.num_classes)))
        classes = chosen_names(class_list, names, folder) or names
        self._numbers = {names.index(wanted): number for number, wanted in enumerate(classes)}
        self._kept = np.arange(len(self._data))
        if class_list:
            examples = tqdm(self._data, desc=f"classes of {name}/{split}", unit="image")
            self._kept = np.flatnonzero([x["label"] in self._numbers for x in examples])
        if not len(self._kept):
            raise ValueError(
                f"{folder}: split {self._records!r} has no example of these classes. Required: at "
                "least one. Prepare the data set again."
            )
        super().__init__(name, split, classes, len(self._kept), damaged_limit)

    def _check_info(self, info: tfds.core.DatasetInfo) -> None:
        if info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise ValueError(
                f"{self._folder} is written as {getattr(info.file_format, 'value', None)}. "
                "Required: array_record, the format with random access. Type: tfds "
                "convert_format, or prepare it again with file_format='array_record'."
            )
        if self._records not in info.splits:
            raise ValueError(
                f"{self._folder} has the splits {sorted(info.splits)}. Required: "
                f"{self._records!r}. Prepare the whole data set, not a part."
            )
        missing = {"image", "label"} - set(info.features)
        if missing or not isinstance(info.features["label"], tfds.features.ClassLabel):
            raise ValueError(
                f"{self._folder} has the features {dict(info.features)}. Required: image, and "
                "label as ClassLabel. Use --config.data.path=FOLDER with the folder of another set."
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self._numbers).encode())
        for file in self._files:
            digest.update(f"{os.path.basename(file)}\0{os.path.getsize(file)}\n".encode())
        return digest.hexdigest()[:16]

    def _place(self, index: int) -> str:
        return f"record {self._kept[index]} of {self._folder}/{self._records}"

    def _read(self, index: int) -> tuple[bytes | np.ndarray, int]:
        record = self._data[int(self._kept[index])]
        if record["label"] not in self._numbers:
            raise ValueError(
                f"{self._place(index)} has label {record['label']}. Required: 0 to "
                f"{len(self.classes) - 1}. Use a split with labels."
            )
        return record["image"], self._numbers[record["label"]]


class Line(NamedTuple):
    """A line of a class list: its file, where it is in it, as 'line 1', and its text."""

    file: str
    place: str
    text: str


def chosen_names(lines: Sequence[Line], names: Sequence[str], where: str) -> list[str]:
    """The classes that lines name: all of a line, its first word, or the word after a number.

    So 'n01440764', 'n01440764 tench, Tinca tinca' and '0 n01440764' name the same; whole lines
    come first, since names of folders may have spaces.

    Raises:
      ValueError: a line names none of the classes `names` of `where`, or one for the second time.
    """
    known = set(names)
    chosen: dict[str, str] = {}
    missing: list[str] = []
    last = -1
    for file, place, text in lines:
        words = re.split(r"[\s,;:]+", text, maxsplit=2)[:2]
        if {text, words[0]} & known or not words[0].isdecimal():
            words = words[:1]
        elif len(words) > 1:
            before, last = last, int(words[0])
            if last <= before:
                raise ValueError(
                    f"{file}, {place} has the number {last} after {before}. Required: numbers in "
                    "ascending order, since labels follow the order of the lines. Sort the lines "
                    "by them, or leave the numbers out."
                )
        name = next((c.strip("\"'/") for c in (text, *words) if c.strip("\"'/") in known), None)
        if name is None:
            missing.append(f"{text:.40} ({place})")
        elif name in chosen:
            raise ValueError(
                f"{file} names the class {name} twice, in {chosen[name]} and in {place}. Required: "
                "each class once. Remove one of them from this class list."
            )
        else:
            chosen[name] = place
    if missing:
        raise ValueError(
            f"{where} does not have {some(missing)} of the class list {lines[0].file}. Required: "
            f"all of its {len(lines)} classes. Correct the class list, or copy what is missing."
        )
    return list(chosen)


def some(names: Sequence[str]) -> str:
    """Names for an error message: the first five and the number of the others."""
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "none") + rest
