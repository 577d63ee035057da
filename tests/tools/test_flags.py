"""The command line: what is said of fields that do not exist, and of those that nothing reads."""

from typing import Any

import pytest
from cards import ROOT, card, changed

from wonn_jax.tools import flags
from wonn_jax.train.card import freeze

# --- Fields that do not exist -----------------------------------------------------------------


def explained(config: str, *arguments: str) -> str:
    argv = ["main", f"--config={ROOT / 'configs' / config}", *arguments]
    return flags._explain(argv, AttributeError("the field is not there"))


@pytest.mark.parametrize("field", ["heads", "layers", "remat", "group", "patch"])
def test_fields_of_another_network(field):
    """One message, with the fields that the network has."""
    text = explained("cifar10.py:resnet18", f"--config.model.{field}=4")
    assert text == (
        f"config.model has no field '{field}'. It has blocks, precision, width "
        "(config.model.name is 'resnet')."
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.head=4", "'head'; did you mean config.model.heads? It has "),
        ("--config.modle.heads=4", "config has no field 'modle'; did you mean config.model? It"),
        ("--config.data.name.x=4", "config.data.name has no field 'x'"),
        ("--config.task.label_smoothing=0.1", "'label_smoothing'. It has loss_weights (config.tas"),
        ("--config.eval.vote=3", "did you mean config.eval.votes?"),
    ],
)
def test_fields_that_do_not_exist(argument, message):
    assert message in explained("maze_hard.py", argument)
    assert message in explained("maze_hard.py", *argument.split("="))  # --config.FIELD VALUE


def test_a_card_that_fails_says_why():
    error = "Error loading config: Traceback (most recent call last):\\n  File 'x'\nValueError: no."
    text = flags._explain(["main", "--config=nowhere.py"], ValueError(error))
    assert text == "no."


# --- Fields that nothing reads ----------------------------------------------------------------

CONVOLUTION = {"model__coupling": "convolution"}
MAZES = {"data__path": "mazes"}


def said(name: str, field: str, **changes: Any) -> None:
    path = field.replace(".", "__")
    value = {"data.dir": "x", "model.attention": "plain", "model.keep_attention": False}
    config = changed(card(name), **changes, **{path: value.get(field, 5)})
    overrides = dict.fromkeys([*(name.replace("__", ".") for name in changes), field], "")
    flags.check_overrides(freeze(config), overrides)


@pytest.mark.parametrize(
    ("name", "field", "changes", "because"),
    [
        ("maze_hard", "data.min_path", MAZES, "data.path holds the mazes, and none are gen"),
        ("maze_hard", "data.seed", MAZES, "data.path holds the boards"),
        ("sudoku", "data.seed", {"data__path": "x"}, "data.path holds the boards"),
        ("maze_hard", "data.dir", MAZES, "data.path says where the data lies"),
        ("cifar10", "data.dir", {"data__path": "x"}, "data.path says where the data lies"),
        ("imagenet100", "data.dir", {}, "images of ImageNet are read where data.path says"),
        ("digits", "data.dir", {}, "scikit-learn ships the digits"),
        ("cifar10", "model.heads", CONVOLUTION, "model.coupling=convolution has no attention"),
        ("cifar10", "model.attention", CONVOLUTION, "model.coupling=convolution has no atten"),
        ("cifar10", "model.keep_attention", CONVOLUTION, "model.coupling=convolution has no"),
        ("maze_hard", "model.keep_attention", {"model__remat": 0}, "model.remat=0 recomputes not"),
        (
            "maze_hard",
            "model.keep_attention",
            {"model__attention": "plain"},
            "model.attention=plain cannot keep its outputs",
        ),
        (
            "maze_hard",
            "model.phase_scale",
            {"model__initial_phase": "zeros"},
            "model.initial_phase=zeros draws nothing",
        ),
        (
            "sudoku",
            "optimizer.end_learning_rate",
            {},
            "optimizer.schedule=constant does not decay",
        ),
        ("maze_hard", "profile.start", {}, "profile.steps=0 traces nothing"),
    ],
)
def test_fields_that_nothing_reads(name, field, changes, because):
    with pytest.raises(ValueError, match=rf"--config\.{field} has no effect: {because}.*Leave it"):
        said(name, field, **changes)


@pytest.mark.parametrize(
    ("name", "field", "changes"),
    [
        ("maze_hard", "data.min_path", {}),
        ("maze_hard", "data.seed", {}),
        ("maze_hard", "data.train_examples", MAZES),
        ("sudoku", "data.dir", {}),
        ("cifar100", "data.dir", {}),
        ("maze_hard", "model.keep_attention", {}),
        ("maze_hard", "model.phase_scale", {}),
        ("cifar10", "model.attention", {}),
        ("cifar10", "model.layers", CONVOLUTION),
        ("maze_hard", "profile.start", {"profile__steps": 5}),
    ],
)
def test_fields_that_are_read(name, field, changes):
    said(name, field, **changes)


def test_the_card_may_set_what_an_override_makes_useless():
    """Whoever asks for a convolution did not ask for the card's heads."""
    config = freeze(changed(card("digits"), **CONVOLUTION))
    flags.check_overrides(config, {"model.coupling": "convolution"})


def test_components_are_picked_by_the_card():
    with pytest.raises(ValueError, match=r"model\.name=resnet: .* picks the model.*:resnet18"):
        flags.check_names({"model.width": 3, "model.name": "resnet"})
    flags.check_names({"model.width": 3})
