"""Configurations: every field exists and counts, contradictions are named with what to type."""

import dataclasses
import importlib.util
import subprocess
from pathlib import Path

import pytest

from wonn_jax import config as configuration

ROOT = Path(__file__).parents[1]
CARDS = [
    ("maze_hard", ""),
    ("maze_hard", "small"),
    ("sudoku", ""),
]


def card(name: str, preset: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


def changed(**changes):
    config = configuration.default_config()
    with config.unlocked(), config.ignore_type():
        for name, value in changes.items():
            group, _, field = name.rpartition("__")
            (config[group] if group else config)[field] = value
    return config


@pytest.mark.parametrize(("name", "preset"), CARDS)
def test_cards_freeze(name, preset):
    assert isinstance(configuration.freeze(card(name, preset)), configuration.Config)


@pytest.mark.parametrize(("name", "known"), [("maze_hard", "small"), ("sudoku", "leave it out")])
def test_unknown_preset_lists_the_known(name, known):
    with pytest.raises(ValueError, match=f"'tiny'.*{known}"):
        card(name, "tiny")


def test_the_papers_recipes():
    """Batch, length, optimizer and averages as the paper has them."""
    maze = configuration.freeze(card("maze_hard", ""))
    assert (maze.train.batch_size, maze.train.length, maze.train.last_batch) == (
        64,
        "9000 epochs",
        "keep",
    )
    assert (maze.optimizer.name, maze.optimizer.learning_rate) == ("adam", 1e-3)
    assert (maze.optimizer.schedule, maze.optimizer.decay) == ("cosine", "200 epochs")
    assert maze.optimizer.end_learning_rate == 1e-6
    assert (maze.ema.decay, maze.ema.every, maze.ema.after) == (0.995, 10, 100)
    assert (maze.model.width, maze.model.layers, maze.model.steps) == (128, 1, (24,))
    assert maze.model.precision == "bfloat16"
    sudoku = configuration.freeze(card("sudoku", ""))
    assert (sudoku.train.batch_size, sudoku.train.length) == (100, "100 epochs")
    assert (sudoku.optimizer.learning_rate, sudoku.optimizer.schedule) == (1e-3, "constant")
    assert (sudoku.model.width, sudoku.model.layers, sudoku.model.steps) == (256, 1, (16,))
    assert (sudoku.data.train_examples, sudoku.data.test_examples) == (9000, 1000)


MISTAKES = [
    (
        {"model__width": 100},
        r"width=100 is not divisible by twice config\.model\.heads=8.*"
        r"--config\.model\.width=96",
    ),
    ({"train__accumulate": 3}, r"batch_size=64 is not divisible.*batch_size=66"),
    ({"task": "chess"}, r"task='chess' is unknown; use one of maze, sudoku, image"),
    ({"task": "sudoku"}, r"9×9 cells, not config\.data\.height=30"),
    ({"model__precision": "float16"}, r"precision='float16' is unknown; use one of float32, bf"),
    ({"model__attention": "flash"}, "attention='flash' is unknown"),
    ({"model__norm": "layer"}, "norm='layer' is unknown"),
    ({"model__initial_phase": "ones"}, "initial_phase='ones' is unknown"),
    ({"optimizer__name": "sgd"}, "name='sgd' is unknown; use one of adam, adamw"),
    ({"optimizer__schedule": "step"}, "schedule='step' is unknown"),
    ({"optimizer__weight_decay": 0.1}, r"weight_decay=0\.1 has no effect.*name=adamw"),
    ({"optimizer__decay": "3 epochs"}, "no effect on a constant schedule"),
    ({"train__length": "9000"}, r"length='9000' is not a duration.*'100 steps'"),
    ({"train__length": "5 minutes"}, "write a number and one of steps, epochs"),
    ({"train__length": "never"}, "must not be 'never'"),
    ({"checkpoint__every": "now and then"}, "checkpoint.every='now and then' is not a duration"),
    ({"model__steps": (0,)}, r"model\.steps=\(0,\) must be at least 1"),
    ({"model__layers": -1}, r"model\.layers=-1 must be at least 1"),
    ({"model__step_size": float("nan")}, r"step_size=nan must be at least 0"),
    ({"ema__decay": 1.0}, r"ema\.decay=1\.0 must be at least 0 and below 1"),
    ({"loss_weights": (1.0, 2.0)}, "has 2 weights; maze takes 5, of wall, free"),
    ({"eval__checkpoint": "newest"}, "must be last, best or a step"),
    ({"model__heads": "8"}, r"heads='8' is of type str; it must be int"),
    ({"model__head": 8}, r"config\.model\.head is no field.*did you mean config\.model\.heads"),
    ({"optimizer__b2": 1.5}, r"optimizer\.b2=1\.5 must be at least 0 and below 1"),
    ({"loss_weights": (1.0, 1.0, -1.0, 1.0, 1.0)}, "must not be negative"),
    ({"model__attention": "cudnn"}, "takes bfloat16 or float16, not float32"),
    ({"checkpoint__best": "accuracy"}, "is no metric of maze; use one of .*ema_accuracy"),
    ({"nonsense": 8}, r"config\.nonsense is no field"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        configuration.freeze(changed(**changes))


def test_missing_field_is_named():
    config = configuration.default_config()
    del config.model.heads
    with pytest.raises(ValueError, match=r"config\.model lacks heads"):
        configuration.freeze(config)


def test_every_field_is_read_somewhere():
    """A setting that is silently ignored is worse than none."""
    source = "".join(
        path.read_text() for path in (ROOT / "wonn_jax").rglob("*.py") if path.name != "config.py"
    )
    for group in dataclasses.fields(configuration.Config):
        kind = group.type
        names = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        for name in names or [group.name]:
            assert f".{name}" in source, f"{group.name}.{name} is read nowhere"


def test_importing_the_package_is_light():
    """No TensorFlow, no data library, no device."""
    code = (
        "import sys, wonn_jax; "
        "heavy = {'tensorflow', 'tensorflow_datasets', 'grain', 'orbax', 'matplotlib'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "from jax._src import xla_bridge; assert not xla_bridge._backends"
    )
    import sys

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
