"""CIFAR-10 and CIFAR-100: 32x32 images, from the original archives, arrays or TFDS."""

import dataclasses
import hashlib
import http.client
import io
import os
import pickle
import shutil
import tarfile
import urllib.request
import uuid
import zlib

import numpy as np
import tensorflow_datasets as tfds

from wonn_jax.config import register
from wonn_jax.data import images, source
from wonn_jax.data.documents import check_fetched


@dataclasses.dataclass(frozen=True)
class _Original:
    """The published form of a data set."""

    names: str  # class names
    archives: tuple[str, str]  # with pickled and with binary files
    md5: str  # of the first archive
    folders: tuple[str, str]  # folder in each archive
    files: dict[str, tuple[str, ...]]  # of each split; binary files have the suffix .bin
    label: bytes  # key of the labels in the pickled files
    label_bytes: int  # number before each image in the binary files; the last is the label

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.names.split())

    @property
    def url(self) -> str:
        return f"https://www.cs.toronto.edu/~kriz/{self.archives[0]}"


_NAMES_10 = "airplane automobile bird cat deer dog frog horse ship truck"
_NAMES_100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house
    kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
    tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm
"""
ORIGINALS = {
    "cifar10": _Original(
        names=_NAMES_10,
        archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        md5="c58f30108f718f92721af3b95e74349a",
        folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
        files={
            "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test": ("test_batch",),
        },
        label=b"labels",
        label_bytes=1,
    ),
    "cifar100": _Original(
        names=_NAMES_100,
        archives=("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folders=("cifar-100-python", "cifar-100-binary"),
        files={"train": ("train",), "test": ("test",)},
        label=b"fine_labels",
        label_bytes=2,
    ),
}
_ENDS = ("", ".bin")  # suffixes of pickled and of binary files
_SHAPE = (32, 32, 3)
_TIMEOUT = 10  # seconds without a response


@dataclasses.dataclass(frozen=True)
class _Cifar(images.ImageData):
    """`path`: an original archive, its folder, `train.npz` and `test.npz`; see `load`."""

    classes: int = 10
    image_size: int = 32

    def pictures(self, split: str) -> images.ArraySource:
        return load(self.name, self.place, data_dir=self.folder, split=split, classes=self.classes)


@register("cifar10")
@dataclasses.dataclass(frozen=True)
class Cifar10(_Cifar):
    """CIFAR-10, fetched if there is no `path`."""

    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)


@register("cifar100")
@dataclasses.dataclass(frozen=True)
class Cifar100(_Cifar):
    """CIFAR-100 with its fine labels, fetched if there is no `path`."""

    classes: int = 100
    mean: tuple[float, ...] = (0.5071, 0.4867, 0.4408)
    std: tuple[float, ...] = (0.2675, 0.2565, 0.2761)


def load(
    name: str,
    path: str | os.PathLike = "",
    *,
    data_dir: str | os.PathLike,
    split: str,
    classes: int,
) -> images.ArraySource:
    """Loads one split of CIFAR-10, or of CIFAR-100 with its fine labels.

    Args:
        name: "cifar10" or "cifar100".
        path: one of: an original archive (.tar.gz, pickled or binary); the folder that it
            unpacks to; a folder that contains one of these; a folder with train.npz and test.npz,
            with arrays `image` uint8 `[N, 32, 32, 3]` and `label` `[N]`; a folder that TFDS has
            prepared as array_record. Empty to download the archive and prepare it, once, in
            `data_dir`.
        data_dir: where TFDS keeps its data sets. Not used with `path`.
        split: "train" or "test".
        classes: number of classes, each of which must occur in training. If it is not the
            published one, classes are named by their labels.

    Raises:
        ConnectionError: the archive cannot be downloaded.
        FileNotFoundError: `path` contains none of these.
        ValueError: the files are damaged or contain something else.
    """
    if name not in ORIGINALS:
        raise ValueError(
            f"Data set {name!r} was asked for. Required: one of {', '.join(ORIGINALS)}. Type "
            "--config.data.name=cifar10."
        )
    source.check_request(name, split, 1, 1)
    pictures, labels, where = _read(name, os.fspath(path) or _prepared(name, data_dir), split)
    if pictures.shape[1:] != _SHAPE or pictures.dtype != np.uint8:
        way = images.conversion(pictures)
        if pictures.shape[3:] == (3,) and pictures.dtype == np.uint8:
            way = "Resize them, with PIL.Image.fromarray(image).resize((32, 32))."
        raise ValueError(
            f"{where}: found images {pictures.dtype} {list(pictures.shape)}. Required: uint8 "
            f"[N, 32, 32, 3], 0 to 255. {way} Or take the original archive."
        )
    names = ORIGINALS[name].classes
    if len(names) != classes:
        names = tuple(map(str, range(classes)))
    result = images.ArraySource(name, split, pictures, labels, names, where)
    missing = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
    if split == "train" and missing:
        raise ValueError(
            f"{where}: no image has one of the labels {missing[:10]} ({len(missing)} of {classes} "
            "classes never occur). Required: every class in training. Set --config.data.classes "
            "to the number of classes of the data, number them from 0, or take the whole data set."
        )
    return result


def _read(name: str, path: str, split: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Images and labels at `path`, and the file or folder that they come from."""
    original = ORIGINALS[name]
    if path.endswith(".npz") and os.path.isfile(path):
        raise ValueError(
            f"{path} is one file. Required: the folder of train.npz and test.npz. Use "
            f"--config.data.path={os.path.dirname(path) or '.'}"
        )
    if os.path.isfile(path):
        return _read_original(name, path, split)
    if os.path.isfile(os.path.join(path, "dataset_info.json")):
        return _read_records(name, path, split)
    if any(os.path.isfile(os.path.join(path, f"{s}.npz")) for s in source.SPLITS):
        return _read_npz(os.path.join(path, f"{split}.npz"))
    files = {file + end for s in source.SPLITS for file in original.files[s] for end in _ENDS}
    for folder in (path, *(os.path.join(path, inner) for inner in original.folders)):
        if any(os.path.isfile(os.path.join(folder, file)) for file in files):
            return _read_original(name, folder, split)
    for archive in original.archives:
        if os.path.isfile(os.path.join(path, archive)):
            return _read_original(name, os.path.join(path, archive), split)
    found = ", ".join(sorted(os.listdir(path))[:5]) if os.path.isdir(path) else "no such path"
    raise FileNotFoundError(
        f"{path} does not hold {name}: found {found or 'an empty folder'}. Required: one of "
        f"{', '.join(original.archives + original.folders)}; train.npz and test.npz; or a folder "
        f"that TFDS prepared as array_record. Type: curl -LO {original.url} and then "
        f"--config.data.path={original.archives[0]}"
    )


def _read_npz(file: str) -> tuple[np.ndarray, np.ndarray, str]:
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"{file} is not there. Required: a folder with train.npz and test.npz. Write it with "
            "numpy.savez(file, image=images, label=labels)."
        )
    arrays = source.read_arrays(file)
    names = list(arrays) if isinstance(arrays, np.lib.npyio.NpzFile) else []
    if not isinstance(arrays, np.lib.npyio.NpzFile) or not {"image", "label"} <= {*names}:
        raise ValueError(
            f"{file}: found {', '.join(names) or 'no names of arrays'}. "
            "Required: image and label. Write it with numpy.savez(file, image=images, "
            "label=labels)."
        )
    with arrays:
        pictures, labels = (source.read_member(arrays, x, file) for x in ("image", "label"))
    return pictures, labels, file


def _read_records(name: str, folder: str, split: str) -> tuple[np.ndarray, np.ndarray, str]:
    required = _SHAPE, len(ORIGINALS[name].classes)
    records = images.RecordSource(name, split, folder, [split])
    if (records.image_shape, len(records.classes)) != required:
        raise ValueError(
            f"{folder}: found images of shape {records.image_shape} in {len(records.classes)} "
            f"classes. Required: shape {required[0]} in {required[1]} classes. Use "
            f"--config.data.path=FOLDER with the folder of {name}."
        )
    examples = [records[index] for index in range(len(records))]
    pictures, labels = (np.stack([x[key] for x in examples]) for key in ("image", "label"))
    return pictures, labels, folder


def _read_original(name: str, place: str, split: str) -> tuple[np.ndarray, np.ndarray, str]:
    """A split from an original archive, or from the folder that it unpacks to."""
    stems = ORIGINALS[name].files[split]
    wanted = {end: [stem + end for stem in stems] for end in _ENDS}
    contents = _contents(place, {file for files in wanted.values() for file in files})
    for end, files in wanted.items():
        if contents.keys() >= set(files):
            parse = _parse_binary if end else _parse_pickle
            parts = [parse(name, contents[f], os.path.join(place, f)) for f in files]
            pictures, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            pictures = pictures.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            return np.ascontiguousarray(pictures), labels, place
    raise ValueError(
        f"{place}: of the files of {name}/{split} it has {sorted(contents) or 'none'}. Required: "
        f"{', '.join(stems)}, or the same with .bin. Copy it again, or type: curl -LO "
        f"{ORIGINALS[name].url}"
    )


def _contents(place: str, wanted: set[str]) -> dict[str, bytes]:
    """The contents of those wanted files that the folder or archive contains."""
    contents = {}
    if os.path.isdir(place):
        for name in wanted & set(os.listdir(place)):
            with open(os.path.join(place, name), "rb") as file:
                contents[name] = file.read()
        return contents
    with open(place, "rb") as file:
        check_fetched(file.read(64), place)
    try:
        with tarfile.open(place, "r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member)  # None for what is not a file
                name = os.path.basename(member.name)
                if stream and name in wanted:
                    contents[name] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{place} cannot be read: {error}. Required: a whole archive .tar.gz. Copy or fetch "
            "it again."
        ) from error
    return contents


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain data and NumPy arrays, and refuses everything else.

    Loading a pickle may call any function of any module, so that an untrusted archive could run
    arbitrary code. The published files only need the names below, which only construct arrays.
    """

    _ALLOWED = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # Constructs pickled arrays; NumPy 2 has moved it.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no array needs")
        return self._ALLOWED[module, name]


def _parse_pickle(name: str, content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[N, 3072]` and labels `[N]` of one of the pickled files."""
    key = ORIGINALS[name].label
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        pictures, labels = np.asarray(batch[b"data"]), np.asarray(batch[key])
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError),
        *(LookupError, OverflowError, MemoryError),
    ) as error:
        raise ValueError(
            f"{where} cannot be read: {error}. Required: a pickled dictionary with data and "
            f"{key.decode()}, as published. Type: curl -LO {ORIGINALS[name].url}"
        ) from error
    if pictures.dtype != np.uint8 or pictures.ndim != 2 or pictures.shape[1] != 3072:
        raise ValueError(
            f"{where}: found data {pictures.dtype} {list(pictures.shape)}. Required: uint8 "
            f"[N, 3072]. Type: curl -LO {ORIGINALS[name].url}"
        )
    return pictures, labels


def _parse_binary(name: str, content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[N, 3072]` and labels `[N]` of one of the binary files."""
    label_bytes = ORIGINALS[name].label_bytes
    record = label_bytes + 3072
    if len(content) % record:
        raise ValueError(
            f"{where}: found {len(content)} bytes. Required: a multiple of {record} ({label_bytes} "
            f"of labels, 3072 of the image). Copy or download it again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return rows[:, label_bytes:], rows[:, label_bytes - 1]


class CifarBuilder(tfds.core.GeneratorBasedBuilder):
    """CIFAR from its original archive as a TFDS data set, in the order of the archive.

    The CIFAR builders of TFDS itself need TensorFlow.
    """

    name = "cifar"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ORIGINALS]
    downloads = ""  # folder of the archive; must be set before preparing

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(
                shape=_SHAPE, dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB
            ),
            "label": tfds.features.ClassLabel(names=ORIGINALS[self.builder_config.name].classes),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="CIFAR from its original archive; see wonn_jax.data.cifar.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        archive = _fetched(self.builder_config.name, self.downloads)
        return {split: self._generate_examples(archive, split) for split in source.SPLITS}

    def _generate_examples(self, archive, split):
        pictures, labels, _ = _read_original(self.builder_config.name, archive, split)
        for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            yield index, {"image": picture, "label": int(label)}


def _prepared(name: str, data_dir: str | os.PathLike) -> str:
    """Folder of the data set in array_record, prepared first if it does not exist."""
    with source.quiet_tfds():
        builder = CifarBuilder(data_dir=data_dir, config=name, file_format="array_record")
    builder.downloads = os.path.join(data_dir, "downloads")
    return source.prepare_once(builder)


def _fetched(name: str, folder: str) -> str:
    """The original archive in `folder`, downloaded if it is missing, with a verified checksum."""
    original = ORIGINALS[name]
    file = os.path.join(folder, os.path.basename(original.url))
    if os.path.isfile(file):
        _check_md5(file, original.md5, file)
        return file
    os.makedirs(folder, exist_ok=True)
    temporary = f"{file}.incomplete.{uuid.uuid4().hex}"
    try:
        _download(original.url, temporary)
        _check_md5(temporary, original.md5, original.url)
        os.replace(temporary, file)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return file


def _download(url: str, file: str) -> None:
    """Downloads `url` to `file`; raises a ConnectionError if that fails."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, open(file, "wb") as target:
            shutil.copyfileobj(answer, target, 2**20)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"{url} could not be fetched: {error}. Required: a network, or the archive. On a "
            f"machine with a network type: curl -LO {url} and copy the file here; then add "
            f"--config.data.path={os.path.basename(url)}"
        ) from None


def _check_md5(file: str, required: str, where: str) -> None:
    with open(file, "rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != required:
        raise ValueError(
            f"{where} has the MD5 checksum {found}. Required: {required}, that of the published "
            f"archive. Remove what is there and start again, or fetch it elsewhere and add "
            f"--config.data.path={os.path.basename(where)}"
        )
