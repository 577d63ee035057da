"""A run on pictures from the outside: files, resuming with augmentation, batches, pictures."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

from wonn_jax import config as configuration
from wonn_jax.data import load_source
from wonn_jax.data.pipeline import train_batches
from wonn_jax.train import loop as train
from wonn_jax.train import step
from wonn_jax.train.checkpoint import Checkpoints, flatten
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.metrics import read_lines


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs run for milliseconds and would be compiled for seconds."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "compiler_options", lambda _: options)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """48 and 16 pictures in the size of CIFAR, each of the colour of its class and some noise."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (10, 1, 1, 3))
    for split, count in (("train", 48), ("test", 16)):
        label = np.arange(count) % 10
        image = colours[label] + rng.integers(-40, 40, (count, 32, 32, 3))
        np.savez(folder / f"{split}.npz", image=image.astype(np.uint8), label=label)
    return folder


def tiny(data: Path, **changes) -> configuration.Config:
    config = configuration.default_config()
    config.task = "image"
    config.data.path, config.data.name = str(data), "cifar10"
    config.data.mean, config.data.deviation = (0.5,) * 3, (0.25,) * 3
    config.augment.crop_scale, config.augment.flip, config.augment.augmix = 0.5, True, True
    config.augment.jitter = (0.4, 0.4, 0.4, 0.1)
    config.augment.erasing, config.augment.cutmix = 0.5, 0.8
    config.model.width, config.model.heads, config.model.patch = 8, 2, 8
    config.model.layers, config.model.steps = 1, (1,)
    config.train.batch_size, config.train.length = 16, "6 steps"
    config.train.last_batch, config.train.label_smoothing = "drop", 0.1
    config.ema.after, config.ema.every = 1, 1
    config.eval.every, config.eval.batch_size, config.eval.pictures = "3 steps", 16, 4
    config.checkpoint.every, config.log.every = "3 steps", "1 steps"
    config.log.tensorboard = False
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        (config[group] if group else config)[field] = value
    return configuration.freeze(config)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
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


def arrays(config: configuration.Config, workdir: Path) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint."""
    like = Experiment(config).abstract_state()
    with Checkpoints(workdir / "checkpoints", 3) as checkpoints:
        restored = checkpoints.restore(like, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert restored is not None and restored.step == 6
    return {name: np.asarray(x) for name, x in flatten(restored.state).items()}


def test_resumed_equals_undisturbed(data, finished, tmp_path, capsys):
    """Augmentation, erasing and CutMix of step 4 do not ask what was before."""
    train(tiny(data, train__length="3 steps", eval__pictures=0), tmp_path)
    assert not (tmp_path / "predictions").exists()
    first = (tmp_path / "augmented.png").read_bytes()
    train(tiny(data), tmp_path)
    assert "step 3, resumed from" in capsys.readouterr().out
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()
    ours, theirs = arrays(tiny(data), tmp_path), arrays(tiny(data), finished)
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], err_msg=name)
    assert (tmp_path / "augmented.png").read_bytes() != first  # of the batch it went on with


# --- Batches ---------------------------------------------------------------------------------


def batches(data: Path, *, start: int = 0, stop: int = 6, **rest):
    config = tiny(data)
    found = train_batches(
        load_source(config, "train"),
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
