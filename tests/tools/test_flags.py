"""The command line: what is said of fields that do not exist, and of those that nothing reads."""

from typing import Any

import pytest
from cards import card, changed

from wonn_jax.tools import flags
from wonn_jax.train.card import freeze

# --- Fields that do not exist -----------------------------------------------------------------


def explained(config: str, *arguments: str, error: str = "") -> str:
    file, *preset = config.split(":")
    found = card(file.removesuffix(".py"), *preset)
    return flags._explain(found, ["main", *arguments], AttributeError(error))


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


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model.heads=many", "must be an integer; the card has 8."),
        ("model.heads=", "must be an integer; the card has 8."),
        ("model.heads=1e3", "must be an integer; the card has 8."),
        ("model.step_size=0,1", "must be a number; the card has 0.1."),
        ("log.tensorboard=maybe", "must be true or false; the card has True."),
        (
            "model.steps=(3,",
            "must be values in brackets, for example '(1, 2)'; the card has (24,).",
        ),
        ("train=3", "must be set field by field."),
    ],
)
def test_values_of_another_type(argument, message):
    error = f"flag --config.{argument}: what the library says"
    text = explained("maze_hard.py", f"--config.{argument}", error=error)
    assert text == f"--config.{argument} {message}"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--config=a.py:b"], "a.py:b"),
        (["-config", "a.py", "--config.seed=3"], "a.py"),
        (["--config.seed=3", "--config=a.py"], "a.py"),
        (["--help"], ""),
        (["-h"], ""),
        (["--helpfull"], ""),
    ],
)
def test_the_card_among_the_flags(arguments, name):
    assert flags._card_name(["main", *arguments]) == name


@pytest.mark.parametrize(
    "arguments", [[], ["--config"], ["--config="], ["--config", "--mode=eval"]]
)
def test_no_card(arguments):
    with pytest.raises(ValueError, match="--config is missing; .*: --config=configs/maze_hard.py"):
        flags._card_name(["main", *arguments])


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


@pytest.mark.parametrize("argument", ["--flagfile=nowhere.txt", "--flagfile"])
def test_files_of_flags_that_are_not_there(argument, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["main", argument])
    with pytest.raises(SystemExit) as exit:
        flags.define_card()
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith("Give --flagfile=FILE, of one flag a line.\n")


def test_a_card_is_named_once(capsys):
    with pytest.raises(SystemExit) as status:
        flags.parse_flags(["main", "--config=configs/digits.py", "--config", "other.py"])
    assert status.value.code == 2
    assert "given 2 times (configs/digits.py, other.py); give one" in capsys.readouterr().err
