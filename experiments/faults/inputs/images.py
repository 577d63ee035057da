"""Bad pictures: CIFAR as published, and folders of classes."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.runs import ROOT

CIFAR = "cifar-10-batches-py"
_FIELDS = {
    "model.width": 8,
    "model.heads": 2,
    "model.layers": 1,
    "model.steps": 1,
    "train.length": "1 steps",
    "train.batch_size": 4,
    "train.last_batch": "keep",
    "eval.batch_size": 4,
    "optimizer.warmup": "never",
    "data.workers": 0,
}


class _Evil:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


def _pickled(content: Any) -> bytes:
    return pickle.dumps(content, protocol=2)


@st.composite
def cifar(draw: st.DrawFn, bases: Path) -> Input:
    """One of the pickled files is bad."""
    file = draw(st.sampled_from([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]))
    good = (bases / CIFAR / file).read_bytes()
    data, labels = np.zeros((4, 3072), np.uint8), [0, 1, 2, 3]
    faults: dict[str, st.SearchStrategy[Content]] = {
        "another file": damage.whole_or_gone(),
        "cut off": damage.cut(good),
        "code": st.just(_pickled(_Evil())),
        "no data": st.just(_pickled({b"labels": labels})),
        "no labels": st.just(_pickled({b"data": data})),
        "a list": st.just(_pickled([1, 2])),
        "too few labels": st.just(_pickled({b"data": data, b"labels": labels[:3]})),
        "class 10": st.just(_pickled({b"data": data, b"labels": [0, 1, 2, 10]})),
        "class -1": st.just(_pickled({b"data": data, b"labels": [0, 1, 2, -1]})),
        "text as class": st.just(_pickled({b"data": data, b"labels": list("abcd")})),
        "small images": st.just(_pickled({b"data": data[:, :100], b"labels": labels})),
        "floats": st.just(_pickled({b"data": data / 2.0, b"labels": labels})),
        "no images": st.just(_pickled({b"data": data[:0], b"labels": []})),
    }
    fault = draw(st.sampled_from(list(faults)))
    files = {f"{CIFAR}/{file}": draw(faults[fault])}
    where = draw(st.sampled_from([HERE, f"{HERE}/{CIFAR}"]))
    return _train("cifar10", f"CIFAR: {fault}", where, (CIFAR,), {CIFAR: CIFAR}, files)


@st.composite
def arrays(draw: st.DrawFn) -> Input:
    """CIFAR as `train.npz` and `test.npz`, one of which is bad."""
    good = {"images": np.zeros((6, 32, 32, 3), np.uint8), "labels": np.arange(6)}
    which = draw(st.sampled_from(["train.npz", "test.npz"]))
    name, odd = (
        draw(st.sampled_from(["images", "labels"])),
        draw(st.sampled_from(sorted(damage.ODD_ARRAYS))),
    )
    faults: dict[str, st.SearchStrategy[Content]] = {
        "another file": damage.whole_or_gone(),
        "cut off": damage.cut(damage.npz(good)),
        f"{name} is {odd}": st.just(damage.npz(good | {name: damage.ODD_ARRAYS[odd]})),
        f"no {name}": st.just(damage.npz({n: x for n, x in good.items() if n != name})),
        "class 10": st.just(damage.npz(good | {"labels": np.arange(5, 11)})),
    }
    fault = draw(st.sampled_from(list(faults)))
    files: dict[str, Content] = {f"arrays/{x}": damage.npz(good) for x in ("train.npz", "test.npz")}
    files[f"arrays/{which}"] = draw(faults[fault])
    return _train("cifar10", f"arrays: {fault}", f"{HERE}/arrays", ("arrays",), {}, files)


@st.composite
def folders(draw: st.DrawFn) -> Input:
    """Folders of classes, with something missing or bad."""
    split, name = draw(st.sampled_from(["train", "val"])), draw(st.sampled_from(["cat", "dog"]))
    number = draw(st.integers(0, 2))
    emptied: dict[str, Content] = {f"images/{split}/{name}/{n}.png": None for n in range(3)}
    one = f"images/{split}/{name}/{number}.png"
    faults: dict[str, tuple[dict[str, Content], tuple[str, ...]]] = {
        "no split": ({f"images/{split}": None}, ()),
        "a file as split": ({f"images/{split}": b"hello"}, ()),
        "no class": ({f"images/{split}/{name}": None}, ()),
        "a class too many": ({f"images/{split}/eel/0.png": _png()}, ()),
        "no images of a class": (emptied, ()),
        "no picture": ({one: draw(damage.TEXTS)}, ()),
        "cut off": ({one: draw(damage.cut(_png()))}, ()),
        "a folder as picture": ({one: ("folder",)}, ()),
        "a link to nowhere": ({one: ("link", "nowhere")}, ()),
        "no folder": ({"images": None}, ()),
        "a file": ({"images": b"hello"}, ()),
        "classes": ({}, ("--config.data.classes=3",)),
        "no class list": ({}, ("--config.data.class_list=list.txt",)),
        "class list of others": ({"list.txt": b"eel\n"}, ("--config.data.class_list=list.txt",)),
        "class list is a folder": (
            {"list.txt": ("folder",)},
            ("--config.data.class_list=list.txt",),
        ),
        "class list not UTF-8": (
            {"list.txt": b"\xff\xfe\0cat"},
            ("--config.data.class_list=list.txt",),
        ),
    }
    fault = draw(st.sampled_from(list(faults)))
    files, flags = faults[fault]
    return _train(
        "imagenet100",
        f"folders: {fault}",
        f"{HERE}/images",
        ("images", "classes", "list.txt"),
        {"images": "images"},
        files,
        "--config.data.classes=2",
        "--config.data.image_size=8",
        "--config.data.resize=8",
        "--config.data.damaged_limit=0",
        "--config.model.patch=2",
        "--config.train.length=1 epochs",  # each picture is read
        *flags,
        refused=fault != "cut off",  # the last bytes of a picture may be spared
        begins=fault in ("no picture", "cut off", "a folder as picture"),
    )


def _png() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _train(
    card: str,
    fault: str,
    path: str,
    names: tuple[str, ...],
    copies: dict[str, str],
    files: dict[str, Content],
    *flags: str,
    refused: bool = True,
    begins: bool = False,
) -> Input:
    fields = _FIELDS | {"data.path": path}
    words = [f"--config={ROOT / 'configs' / card}.py", f"--workdir={HERE}/new"]
    words += [f"--config.{name}={value}" for name, value in fields.items()]
    arguments = (*words, *flags)
    expected = {"refused": refused, "begins": begins}
    return Input(fault, "wonn_jax.main", arguments, names, copies, files, **expected)


def inputs(bases: Path) -> st.SearchStrategy[Input]:
    return cifar(bases) | arrays() | folders()
