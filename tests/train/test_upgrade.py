"""Runs of version 0.1.0: they go on from their checkpoints, and are evaluated."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cards import card
from runs import arrays, tiny

from wonn_jax.config import build, to_dict
from wonn_jax.evaluators.run import run_eval
from wonn_jax.tools.network import config_of_run
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.checkpoint import Checkpoints, check_same_experiment
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train
from wonn_jax.train.upgrade import array_name, is_old, upgrade

# What that version wrote into config.json, defaults of all tasks and networks in one list.
BOARDS = {"height": 30, "width": 30, "min_path": 109, "train_examples": 1000}
BOARDS |= {"test_examples": 1000, "seed": 0}
IMAGES = {"classes": 10, "class_list": "", "image_size": 32, "resize": 0, "damaged_limit": 10}
IMAGES |= {"mean": [0.0, 0.0, 0.0], "deviation": [1.0, 1.0, 1.0]}
AUGMENT = {"crop_scale": 0.0, "crop_filter": "bilinear", "flip": False, "randaugment": 0}
AUGMENT |= {"magnitude": 9, "jitter": [], "augmix": False, "erasing": 0.0, "cutmix": 0.0}
AUGMENT |= {"cutmix_alpha": 1.0}
MODEL = {"name": "winfree", "width": 128, "layers": 1, "steps": [24], "heads": 8}
MODEL |= {"step_size": 0.1, "initial_phase": "noise", "phase_scale": 0.1, "norm": "group"}
MODEL |= {"precision": "float32", "attention": "auto", "remat": 1, "keep_attention": True}
MODEL |= {"interaction": "trig", "group": 2, "coupling": "attention"}
MODEL |= {"kernels": [7, 5, 5, 3, 3, 3], "widening": False, "patch": 1}
MODEL |= {"transition_bias": False, "readout_side": 3}
OPTIMIZER = {"name": "adam", "learning_rate": 1e-3, "schedule": "constant", "warmup": "never"}
OPTIMIZER |= {"decay": "never", "end_learning_rate": 1e-6, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
OPTIMIZER |= {"weight_decay": 0.0, "clip_norm": 0.0}
TRAIN = {"length": "9000 epochs", "batch_size": 64, "last_batch": "keep", "accumulate": 1}
TRAIN |= {"label_smoothing": 0.0}
EVAL = {"every": "100 epochs", "batch_size": 50, "examples": 0, "pictures": 4, "draws": 1}
EVAL |= {"checkpoint": "last", "steps": 0, "votes": 1, "at_once": 0, "stop": "never"}
EVAL |= {"limit": 0, "tolerance": 1e-3, "patience": 2}
OLD = {
    "task": "maze",
    "seed": 0,
    "loss_weights": [],
    "data": {"path": "", "dir": "~/.cache/wonn_jax", "workers": 0, "prefetch": 8, "name": "cifar10"}
    | BOARDS
    | IMAGES,
    "augment": AUGMENT,
    "model": MODEL,
    "optimizer": OPTIMIZER,
    "train": TRAIN,
    "ema": {"decay": 0.995, "every": 10, "after": 100},
    "eval": EVAL,
    "checkpoint": {"every": "10 minutes", "keep": 3, "best": "ema_accuracy"},
    "log": {"every": "10 steps", "seconds": 10.0, "tensorboard": True, "peak_flops": 0.0},
    "profile": {"start": 10, "steps": 0},
    "devices": {"cpu_devices": 0, "compilation_cache": ""},
    "mesh": {"data": -1, "fsdp": 1, "grid": 1},
}


def old(**changes: Any) -> dict[str, Any]:
    """A configuration in the old layout with some fields changed."""
    config = json.loads(json.dumps(OLD))
    for path, value in changes.items():
        section, _, field = path.rpartition("__")
        (config[section] if section else config)[field] = value
    return config


PAPER = {
    ("maze_hard",): {
        "model__precision": "bfloat16",
        "optimizer__schedule": "cosine",
        "optimizer__decay": "200 epochs",
    },
    ("sudoku",): {
        "task": "sudoku",
        "data__height": 9,
        "data__width": 9,
        "data__train_examples": 9000,
        "model__precision": "bfloat16",
        "model__width": 256,
        "model__steps": [16],
        "model__keep_attention": False,
        "train__length": "100 epochs",
        "train__batch_size": 100,
    },
    ("cifar10", "resnet18"): {
        "task": "image",
        "data__mean": [0.4914, 0.4822, 0.4465],
        "data__deviation": [0.2470, 0.2435, 0.2616],
        "augment__crop_scale": 0.2,
        "augment__flip": True,
        "augment__jitter": [0.4, 0.4, 0.4, 0.1],
        "augment__augmix": True,
        "model__name": "resnet",
        "model__width": 64,
        "model__blocks": [2, 2, 2, 2],
        "optimizer__name": "adamw",
        "optimizer__learning_rate": 5e-4,
        "optimizer__weight_decay": 1e-4,
        "train__length": "200 epochs",
        "train__last_batch": "drop",
        "ema__decay": 0.99,
        "ema__after": 200,
    },
}


@pytest.mark.parametrize("name", PAPER, ids=":".join)
def test_runs_of_the_cards_are_still_theirs(name):
    """What such a run has in its config.json is the same experiment as the card today."""
    found = upgrade(old(**PAPER[name]))
    check_same_experiment(Path("old"), found, to_dict(freeze(card(*name))))
    assert isinstance(build(Config, found), Config)


def test_what_an_old_run_depends_on_is_carried_over():
    with pytest.raises(ValueError, match=r"task\.loss_weights: \[1, 1, 1, 1, 1\] th"):
        found = upgrade(old(**PAPER["maze_hard",], loss_weights=[1, 1, 1, 1, 1]))
        check_same_experiment(Path("old"), found, to_dict(freeze(card("maze_hard"))))
    smooth = upgrade(old(**PAPER["cifar10", "resnet18"], train__label_smoothing=0.1))
    assert smooth["task"] == {"name": "image", "label_smoothing": 0.1}
    assert smooth["data"]["std"] == [0.2470, 0.2435, 0.2616]
    assert upgrade(old(eval__limit=7, eval__stop="energy"))["eval"]["max_steps"] == 7
    assert upgrade(old(data__path="x", data__train_examples=7))["data"]["train_examples"] == 0
    assert not is_old(smooth) and upgrade(smooth) == smooth


@pytest.fixture
def old_run(mazes, finished, tmp_path) -> Path:
    """The run `finished`, as that version would have left it."""
    config = old(
        data__path=str(mazes),
        data__height=5,
        data__width=5,
        model__width=8,
        model__heads=2,
        model__steps=[2],
        train__length="6 steps",
        train__batch_size=16,
        ema__after=1,
        ema__every=1,
        eval__every="3 steps",
        checkpoint__every="2 steps",
        log__every="1 steps",
    )
    workdir = tmp_path / "old"
    shutil.copytree(finished, workdir, ignore=shutil.ignore_patterns("best"))
    (workdir / "config.json").write_text(json.dumps(config))
    shutil.rmtree(workdir / "checkpoints")
    like = Experiment(tiny(mazes)).abstract_state()
    with (
        Checkpoints(finished / "checkpoints", 3, writable=False) as new,
        Checkpoints(workdir / "checkpoints", 3) as written,
    ):
        found = new.restore_step(4, like)
        state = {name: getattr(found.state, name) for name in ("step", "params", "opt_state")}
        state |= {"batch_stats": found.state.model_state["batch_stats"], "ema": found.state.ema}
        written.save(4, state, config, found.data)
    return workdir


@pytest.mark.usefixtures("quick_compilation")
def test_training_goes_on_bit_for_bit(mazes, finished, old_run, capsys):
    train(tiny(mazes), old_run)
    assert "start    step 4, resumed from" in capsys.readouterr().out
    lines = (old_run / "metrics.jsonl").read_bytes()
    assert lines == (finished / "metrics.jsonl").read_bytes()
    ours, theirs = (arrays(workdir, tiny(mazes), 6) for workdir in (old_run, finished))
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for name, x in ours.items():
        assert x.tobytes() == theirs[name].tobytes(), name
    assert not is_old(json.loads((old_run / "config.json").read_text()))


@pytest.mark.usefixtures("quick_compilation")
def test_evaluation_reads_it(mazes, finished, old_run):
    new_run = shutil.copytree(finished, old_run.parent / "new")
    expected = run_eval(tiny(mazes, eval__checkpoint="4"), new_run)
    found = run_eval(tiny(mazes), old_run)
    for weights in ("raw", "ema"):
        np.testing.assert_equal(found[weights], expected[weights])  # NaN equals NaN
    config = config_of_run(old_run)
    assert config.model == tiny(mazes).model
    assert len(read_lines(old_run / "metrics.jsonl")) == 8


def test_another_experiment_is_refused_with_todays_names(mazes, old_run):
    message = r"holds another experiment:\n  model\.heads: 2 there, 4 now\nUse another --workdir"
    with pytest.raises(ValueError, match=message):
        train(tiny(mazes, model__heads=4), old_run)


def test_names_of_arrays():
    assert array_name("batch_stats.norm.mean") == "model_state.batch_stats.norm.mean"
    assert array_name("ema.batch_stats.norm.mean") == "ema.batch_stats.norm.mean"
