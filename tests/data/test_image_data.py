"""Image data sets: their examples, every accepted form of the files, every message."""

import concurrent.futures
import hashlib
import io
import logging
import os
import pathlib
import pickle
import socket
import struct
import tarfile
import urllib.request

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from wonn_jax.data import (
    Digits,
    ImageAugmentation,
    NoAugmentation,
    cifar,
    digits,
    imagenet,
    images,
    source,
)

CIFAR_DIR = pathlib.Path(os.environ.get("WONN_CIFAR_DIR", "cifar10-subset"))
CLASSES = {"cifar10": 10, "cifar100": 100}


def pictures(count, seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def pickled_as_published(data, labels):
    """A dictionary of an array and a list, pickled as Python 2 did; Python 3 cannot write this."""

    def text(value):
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85"
    array += text(b"b") + b"\x87R(" + number(1) + number(data.shape[0]) + number(data.shape[1])
    array += b"\x86" + dtype + b"\x89" + text(data.tobytes()) + b"tb"
    entries = text(b"data") + array
    for key, values in labels.items():
        entries += text(key) + b"](" + b"".join(map(number, values)) + b"e"
    return b"\x80\x02}(" + entries + b"u."


def as_rows(images_):
    return images_.transpose(0, 3, 1, 2).reshape(len(images_), -1)


def original_files(name, binary, train, test):
    """Contents by file name; train and test are pairs of images and labels."""
    spec = cifar.ORIGINALS[name]
    files = {}
    for split, (images_, labels) in (("train", train), ("test", test)):
        stems = spec.files[split]
        parts = zip(*(np.array_split(x, len(stems)) for x in (images_, labels)), strict=True)
        for stem, (part, part_labels) in zip(stems, parts, strict=True):
            rows = as_rows(part)
            if binary:
                coarse = np.full((len(part), spec.label_bytes - 1), 7, np.uint8)
                columns = [coarse, part_labels[:, None].astype(np.uint8), rows]
                files[stem + ".bin"] = np.concatenate(columns, axis=1).tobytes()
            else:
                fine = {"cifar10": b"labels", "cifar100": b"fine_labels"}[name]
                both = {fine: part_labels.tolist(), b"coarse_labels": [7] * len(part)}
                files[stem] = pickled_as_published(rows, both)
    return files


def write_files(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(file, folder, files):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def write_npz(folder, train, test):
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images_, labels) in (("train", train), ("test", test)):
        np.savez(folder / f"{split}.npz", image=images_, label=labels)
    return folder


def examples(classes, extra=7):
    """Training and test images with labels in a mixed order; every class occurs in training."""
    labels = np.random.default_rng(1).permutation(np.arange(classes + extra) % classes)
    return (pictures(len(labels)), labels), (pictures(6, seed=2), labels[:6])


def check_same(made, images_, labels):
    assert len(made) == len(images_)
    for index, (image, label) in enumerate(zip(images_, labels, strict=True)):
        np.testing.assert_array_equal(made[index]["image"], image)
        assert made[index]["label"] == label


def load_cifar(path, name="cifar10", split="train", classes=None, data_dir="unused"):
    classes = classes or CLASSES[name]
    return cifar.load(name, path, data_dir=data_dir, split=split, classes=classes)


# The sources.


def array_source(**changes):
    settings = {
        "images": pictures(5, size=4),
        "labels": [0, 1, 2, 1, 0],
        "classes": ("a", "b", "c"),
    }
    return images.ArraySource("some", "train", **{**settings, **changes})


def test_an_example_is_a_copy_with_these_types():
    made = array_source()
    example = made[np.int64(1)]
    assert example["image"].dtype == np.uint8 and example["image"].shape == (4, 4, 3)
    assert example["label"].dtype == np.int32 and example["label"].shape == ()
    example["image"][:] = 0
    assert made[1]["image"].any()


def test_name_split_classes_and_representation():
    made = array_source()
    assert (made.name, made.split, len(made)) == ("some", "train", 5)
    assert made.classes == ("a", "b", "c")
    assert repr(made) == "ArraySource(name='some', split='train', classes=3, count=5)"


@pytest.mark.parametrize("index", [-1, 5])
def test_an_index_outside_is_refused(index):
    with pytest.raises(IndexError, match=rf"Example {index} of .*Required: 0 to 4"):
        array_source()[index]


def test_fingerprint_follows_pixels_labels_and_order():
    base = array_source()
    other = pictures(5, size=4)
    other[4, 3, 3, 2] ^= 1
    prints = [
        base.fingerprint,
        array_source(images=other).fingerprint,
        array_source(labels=[0, 1, 2, 1, 1]).fingerprint,
        array_source(images=pictures(5, size=4)[::-1], labels=[0, 1, 2, 1, 0]).fingerprint,
    ]
    assert len(set(prints)) == 4 and all(len(p) == 16 for p in prints)
    assert array_source().fingerprint == base.fingerprint
    int(base.fingerprint, 16)


def test_an_array_source_survives_pickling():
    made = array_source()
    again = pickle.loads(pickle.dumps(made))
    check_same(again, *zip(*[(x["image"], x["label"]) for x in made], strict=True))
    assert (repr(again), again.fingerprint) == (repr(made), made.fingerprint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((5, 4, 4, 3), np.float32)}, r"float32 \[5, 4, 4, 3\].*uint8"),
        ({"images": np.full((5, 4, 4, 3), 65535, np.uint16)}, r"images // 257"),
        ({"images": np.full((5, 4, 4, 3), 255, np.int64)}, r"with images.astype\(numpy.uint8\)"),
        ({"images": np.full((5, 4, 4, 3), 99.5)}, r"images.round\(\).astype"),
        ({"images": np.full((5, 4, 4, 3), -1.5)}, r"found: -1.5 to -1.5"),
        ({"images": np.ones((5, 4, 4, 3), bool)}, r"astype\(numpy.uint8\) \* 255"),
        ({"images": np.zeros((5, 4, 4, 4), np.uint8)}, r"images\[..., :3\]"),
        ({"labels": np.eye(5)}, r"labels float64 \[5, 5\].*one-hot.*argmax"),
        ({"labels": list("abcab")}, r"Number the names"),
        ({"images": np.zeros((5, 4, 4, 3), np.float32)}, r"\(255 \* images\).round"),
        ({"images": np.zeros((5, 3, 4, 4), np.uint8)}, r"transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((5, 4, 4, 1), np.uint8)}, r"uint8 \[5, 4, 4, 1\]"),
        ({"images": np.zeros((5, 4, 4), np.uint8)}, r"uint8 \[5, 4, 4\]"),
        ({"labels": [0.0, 1, 2, 1, 0]}, r"labels float64 \[5\].*integers"),
        ({"labels": [[0], [1], [2], [1], [0]]}, r"labels int64 \[5, 1\]"),
        ({"labels": [0, 1, 2, 1]}, "5 images and 4 labels"),
        ({"labels": [0, 1, 2, 3, 4]}, r"example 3 has label 3 \(2 of 5 .*0 to 2"),
        ({"labels": [0, -1, 2, 1, 0]}, "example 1 has label -1"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8), "labels": np.zeros(0, int)}, "no image"),
    ],
)
def test_arrays_of_another_kind_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"there: .*{message}"):
        array_source(where="there", **changes)


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="Split 'val' of some.*train, test"):
        images.ArraySource("some", "val", pictures(1), [0], ["a"])


# CIFAR.


@pytest.mark.parametrize("form", ["archive", "folder", "inside", "archive inside"])
@pytest.mark.parametrize("binary", [False, True], ids=["pickles", "binary"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_form_of_the_originals(tmp_path, name, binary, form):
    train, test = examples(CLASSES[name])
    files = original_files(name, binary, train, test)
    spec = cifar.ORIGINALS[name]
    folder = spec.folders[binary]
    if "archive" in form:
        path = write_archive(tmp_path / "here" / spec.archives[binary], folder, files)
    else:
        path = write_files(tmp_path / "here" / folder, files)
    path = path.parent if "inside" in form else path
    made = load_cifar(path, name)
    check_same(made, *train)
    assert (made.name, made.split, len(made.classes)) == (name, "train", CLASSES[name])
    assert made.classes[-1] == {"cifar10": "truck", "cifar100": "worm"}[name]
    check_same(load_cifar(path, name, "test"), *test)


def test_npz_files(tmp_path):
    train, test = examples(10)
    folder = write_npz(tmp_path, train, test)
    check_same(load_cifar(folder), *train)
    check_same(load_cifar(str(folder), split="test"), *test)


TRAIN = examples(10)[0]


@pytest.mark.parametrize(
    ("images_", "labels", "message"),
    [
        (TRAIN[0].astype(np.int16), TRAIN[1], "int16 .*Required: uint8"),
        (TRAIN[0][:, :28], TRAIN[1], r"\[17, 28, 32, 3\].*\[N, 32, 32, 3\]"),
        (TRAIN[0][..., :1], TRAIN[1], r"\[17, 32, 32, 1\]"),
        (TRAIN[0], TRAIN[1][:-1], "17 images and 16 labels"),
        (TRAIN[0], TRAIN[1] + 1, r"label 10 \(\d of 17 .*0 to 9.*labels - 1"),
        (TRAIN[0], TRAIN[1] * 2, r"label 1\d \(.*0 to 9.*config.data.classes"),
        (TRAIN[0], TRAIN[1] - 1, r"label -1 \(.*0 to 9.*Leave out"),
        (TRAIN[0], TRAIN[1].astype(float), r"labels float64.*astype\(numpy.int32"),
        (TRAIN[0], TRAIN[1] + 0.5, "labels float64.*in place of fractions"),
        (TRAIN[0], np.eye(10)[TRAIN[1]], r"labels float64.*one-hot.*argmax\(1\)"),
        (TRAIN[0], np.eye(10)[TRAIN[1]].T, r"labels float64.*one-hot.*argmax\(0\)"),
        (TRAIN[0] / 255, TRAIN[1], r"float64 .*\(255 \* images\)\.round"),
        (TRAIN[0] // 255, TRAIN[1], r"values 0 to 1\. Required: 0 to 255\. Multiply"),
        (np.where(TRAIN[0] > 9, TRAIN[0], np.nan), TRAIN[1], "float64 .*nan_to_num"),
        (TRAIN[0].transpose(0, 3, 1, 2), TRAIN[1], r"transpose\(0, 2, 3, 1\)"),
        (TRAIN[0].transpose(1, 2, 3, 0), TRAIN[1], r"transpose\(3, 0, 1, 2\)"),
        (TRAIN[0][0], TRAIN[1][:1], r"\[32, 32, 3\].*images\[None\]"),
        (TRAIN[0].repeat(2, 1), TRAIN[1], r"\[17, 64, 32, 3\].*resize\(\(32, 32\)\)"),
        (np.array(list(TRAIN[0]) + [None], object)[:17], TRAIN[1], "holds Python objects"),
        (TRAIN[0][:0], TRAIN[1][:0], "no image"),
        (TRAIN[0], np.where(TRAIN[1] == 3, 4, TRAIN[1]), r"labels \[3\] \(1 of 10"),
    ],
)
def test_npz_of_another_kind_is_refused(tmp_path, images_, labels, message):
    folder = write_npz(tmp_path, (images_, labels), TRAIN)
    with pytest.raises(ValueError, match=f"{folder / 'train.npz'}[:,] .*{message}"):
        load_cifar(folder)


def test_more_classes_configured_than_occur_is_an_error_of_training_only(tmp_path):
    train, test = examples(10)
    folder = write_npz(tmp_path, train, test)
    with pytest.raises(ValueError, match=r"labels \[10, 11\] \(2 of 12 classes never occur"):
        load_cifar(folder, classes=12)
    assert load_cifar(folder, split="test", classes=12).classes[11] == "11"


@pytest.mark.parametrize("content", [b"", b"not an archive at all", None])
def test_a_damaged_npz_is_refused(tmp_path, content):
    file = write_npz(tmp_path, *examples(10)) / "train.npz"
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    with pytest.raises(
        ValueError, match=f"{file} cannot be read.*Required: a whole file of numbers"
    ):
        load_cifar(tmp_path)


def test_an_npz_without_labels_is_refused(tmp_path):
    np.savez(tmp_path / "train.npz", image=TRAIN[0])
    with pytest.raises(
        ValueError, match="train.npz: found image. Required: image and label.*numpy.savez"
    ):
        load_cifar(tmp_path)


def test_files_that_are_no_npz_are_named(tmp_path):
    file = write_npz(tmp_path, *examples(10)) / "train.npz"
    with pytest.raises(ValueError, match=f"is one file.*data.path={tmp_path}$"):
        load_cifar(file)
    with open(file, "wb") as stream:
        np.save(stream, TRAIN[0])
    with pytest.raises(ValueError, match="train.npz: found no names of arrays. Required: image"):
        load_cifar(tmp_path)
    for name in ("train.npz", "cifar-10-python.tar.gz"):
        (tmp_path / "train.npz").unlink(missing_ok=True)
        (tmp_path / "test.npz").unlink(missing_ok=True)
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")
        with pytest.raises(ValueError, match=f"{name} is a pointer of Git LFS.*git lfs pull"):
            load_cifar(tmp_path)


def test_a_missing_npz_is_named(tmp_path):
    (write_npz(tmp_path, *examples(10)) / "test.npz").unlink()
    with pytest.raises(FileNotFoundError, match="test.npz is not there"):
        load_cifar(tmp_path, split="test")


def test_a_path_without_data_says_what_could_be_there(tmp_path):
    message = r"found no such path.*cifar-10-python.tar.gz.*curl -LO https.*--config.data.path="
    with pytest.raises(FileNotFoundError, match=message):
        load_cifar(tmp_path / "away")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="found notes.txt.*train.npz and test.npz"):
        load_cifar(tmp_path)


def test_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'cifar20'.*cifar10, cifar100"):
        load_cifar(tmp_path, "cifar20", classes=20)


def test_the_archive_of_the_other_set_is_refused(tmp_path):
    files = original_files("cifar100", False, *examples(100))
    path = write_archive(tmp_path / "a.tar.gz", "cifar-100-python", files)
    with pytest.raises(ValueError, match="of the files of cifar10/train it has none.*data_batch_1"):
        load_cifar(path)


def test_an_archive_without_one_of_its_files_is_refused(tmp_path):
    files = original_files("cifar10", True, *examples(10))
    del files["data_batch_4.bin"]
    folder = write_files(tmp_path / "cifar-10-batches-bin", files)
    with pytest.raises(ValueError, match=r"it has \['data_batch_1.bin', .*'data_batch_5.bin'\]"):
        load_cifar(folder)


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_archive_is_refused(tmp_path, keep):
    files = original_files("cifar10", False, *examples(10))
    path = write_archive(tmp_path / "a.tar.gz", "cifar-10-batches-py", files)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match="a.tar.gz cannot be read.*whole archive"):
        load_cifar(path)


def batches_with(tmp_path, name, content):
    files = original_files("cifar10", name.endswith(".bin"), *examples(10))
    return write_files(tmp_path / "batches", {**files, name: content})


def test_a_binary_file_of_another_length_is_refused(tmp_path):
    folder = batches_with(tmp_path, "data_batch_2.bin", bytes(3072 * 2))
    with pytest.raises(ValueError, match="data_batch_2.bin: found 6144 bytes.*multiple of 3073"):
        load_cifar(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: Ran out of input"),
        (b"\x80\x02}(U\x04data", "cannot be read"),
        (pickle.dumps([1, 2]), "cannot be read"),
        (pickle.dumps({b"data": [[1]]}), "cannot be read.*labels"),
        (pickle.dumps({b"data": [[1]], b"labels": [1]}), r"found data int64 \[1, 1\]"),
    ],
)
def test_a_damaged_pickle_is_refused(tmp_path, content, message):
    folder = batches_with(tmp_path, "data_batch_2", content)
    with pytest.raises(ValueError, match=f"data_batch_2.*{message}"):
        load_cifar(folder)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


class Evaluating:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return eval, (f"open({str(self.file)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Malicious, Evaluating])
def test_a_pickle_that_would_run_a_program_is_refused(tmp_path, kind):
    trap = tmp_path / "trap"
    content = pickle.dumps({b"data": kind(trap), b"labels": [0]})
    folder = batches_with(tmp_path, "data_batch_1", content)
    with pytest.raises(ValueError, match="data_batch_1 cannot be read: it refers to .*no array"):
        load_cifar(folder)
    assert not trap.exists()
    pickle.loads(content)  # the usual way of reading falls into it
    assert trap.exists()


# Preparing CIFAR from the network.


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Stands in for the network: counts what is fetched from a synthetic archive."""
    train, test = examples(10)
    files = original_files("cifar10", False, train, test)
    archive = write_archive(tmp_path / "site.tar.gz", "cifar-10-batches-py", files)
    fetched = []

    def download(url, file):
        fetched.append(url)
        pathlib.Path(file).write_bytes(archive.read_bytes())

    spec = cifar.ORIGINALS["cifar10"]
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    changed = cifar.dataclasses.replace(spec, md5=md5)
    monkeypatch.setitem(cifar.ORIGINALS, "cifar10", changed)
    monkeypatch.setattr(cifar, "_download", download)
    return train, test, fetched


def test_an_empty_path_prepares_once(tmp_path, site):
    train, test, fetched = site
    made = load_cifar("", data_dir=tmp_path / "data")
    check_same(made, *train)
    check_same(load_cifar("", split="test", data_dir=tmp_path / "data"), *test)
    assert fetched == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    kept = os.listdir(tmp_path / "data" / "downloads")
    assert [x for x in kept if "tar" in x] == ["cifar-10-python.tar.gz"]
    # What was prepared can be named as a path.
    folder = tmp_path / "data" / "cifar" / "cifar10" / "1.0.0"
    assert load_cifar(folder).fingerprint == made.fingerprint


def test_an_archive_put_into_downloads_is_not_fetched(tmp_path, site):
    (tmp_path / "data" / "downloads").mkdir(parents=True)
    place = tmp_path / "data" / "downloads" / "cifar-10-python.tar.gz"
    (tmp_path / "site.tar.gz").rename(place)
    check_same(load_cifar("", data_dir=tmp_path / "data"), *site[0])
    assert site[2] == []


def test_what_is_fetched_must_have_the_published_checksum(tmp_path, site, monkeypatch):
    def download(url, file):
        pathlib.Path(file).write_bytes(b"a page of a proxy")

    monkeypatch.setattr(cifar, "_download", download)
    found = hashlib.md5(b"a page of a proxy").hexdigest()
    with pytest.raises(ValueError, match=f"{found}. Required: [0-9a-f]{{32}}"):
        load_cifar("", data_dir=tmp_path / "data")
    assert not list((tmp_path / "data" / "downloads").glob("*cifar*"))


def test_an_interrupted_download_leaves_nothing(tmp_path, site, monkeypatch):
    def download(url, file):
        pathlib.Path(file).write_bytes(b"the first half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar, "_download", download)
    with pytest.raises(KeyboardInterrupt):
        load_cifar("", data_dir=tmp_path / "data")
    assert not list((tmp_path / "data" / "downloads").glob("*cifar*"))


def test_an_unfinished_folder_is_named(tmp_path, site):
    folder = tmp_path / "cifar" / "cifar10" / "1.0.0"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match=f"{folder} has no dataset_info.json.*rm -r"):
        load_cifar("", data_dir=tmp_path)


def test_without_a_network_the_message_says_what_to_type(tmp_path, monkeypatch):
    def unreachable(url, timeout):
        assert timeout <= 10
        raise urllib.request.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    message = (
        "cifar-100-python.tar.gz could not be fetched: .*Name or service not known.*"
        "curl -LO https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz.*"
        "--config.data.path=cifar-100-python.tar.gz"
    )
    with pytest.raises(ConnectionError, match=message) as caught:
        load_cifar("", "cifar100", data_dir=tmp_path)
    assert caught.value.__suppress_context__ and caught.value.__cause__ is None
    assert not list((tmp_path / "downloads").glob("*cifar*"))


def test_a_download_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"abc" * 10**6))
    cifar._download("https://x", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"abc" * 10**6


# Data sets of TFDS, written the way of the stock ones: encoded images.


class EncodedBuilder(tfds.core.GeneratorBasedBuilder):
    """Encoded images in the features of the stock data sets."""

    name = "encoded"
    VERSION = tfds.core.Version("3.0.2")
    shape: tuple[int | None, int | None, int] = (None, None, 3)
    names: tuple[str, ...] = ()
    splits: dict[str, list[tuple[bytes, int]]] = {}

    def _info(self):
        features = {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(shape=self.shape),
            "label": tfds.features.ClassLabel(names=self.names),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="test",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(rows) for name, rows in self.splits.items()}

    def _generate_examples(self, rows):
        for index, (content, label) in enumerate(rows):
            yield index, {"file_name": str(index), "image": io.BytesIO(content), "label": label}


def write_records(folder, names, splits, shape=(None, None, 3)):
    settings = {"names": names, "splits": splits, "shape": shape}
    with source.quiet_tfds(), tfds.core.registered.skip_registration():
        kind = type("Encoded", (EncodedBuilder,), settings)
        builder = kind(data_dir=folder, file_format="array_record")
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_config=config)
    return str(builder.data_path)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def test_cifar_as_tfds_has_it(tmp_path):
    train, test = examples(10)
    rows = {
        split: [(encoded(x), int(y)) for x, y in zip(*pair, strict=True)]
        for split, pair in (("train", train), ("test", test))
    }
    folder = write_records(tmp_path, tuple("0123456789"), rows, shape=(32, 32, 3))
    check_same(load_cifar(folder), *train)
    check_same(load_cifar(folder, split="test"), *test)
    with pytest.raises(ValueError, match=f"{folder}: found .* in 10 classes.*in 100 classes"):
        load_cifar(folder, "cifar100")


RECORDS = {
    "train": [(encoded(np.full((4 + i, 5, 3), 40 * i, np.uint8)), i % 3) for i in range(6)],
    "validation": [(encoded(np.full((4, 5, 3), i, np.uint8)), i % 3) for i in range(4)],
    "test": [(encoded(np.zeros((4, 5, 3), np.uint8)), -1)],
}


def load_imagenet(path, split="train", classes=3, class_list="", damaged_limit=0):
    return imagenet.load(
        path, split=split, classes=classes, class_list=class_list, damaged_limit=damaged_limit
    )


def shown(made):
    """Level of the upper left pixel and label of every example."""
    return [(int(x["image"][0, 0, 0]), int(x["label"])) for x in made]


@pytest.fixture
def records(tmp_path):
    return write_records(tmp_path / "tfds", ("n01", "n02", "n03"), RECORDS)


def test_imagenet_as_tfds_has_it(records):
    made = load_imagenet(records)
    assert shown(made) == [(0, 0), (40, 1), (80, 2), (120, 0), (160, 1), (200, 2)]
    assert made[5]["image"].shape == (9, 5, 3) and made[5]["image"].dtype == np.uint8
    assert made[5]["label"].dtype == np.int32
    assert shown(load_imagenet(records, "test")) == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert shown(pickle.loads(pickle.dumps(made))) == shown(made)


def test_a_class_list_chooses_and_numbers_records(tmp_path, records):
    (tmp_path / "list").write_text("n03\nn01\n")
    made = load_imagenet(records, classes=2, class_list=tmp_path / "list")
    assert shown(made) == [(0, 1), (80, 0), (120, 1), (200, 0)]
    assert made.classes == ("n03", "n01")
    (tmp_path / "other").write_text("n01\nn03\n")
    other = load_imagenet(records, classes=2, class_list=tmp_path / "other")
    assert len({made.fingerprint, other.fingerprint, load_imagenet(records).fingerprint}) == 3
    (tmp_path / "wrong").write_text("n01\nn04\n")
    with pytest.raises(ValueError, match=f"{records} does not have n04 .* {tmp_path}/wrong"):
        load_imagenet(records, classes=2, class_list=tmp_path / "wrong")


def test_records_of_another_number_of_classes_are_refused(records):
    with pytest.raises(ValueError, match="has 3 classes. Required: 1000.*data.classes=3, or"):
        load_imagenet(records, classes=1000)


def test_records_without_the_split_are_refused(tmp_path):
    folder = write_records(tmp_path, ("n01",), {"train": [(RECORDS["train"][0][0], 0)]})
    with pytest.raises(ValueError, match=r"has the splits \['train'\]. Required: 'validation'"):
        load_imagenet(folder, "test", classes=1)


def test_records_without_labels_are_refused(tmp_path):
    rows = {"train": RECORDS["test"], "test": RECORDS["test"]}
    folder = write_records(tmp_path, ("n01",), rows)
    with pytest.raises(ValueError, match="record 0 of .*has label -1. Required: 0 to 0"):
        load_imagenet(folder, "test", classes=1)[0]


def test_records_without_random_access_are_refused(records):
    file = pathlib.Path(records) / "dataset_info.json"
    file.write_text(file.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(ValueError, match="is written as tfrecord. Required: array_record"):
        load_imagenet(records)


def test_records_with_other_features_are_refused(tmp_path):
    class Boards(source.BoardBuilder):
        VERSION = tfds.core.Version("1.0.0")
        DESCRIPTION = "test"

        def board_shape(self):
            return 2, 2

        def generate_boards(self, count):
            return np.zeros((2, count, 2, 2), np.uint8)

    config = tfds.core.BuilderConfig(name="some")
    config.train_examples = config.test_examples = 1
    source.prepared(Boards, config, tmp_path, "train")
    (folder,) = tmp_path.glob("*/some/1.0.0")
    with pytest.raises(ValueError, match="has the features .*Required: image, and label"):
        load_imagenet(folder)


@pytest.mark.parametrize(
    "image",
    [
        tfds.features.Image(shape=(4, 4, 1), dtype=np.float32),
        tfds.features.Tensor(shape=(4, 4, 3), dtype=np.uint16),
        tfds.features.Tensor(shape=(4, 4, 1), dtype=np.uint8),
    ],
)
def test_records_of_images_without_a_known_range_are_refused(records, monkeypatch, image):
    builder = tfds.builder_from_directory(str(records))
    features = {"image": image, "label": builder.info.features["label"]}
    monkeypatch.setattr(builder.info, "_features", features)
    monkeypatch.setattr(tfds, "builder_from_directory", lambda folder: builder)
    with pytest.raises(ValueError, match=r"found images (float32|uint16|uint8) \[4, 4, .*uint8"):
        load_imagenet(records)


def test_a_damaged_record_is_passed_over(tmp_path):
    good = RECORDS["train"]
    rows = {"train": [good[0], (b"damaged", 1), good[2]], "validation": good}
    folder = write_records(tmp_path, ("n01", "n02", "n03"), rows)
    assert shown(load_imagenet(folder, damaged_limit=1)) == [(0, 0), (80, 2), (80, 2)]
    with pytest.raises(ValueError, match=f"record 1 of {folder}/train"):
        load_imagenet(folder)[1]


# ImageNet in folders.


@pytest.fixture
def folders(tmp_path):
    """train and val with classes n01 to n03; the level of an image tells which it is."""
    root = tmp_path / "imagenet"
    level = 0
    for split, count in (("train", 3), ("val", 2)):
        for name in ("n02", "n01", "n03"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                end = ("JPEG", "png", "WebP")[index]
                image = np.full((8 + index, 6, 3), level, np.uint8)
                kind = {"WebP": "WEBP"}.get(end, end.upper())
                options = {"lossless": True} if end == "WebP" else {}
                file = root / split / name / f"{name}_{index}.{end}"
                Image.fromarray(image).save(file, kind, **options)
                level += 10
    (root / "train" / "notes.txt").write_text("not a class")
    (root / "train" / "n01" / "notes.txt").write_text("not an image")
    (root / "train" / "n01" / "._n01_0.JPEG").write_text("not an image")
    return root


def test_folders_are_read_in_sorted_order(folders):
    made = load_imagenet(folders)
    assert (made.name, made.split, len(made)) == ("imagenet", "train", 9)
    assert made.classes == ("n01", "n02", "n03")
    levels = [30, 40, 50, 0, 10, 20, 60, 70, 80]
    assert shown(made) == list(zip(levels, [0, 0, 0, 1, 1, 1, 2, 2, 2], strict=True))
    assert made[1]["image"].shape == (9, 6, 3) and made[1]["image"].dtype == np.uint8
    made[1]["image"][:] = 0  # the caller's own
    assert [label for _, label in shown(load_imagenet(folders, "test"))] == [0, 0, 1, 1, 2, 2]


def test_the_order_is_not_that_of_the_disk(tmp_path):
    names = [f"n{number:02}" for number in np.random.default_rng(0).permutation(20)]
    for split in ("train", "val"):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for level in (names.index(name), 100 + names.index(name)):
                file = tmp_path / split / name / f"{level:03}.png"
                Image.new("L", (2, 2), level).save(file)
    made = load_imagenet(tmp_path, classes=20)
    assert made.classes == tuple(sorted(names))
    expected = [(names.index(n) + plus, i) for i, n in enumerate(made.classes) for plus in (0, 100)]
    assert shown(made) == expected


@pytest.mark.parametrize("name", ["validation", "test"])
def test_other_names_of_the_validation_folder(folders, name):
    before = shown(load_imagenet(folders, "test"))
    (folders / "val").rename(folders / name)
    assert shown(load_imagenet(folders, "test")) == before


def test_grey_palette_and_cmyk_become_rgb(folders):
    place = folders / "train" / "n01"
    Image.new("L", (6, 8), 7).save(place / "n01_0.JPEG")
    Image.new("CMYK", (6, 8)).save(place / "n01_1.png", "JPEG")
    Image.new("P", (6, 8)).save(place / "n01_2.WebP", "PNG")
    made = load_imagenet(folders)
    assert [made[i]["image"].shape for i in range(3)] == [(8, 6, 3)] * 3
    assert made[0]["image"].max() == 7 and made[1]["image"].min() == 255


def test_a_class_list_chooses_and_numbers_folders(folders, tmp_path):
    (tmp_path / "list").write_text("# two of them\nn03  # first\n\n n01\n")
    made = load_imagenet(folders, classes=2, class_list=tmp_path / "list")
    assert shown(made) == list(zip([60, 70, 80, 30, 40, 50], [0, 0, 0, 1, 1, 1], strict=True))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffn03\nn01\n".encode(),
        "n03\r\nn01\r\n".encode("utf-16"),
        b"n03 goldfish, Carassius auratus\nn01 tench, Tinca tinca\n",
        b"n03\tgoldfish\nn01,tench\n",
        b"0 n03\n1 n01\n",
        b"n03/\n'n01'\n",
        b'["n03", "n01"]',
        b'{"n01": 1, "n03": 0}',
        b"\r\n# two\r\n\r\n1: n03\r\n2: n01\r\n",
        b'{"0": ["n03", "goldfish"], "1": ["n01", "tench"]}',
    ],
)
def test_class_lists_as_people_have_them(folders, tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    made = load_imagenet(folders, classes=2, class_list=tmp_path / "list")
    assert made.classes == ("n03", "n01")


def test_a_word_of_a_missing_class_is_not_taken_for_another(folders, tmp_path):
    for split in ("train", "val"):
        (folders / split / "n02").rename(folders / split / "C#")
    (tmp_path / "list").write_text("sea n01\nn03\n")
    with pytest.raises(ValueError, match=r"does not have sea n01 \(line 1\)"):
        load_imagenet(folders, classes=2, class_list=tmp_path / "list")
    (tmp_path / "list").write_text("C#\nn03 # goldfish\n")
    made = load_imagenet(folders, classes=2, class_list=tmp_path / "list")
    assert made.classes == ("C#", "n03")


def test_names_of_folders_with_spaces(folders, tmp_path):
    for split in ("train", "val"):
        (folders / split / "n03").rename(folders / split / "n01 two")
    (tmp_path / "list").write_text("n01 two\nn01 one\n")
    made = load_imagenet(folders, classes=2, class_list=tmp_path / "list")
    assert made.classes == ("n01 two", "n01")


def test_damage_is_named_with_its_file(folders):
    (folders / "train" / "n01" / "n01_0.JPEG").write_bytes(b"<!DOCTYPE html><title>404</title>")
    made = load_imagenet(folders, damaged_limit=0)
    with pytest.raises(ValueError, match="n01_0.JPEG .it is a web page.*Copy or convert"):
        made[0]


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("n01\nn02\nn01\n", 3, "list names the class n01 twice, in line 1 and in line 3"),
        ("# nothing\n", 3, "list: found 0 names"),
        ("[]", 3, "list: found 0 names"),
        ("0 n02\n2 n01\n1 n03\n", 3, "list, line 3 has the number 1 after 2.*Sort the lines"),
        ("1 n02\n1 n01\n1 n03\n", 3, "list, line 2 has the number 1 after 1"),
        ('{"n01": 0, "n02": 0}', 2, "list is no class list in JSON .two classes have the same"),
        ("{}", 3, "list: found 0 names"),
        (
            "n01\nn09\nn08\n",
            3,
            r"does not have n09 \(line 2\), n08 \(line 3\) of the class list /.*/list\. Requ",
        ),
        ("[1, {}]", 2, "list is no class list in JSON"),
        ('["n01", "n09"]', 2, r"does not have n09 \(entry 2\)"),
        ('["n01", "n01"]', 2, "list names the class n01 twice, in entry 1 and in entry 2"),
        ("n01\nn02\n", 3, "list has 2 classes. Required: 3.*--config.data.classes=2"),
    ],
)
def test_a_wrong_class_list_is_refused(folders, tmp_path, text, classes, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_imagenet(folders, classes=classes, class_list=tmp_path / "list")


def test_a_missing_class_list_is_named(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="away is not there.*config.data.class_list"):
        load_imagenet(folders, class_list=tmp_path / "away")


def test_images_of_kinds_that_are_not_read_are_named(folders, caplog):
    (folders / "train" / "n02" / "IMG_1.HEIC").write_bytes(b"image")
    with caplog.at_level(logging.WARNING):
        assert len(load_imagenet(folders)) == 9
    assert [r.getMessage().split("/")[-1] for r in caplog.records] == [
        "n02: IMG_1.HEIC not read. Convert images to PNG or JPEG to use them."
    ]


def test_another_number_of_folders_is_refused(folders):
    message = "has 3 classes. Required: 1000.*data.classes=3, or --config.data.class_list=FILE"
    with pytest.raises(ValueError, match=message):
        load_imagenet(folders, classes=1000)


def test_different_classes_in_training_and_test_are_refused(folders):
    (folders / "train" / "n03").rename(folders / "train" / "n04")
    message = "only in the first n04, only in the second n03"
    with pytest.raises(ValueError, match=message):
        load_imagenet(folders)


def test_an_empty_class_folder_is_named(folders):
    for file in (folders / "val" / "n02").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=f"{folders / 'val' / 'n02'} has no image file"):
        load_imagenet(folders, "test")


@pytest.mark.parametrize(
    ("inside", "found"), [(None, "nothing"), ("notes", "notes"), ("train", "train")]
)
def test_without_folders_the_message_says_what_to_prepare(tmp_path, inside, found):
    if inside:
        (tmp_path / "there" / inside).mkdir(parents=True)
    message = f"found {found}. Required: .*train/ and val/.*register.*--config.data.path=FOLDER"
    with pytest.raises(FileNotFoundError, match=message):
        load_imagenet(tmp_path / "there")


def test_no_path_at_all_is_refused(folders, monkeypatch):
    monkeypatch.chdir(folders)  # where train/ and val/ would be found
    with pytest.raises(FileNotFoundError, match="ImageNet at 'no path'"):
        load_imagenet("")


def test_fingerprint_of_folders_follows_names_sizes_and_labels(folders, tmp_path):
    file = folders / "train" / "n01" / "n01_1.png"
    before = load_imagenet(folders).fingerprint
    moved = folders.rename(tmp_path / "moved")
    assert load_imagenet(moved).fingerprint == before
    folders = moved.rename(folders)
    prints = {before, load_imagenet(folders, "test").fingerprint}
    (tmp_path / "list").write_text("n01\nn03\nn02\n")
    prints.add(load_imagenet(folders, class_list=tmp_path / "list").fingerprint)
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    prints.add(load_imagenet(folders).fingerprint)
    file.write_bytes(content)
    file.rename(file.with_name("n01_1b.png"))
    prints.add(load_imagenet(folders).fingerprint)
    assert len(prints) == 5


def test_fingerprint_of_folders_follows_labels_alone(folders):
    files = ["n01/n01_0.JPEG", "n02/n02_0.JPEG"]
    made = [
        images.FolderSource("some", "train", folders / "train", files, labels, ["a", "b"])
        for labels in ([0, 1], [1, 0])
    ]
    assert made[0].fingerprint != made[1].fingerprint


def test_fingerprint_decodes_nothing(folders):
    file = folders / "train" / "n01" / "n01_0.JPEG"
    before = load_imagenet(folders).fingerprint
    file.write_bytes(bytes(file.stat().st_size))
    assert load_imagenet(folders).fingerprint == before


def truncate(file, keep=0.6):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])


def test_damaged_files_are_passed_over_up_to_the_limit(folders, caplog):
    files = [folders / "train" / "n01" / f"n01_{i}" for i in range(3)]
    truncate(files[1].with_suffix(".png"))
    truncate(files[2].with_suffix(".WebP"), keep=0)
    made = load_imagenet(folders, damaged_limit=2)
    with caplog.at_level(logging.WARNING):
        # 1 and 2 of class 0 are damaged: the first of class 1 stands for them, with its label.
        assert shown(made)[:4] == [(30, 0), (0, 1), (0, 1), (0, 1)]
        assert shown(made)[:4] == [(30, 0), (0, 1), (0, 1), (0, 1)]
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2  # once each, however often they are met
    assert "n01_1.png cannot be decoded" in texts[0] and "n01_2.WebP cannot" in texts[1]


def test_a_folder_named_as_a_picture_is_a_damaged_one(folders, caplog):
    path = folders / "train" / "n01" / "n01_1.png"
    path.unlink()
    path.mkdir()
    found = shown(load_imagenet(folders, damaged_limit=1))
    assert found[1] == found[2] != found[0]
    assert "n01_1.png cannot be decoded: it is a folder" in caplog.text


def test_the_last_example_is_replaced_by_the_first(folders):
    truncate(folders / "train" / "n03" / "n03_2.WebP", keep=0.3)
    assert shown(load_imagenet(folders, damaged_limit=1))[8] == (30, 0)


def test_more_damaged_files_than_the_limit_are_an_error(folders):
    for index, end in enumerate(("JPEG", "png", "WebP")):
        truncate(folders / "train" / "n02" / f"n02_{index}.{end}", keep=0.3)
    made = load_imagenet(folders, damaged_limit=2)
    message = r"3 images cannot be decoded, among them .*n02_0.JPEG .*n02_2.WebP.*at most 2 of 9"
    for _ in range(2):  # and stays one
        with pytest.raises(ValueError, match=message):
            made[3]
    assert load_imagenet(folders, damaged_limit=3)[3]["label"] == 2


def test_a_split_of_damaged_files_only_is_an_error(folders):
    for file in (folders / "val").glob("*/*"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="6 images cannot be decoded.*at most 5 of 6"):
        load_imagenet(folders, "test", damaged_limit=100)[0]


def test_a_file_that_is_gone_is_not_passed_over(folders):
    made = load_imagenet(folders, damaged_limit=9)
    (folders / "train" / "n01" / "n01_0.JPEG").unlink()
    with pytest.raises(FileNotFoundError, match="n01_0.JPEG"):
        made[0]


def test_no_damage_escapes(folders):
    """Whatever is wrong inside a file, the next image takes its place."""
    rng = np.random.default_rng(0)
    for name in ("n01_0.JPEG", "n01_1.png", "n01_2.WebP"):
        file = folders / "train" / "n01" / name
        whole = file.read_bytes()
        for _ in range(200):
            content = np.frombuffer(whole, np.uint8).copy()
            content[rng.integers(0, len(content), 4)] = rng.integers(0, 256, 4)
            file.write_bytes(content.tobytes())
            index = int(name[4])
            example = load_imagenet(folders, damaged_limit=1)[index]
            assert example["image"].dtype == np.uint8 and example["image"].shape[2] == 3
        file.write_bytes(whole)


def test_threads_count_a_damaged_file_once(folders, caplog):
    truncate(folders / "train" / "n01" / "n01_0.JPEG")
    made = load_imagenet(folders, damaged_limit=1)
    with caplog.at_level(logging.WARNING), concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: int(made[0]["image"][0, 0, 0]), range(200)))
    assert set(found) == {40} and len(caplog.records) == 1


def test_a_folder_source_survives_pickling_and_counts_anew(folders, caplog):
    truncate(folders / "train" / "n01" / "n01_0.JPEG")
    made = load_imagenet(folders, damaged_limit=1)
    first = shown(made), made.fingerprint, repr(made)
    again = pickle.loads(pickle.dumps(made))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert (shown(again), again.fingerprint, repr(again)) == first
    assert len(caplog.records) == 1


# Digits.


def test_digits_have_a_fixed_split():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    raw = sklearn_datasets.load_digits()
    train, test = digits.load("train", 10), digits.load("test", 10)
    assert (len(train), len(test)) == (1437, 360)
    order = np.random.default_rng(0).permutation(1797)
    for made, index, position in ((train, 0, 0), (train, 1436, 1436), (test, 0, 1437)):
        example, original = made[index], raw.images[order[position]]
        assert example["label"] == raw.target[order[position]]
        assert example["image"].shape == (8, 8, 3)
        np.testing.assert_array_equal(
            example["image"], np.floor(original * 15.9375 + 0.5)[..., None].repeat(3, axis=2)
        )
    both = {x["image"].tobytes() for x in train} | {x["image"].tobytes() for x in test}
    assert len(both) == len({x.tobytes() for x in raw.images})
    assert max(x["image"].max() for x in test) == 255


def test_digits_stay_the_same():
    pytest.importorskip("sklearn.datasets")
    found = digits.load("train", 10).fingerprint, digits.load("test", 10).fingerprint
    assert found == ("fdd7018ffdda24e2", "0ce9dfda32c59838")


def test_digits_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="digits with 9 classes.*--config.data.classes=10"):
        digits.load("train", 9)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        digits.load("train", 10)


# The real images.


def test_real_cifar10():
    if not (CIFAR_DIR / "train.npz").is_file():
        pytest.skip("needs images of CIFAR-10; set WONN_CIFAR_DIR to their folder")
    train, test = load_cifar(CIFAR_DIR), load_cifar(CIFAR_DIR, split="test")
    assert len(train) > len(test) > 0 and train.fingerprint != test.fingerprint
    counts = np.bincount([x["label"] for x in train], minlength=10)
    assert counts.min() > 0.05 * len(train)
    # Photographs: neighbouring pixels are alike, which a wrong order of axes would undo.
    pixels = np.stack([train[i]["image"] for i in range(200)]).astype(float)
    for axis in (1, 2):
        assert np.abs(np.diff(pixels, axis=axis)).mean() < 0.4 * pixels.std()


def test_pictures_of_another_size_are_refused_before_training():
    data = Digits(image_size=16)
    with pytest.raises(ValueError, match=r"images of 8×8, not of .*crop_scale=0\.08"):
        data.load("train", ImageAugmentation())
    train = data.load("train", ImageAugmentation(crop_scale=0.5))
    assert train.example(0, np.random.default_rng(0))["input"].shape == (16, 16, 3)
    with pytest.raises(ValueError, match=r"image_size=8 if they are square, or .*resize=16"):
        data.load("test", ImageAugmentation(crop_scale=0.5))


def test_augmentation_that_is_not_for_images_is_refused():
    with pytest.raises(ValueError, match="augment.name='none' is not for images; use 'image'"):
        Digits().load("train", NoAugmentation())
