"""A run on images from the outside: files, resuming with augmentation, batches."""

import json
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from cards import card, changed
from PIL import Image
from runs import arrays, quickly

from wonn_jax.data.pipeline import train_batches
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """48 and 16 images in the size of CIFAR, each of the colour of its class and some noise."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (10, 1, 1, 3))
    for split, count in (("train", 48), ("test", 16)):
        label = np.arange(count) % 10
        image = colours[label] + rng.integers(-40, 40, (count, 32, 32, 3))
        np.savez(folder / f"{split}.npz", image=image.astype(np.uint8), label=label)
    return folder


def tiny(data: Path, **changes) -> Config:
    settings = {
        "task__label_smoothing": 0.1,
        "data__path": str(data),
        "data__mean": (0.5,) * 3,
        "data__std": (0.25,) * 3,
        "augment__crop_scale": 0.5,
        "augment__erasing": 0.5,
        "augment__cutmix": 0.8,
        "model__width": 8,
        "model__heads": 2,
        "model__patch": 8,
        "model__layers": 1,
        "model__steps": (1,),
        "train__batch_size": 16,
        "train__length": "6 steps",
        "ema__after": 1,
        "ema__every": 1,
        "eval__every": "3 steps",
        "eval__batch_size": 16,
        "eval__pictures": 4,
        "checkpoint__every": "3 steps",
        "log__every": "1 steps",
        "log__tensorboard": False,
    }
    return freeze(changed(card("cifar10"), **(settings | changes)))


@pytest.fixture(scope="module")
def finished(data, compiled, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    with quickly(compiled):
        train(tiny(data), workdir)
    return workdir


# --- The run ---------------------------------------------------------------------------------


def test_metrics_of_a_run(finished):
    lines = read_lines(finished / "metrics.jsonl")
    steps = [x for x in lines if x["kind"] == "train"]
    tests = [x for x in lines if x["kind"] == "test"]
    assert [x["step"] for x in steps] == [1, 2, 3, 4, 5, 6]
    assert [x["step"] for x in tests] == [3, 6]
    assert all(np.isfinite(x["loss"]) and 0 <= x["accuracy"] <= 1 for x in steps)
    metrics = ("loss", "accuracy", "top_5", "energy")
    names = {f"{w}_{m}" for w in ("raw", "ema") for m in metrics}
    for line in tests:
        assert names == line.keys() - {"step", "kind"}
        for weights in ("raw", "ema"):
            assert line[f"{weights}_accuracy"] <= line[f"{weights}_top_5"] <= 1
    assert tests[0]["raw_loss"] != tests[1]["raw_loss"]
    assert json.loads((finished / "config.json").read_text())["augment"]["cutmix"] == 0.8


def test_pictures_of_a_run(finished):
    with Image.open(finished / "augmented.png") as image:
        assert image.format == "PNG" and image.size == (1320, 440)  # two rows of eight
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 1000
    found = sorted((finished / "predictions").iterdir())
    assert [p.name for p in found] == ["step_00000003.png", "step_00000006.png"]
    with Image.open(found[0]) as image:
        assert image.format == "PNG" and image.size == (660, 247)  # one row of four


def test_resumed_equals_undisturbed(data, finished, tmp_path, capsys):
    """Augmentation, erasing and CutMix of step 4 do not ask what was before."""
    train(tiny(data, train__length="3 steps", eval__pictures=0), tmp_path)
    assert not (tmp_path / "predictions").exists()
    train(tiny(data), tmp_path)
    assert "step 3, resumed from" in capsys.readouterr().out
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()
    ours, theirs = (arrays(workdir, tiny(data), 6) for workdir in (tmp_path, finished))
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], err_msg=name)
    picture = (tmp_path / "augmented.png").read_bytes()
    assert picture == (finished / "augmented.png").read_bytes()


# --- Batches ---------------------------------------------------------------------------------


def batches(data: Path, *, start: int = 0, stop: int = 6, **rest):
    config = tiny(data)
    found = train_batches(
        config.data.load("train", config.augment),
        seed=config.seed,
        start=start,
        stop=stop,
        batch_size=16,
        last_batch="drop",
        **rest,
    )
    return list(found)


def assert_same_batches(left, right):
    for ours, theirs in zip(left, right, strict=True):
        assert ours.keys() == theirs.keys() == {"input", "target", "id"}
        for name, x in ours.items():
            np.testing.assert_array_equal(x, theirs[name], err_msg=name)


def test_hosts_read_slices_of_the_one_augmented_batch(data):
    whole = batches(data)
    assert whole[0]["input"].shape == (16, 32, 32, 3) and whole[0]["input"].dtype == np.uint8
    parts = [batches(data, rows=range(8 * i, 8 * i + 8)) for i in range(2)]
    joined = [
        {name: np.concatenate([x[name] for x in both]) for name in both[0]}
        for both in zip(*parts, strict=True)
    ]
    assert_same_batches(joined, whole)
    assert_same_batches(batches(data, start=4), whole[4:])


def test_every_epoch_is_augmented_anew(data):
    raw = np.load(data / "train.npz")
    seen = [
        {int(i): x for b in part for i, x in zip(b["id"], b["input"], strict=True)}
        for part in (batches(data, stop=3), batches(data, start=3))
    ]
    assert seen[0].keys() == seen[1].keys() == set(range(48))
    for number, first in seen[0].items():
        assert (first != seen[1][number]).any() and (first != raw["image"][number]).any()
    for batch in batches(data):
        np.testing.assert_array_equal(batch["target"], raw["label"][batch["id"]])


def test_loading_processes_change_nothing(data):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain asks for it
    assert_same_batches(batches(data, stop=4, workers=1), batches(data, stop=4))
