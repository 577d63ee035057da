"""Cards: they freeze, hold the paper's recipes, and what contradicts is named with what to type."""

import dataclasses
import math
import re
from typing import Any

import pytest
from cards import ROOT, card, changed
from runs import tiny

from wonn_jax.config import Component, build, components, field_names, to_dict
from wonn_jax.data import ImageAugmentation
from wonn_jax.train.card import Config, freeze

BOARDS = ("maze_hard", "sudoku")
IMAGES = ("cifar10", "cifar100", "imagenet100", "imagenet1k")
SIZES = {"128": (128, False), "64-256": (64, True), "256": (256, False)}
PRESETS = [f"{interaction}-{size}" for interaction in ("trig", "mlp") for size in SIZES]
OTHERS = ("small", "resnet18", "small-resnet18")
CARDS = [
    *[(name,) for name in (*BOARDS, *IMAGES, "digits")],
    ("maze_hard", "small"),
    *[(name, preset) for name in IMAGES for preset in (*OTHERS, *PRESETS)],
]


def test_all_cards_are_tested():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert files == {name for name, *_ in CARDS}


@pytest.mark.parametrize("name", CARDS, ids=":".join)
def test_cards_freeze(name):
    found = card(*name)
    config = freeze(found)
    assert isinstance(config, Config)
    assert to_dict(config) == found.to_dict()


@pytest.mark.parametrize("name", CARDS, ids=":".join)
def test_no_card_sets_a_field_that_nothing_reads(name):
    config = freeze(card(*name))
    for section in dataclasses.fields(Config):
        component = getattr(config, section.name)
        if isinstance(component, Component):
            default = type(component)()
            for field in component.unused():
                found = getattr(component, field)
                assert found == getattr(default, field), f"{section.name}.{field}"


@pytest.mark.parametrize("name", IMAGES)
def test_presets_are_an_interaction_and_a_size(name):
    for preset in PRESETS:
        model: Any = freeze(card(name, preset)).model
        interaction, _, size = preset.partition("-")
        assert model.interaction == interaction
        assert (model.width, model.widening) == SIZES[size]
        assert (model.layers, model.steps, model.group, model.heads) == (6, (3,), 2, 8)
        assert (model.coupling, model.norm, model.phase_scale) == ("attention", "group", 0.01)


@pytest.mark.parametrize("name", IMAGES)
def test_small_presets_are_smaller(name):
    small: Any
    small, paper = (freeze(card(name, preset)) for preset in ("small", "trig-128"))
    assert small.model.width < paper.model.width
    assert small.data.classes == paper.data.classes


@pytest.mark.parametrize("name", IMAGES)
def test_another_network_has_its_own_fields(name):
    config = freeze(card(name, "resnet18"))
    assert to_dict(config.model) == {
        "name": "resnet",
        "precision": freeze(card(name)).model.precision,
        "width": 64,
        "blocks": (2, 2, 2, 2),
    }
    assert [e.name for e in config.eval.evaluators] == ["accuracy"]
    small = freeze(card(name, "small-resnet18"))
    assert small.model == dataclasses.replace(config.model, precision="float32")
    assert small.train == freeze(card(name, "small")).train


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *[(name, f"{', '.join(PRESETS)}, small, resnet18 and small-resnet18") for name in IMAGES],
        ("maze_hard", "'small'"),
        ("sudoku", "leave it out"),
        ("digits", "leave it out"),
    ],
)
def test_unknown_presets_are_named_with_the_known(name, known):
    message = rf"configs/{name}\.py has no preset 'tiny'; .*{re.escape(known)}"
    with pytest.raises(ValueError, match=message):
        card(name, "tiny")


# --- The paper's recipes ----------------------------------------------------------------------

MAZE = {
    "train.batch_size": 64,
    "train.length": "9000 epochs",
    "train.last_batch": "keep",
    "optimizer.name": "adam",
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "cosine",
    "optimizer.decay": "200 epochs",
    "optimizer.end_learning_rate": 1e-6,
    "ema.decay": 0.995,
    "ema.every": 10,
    "ema.after": 100,
    "task.loss_weights": (1.0, 5.0, 2.0, 2.0, 5.0),
    "data.train_examples": 0,
    "model.width": 128,
    "model.layers": 1,
    "model.steps": (24,),
    "model.precision": "bfloat16",
}
SUDOKU = {
    "train.batch_size": 100,
    "train.length": "100 epochs",
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "constant",
    "task.loss_weights": (1.0, 1.0),
    "data.train_examples": 9000,
    "data.test_examples": 1000,
    "model.width": 256,
    "model.layers": 1,
    "model.steps": (16,),
}
DIGITS = {"data.name": "digits", "data.image_size": 8, "data.path": ""}
CIFAR = {
    "train.batch_size": 64,
    "train.length": "200 epochs",
    "train.last_batch": "drop",
    "task.label_smoothing": 0.0,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 5e-4,
    "optimizer.schedule": "constant",
    "optimizer.warmup": "never",
    "optimizer.decay": "never",
    "optimizer.weight_decay": 1e-4,
    "optimizer.clip_norm": 0.0,
    "ema.decay": 0.99,
    "ema.every": 10,
    "ema.after": 200,
    "model.precision": "float32",
    "model.interaction": "trig",
    "model.width": 128,
    "model.patch": 1,
    "model.transition_bias": False,
    "data.image_size": 32,
    "data.resize": 0,
    "augment": ImageAugmentation(
        crop_scale=0.2, flip=True, jitter=(0.4, 0.4, 0.4, 0.1), augmix=True, cutmix=0.0
    ),
}
IMAGENET = {
    "data.name": "imagenet",
    "data.image_size": 224,
    "data.resize": 256,
    "data.mean": (0.485, 0.456, 0.406),
    "data.std": (0.229, 0.224, 0.225),
    "model.patch": 4,
}
RECIPES = {
    "maze_hard": MAZE,
    "sudoku": SUDOKU,
    "digits": DIGITS,
    "cifar10": CIFAR
    | {
        "data.name": "cifar10",
        "data.classes": 10,
        "data.mean": (0.4914, 0.4822, 0.4465),
        "data.std": (0.2470, 0.2435, 0.2616),
    },
    "cifar100": CIFAR
    | {
        "data.name": "cifar100",
        "data.classes": 100,
        "data.mean": (0.5071, 0.4867, 0.4408),
        "data.std": (0.2675, 0.2565, 0.2761),
    },
    "imagenet100": CIFAR
    | IMAGENET
    | {
        "data.classes": 100,
        "model.transition_bias": True,
        "augment": ImageAugmentation(crop_scale=0.08, crop_filter="bilinear", flip=True),
    },
    "imagenet1k": IMAGENET
    | {
        "data.classes": 1000,
        "train.batch_size": 512,
        "train.length": "300 epochs",
        "train.last_batch": "drop",
        "task.label_smoothing": 0.1,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 7.5e-4,
        "optimizer.schedule": "cosine",
        "optimizer.warmup": "10 epochs",
        "optimizer.decay": "never",
        "optimizer.end_learning_rate": 1e-6,
        "optimizer.weight_decay": 1e-3,
        "ema.decay": 0.99,
        "ema.every": 1,
        "ema.after": 25,
        "model.precision": "bfloat16",
        "model.interaction": "mlp",
        "model.width": 64,
        "model.widening": True,
        "model.transition_bias": False,
        "augment": ImageAugmentation(
            crop_scale=0.08,
            crop_filter="bicubic",
            flip=True,
            randaugment=2,
            magnitude=9,
            jitter=(0.4, 0.4, 0.4),
            erasing=0.25,
            cutmix=0.8,
            cutmix_alpha=1.0,
        ),
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_papers_recipe(name):
    config = freeze(card(name))
    found = {}
    for field in RECIPES[name]:
        value: Any = config
        for part in field.split("."):
            value = getattr(value, part)
        found[field] = value
    assert found == RECIPES[name]


# --- Mistakes ---------------------------------------------------------------------------------

NAN = float("nan")
FOR_BOARDS = [
    (
        {"model__width": 100},
        r"width=100 is not divisible by twice config\.model\.heads=8.*"
        r"--config\.model\.width=96",
    ),
    ({"train__accumulate": 3}, r"batch_size=64 is not divisible.*batch_size=66"),
    ({"train__batch_size": 0}, r"train\.batch_size=0 must be at least 1"),
    ({"task__name": "chess"}, r"task\.name='chess' is unknown; use one of image, maze, sudoku"),
    ({"task__name": "sudoku"}, r"has 5 weights; sudoku takes 2, of given, blank"),
    (
        {"task": {"name": "sudoku"}},
        r"config\.data\.name='maze' does not go with config\.task\.name='sudoku'",
    ),
    ({"model__precision": "float16"}, r"precision='float16' is unknown; use one of float32, bf"),
    ({"model__attention": "flash"}, "attention='flash' is unknown"),
    ({"model__norm": "layer"}, "norm='layer' is unknown"),
    ({"model__initial_phase": "ones"}, "initial_phase='ones' is unknown"),
    ({"model__name": "wonn"}, r"model\.name='wonn' is unknown; use one of .*winfree_grid"),
    ({"optimizer__name": "sgd"}, "name='sgd' is unknown; use one of adam, adamw"),
    ({"optimizer__schedule": "step"}, "schedule='step' is unknown"),
    (
        {"optimizer__weight_decay": 0.1},
        r"config\.optimizer has no field 'weight_decay'. It has learning_rate, .*clip_norm, b1",
    ),
    (
        {"optimizer__schedule": "constant"},
        r"decay='200 epochs' has no effect on a constant sche.*--config\.optimizer\.decay=never",
    ),
    (
        {"optimizer__end_learning_rate": 2e-3},
        r"end_learning_rate=0\.002 is above config\.optimizer\.learning_rate=0\.001, from which "
        r"the schedule cosine decays: --config\.optimizer\.end_learning_rate=0, say",
    ),
    ({"optimizer__b2": 1.5}, r"optimizer\.b2=1\.5 must be at least 0 and below 1"),
    ({"train__length": "9000"}, r"length='9000' is not a duration.*'9000 steps'"),
    ({"train__length": "5 minutes"}, "write a number and one of steps, epochs"),
    ({"train__length": "never"}, r"length='never' must be longer than 0: .*length='100 steps'"),
    ({"log__every": "0 steps"}, r"log\.every='0 steps' must be longer than 0"),
    ({"train__last_batch": "pad"}, "last_batch='pad' is unknown; use one of keep, drop"),
    ({"checkpoint__every": "now and then"}, "checkpoint.every='now and then' is not a duration"),
    (
        {"checkpoint__best": "accuracy"},
        "'accuracy' is not a metric of this task; use one .*ema_accur",
    ),
    ({"model__steps": (0,)}, r"model\.steps=\(0,\) must be at least 1"),
    ({"model__steps": (3, 3)}, r"model\.steps=\(3, 3\) has 2 values for layers=1; give one"),
    (
        {"model__steps": ("3",)},
        r"model\.steps=\('3',\) must be integers in brackets.*--config\.model\.steps='\(1, 2\)'",
    ),
    ({"model__steps": "3"}, r"model\.steps='3' must be integers in brackets"),
    ({"model__layers": -1}, r"model\.layers=-1 must be at least 1"),
    ({"model__step_size": NAN}, r"step_size=nan must be at least 0: .*step_size=0\.1, say"),
    ({"model__step_size": math.inf}, r"step_size=inf must be at most 3.*step_size=0\.1, say"),
    ({"model__width": 2**31}, r"width=2147483648 must be at most 2,147,483,647: .*width=128"),
    ({"model__width": 2**31 - 1}, r"width=2147483647 is not divisible by twice .*=2147483648\."),
    ({"model__width": 7}, r"width=7 is not divisible by .*; try --config\.model\.width=16\."),
    ({"model__layers": 1001}, r"layers=1001 must be at most 1,000: --config\.model\.layers=1,"),
    ({"train__accumulate": 0}, r"accumulate=0 must be at least 1: --config\.train\.accumulate=1"),
    ({"model__heads": "8"}, r"heads='8' is of type str; it must be int"),
    ({"model__head": 8}, r"config\.model has no field 'head'; did you mean config\.model\.heads"),
    ({"model__precision": "float32", "model__attention": "cudnn"}, "takes bfloat16 or float16"),
    ({"ema__decay": 1.0}, r"ema\.decay=1\.0 must be at least 0 and below 1"),
    ({"task__loss_weights": (1.0, 2.0)}, "has 2 weights; maze takes 5, of wall, free"),
    ({"task__loss_weights": (1.0, 1.0, -1.0, 1.0, 1.0)}, "must not be negative"),
    ({"eval__checkpoint": "newest"}, "must be last, best or a step"),
    ({"eval__checkpoint": "²"}, "must be last, best or a step"),
    (
        {"eval__checkpoint": "best", "checkpoint__best": ""},
        r"eval\.checkpoint='best' needs config\.checkpoint\.best, a metric",
    ),
    ({"eval__evaluators": ("speed",)}, r"eval\.evaluators='speed' is unknown; use one of accur"),
    (
        {"eval__evaluators": ("voting",)},
        r"eval\.evaluators=\('voting',\) has none that runs in training.*evaluators=PLAIN",
    ),
    (
        {"eval__evaluators": ("accuracy",), "eval__votes": 32},
        r"eval\.votes=32 is a field of voting, which config\.eval\.evaluators=\('accuracy',\) leav",
    ),
    ({"eval__evaluators": 3}, r"eval\.evaluators=3 must be names in brackets"),
    ({"eval__evaluators": ("accuracy",) * 2}, r"\('accuracy', 'accuracy'\) names one twice"),
    ({"eval__at_once": 4}, r"eval\.at_once=4 has no effect without voting"),
    ({"eval__patience": 5}, r"eval\.patience=5 has no effect where nothing stops \(eval\.stop\)"),
    (
        {"eval__votes": 2, "model__initial_phase": "zeros"},
        r"eval\.votes=2 draws are all the same with .*--config\.model\.initial_phase=noise",
    ),
    (
        {"eval__draws": 2, "model__initial_phase": "zeros"},
        r"eval\.draws=2 draws are all the same with .*--config\.model\.initial_phase=noise",
    ),
    ({"nonsense": 8}, r"config has no field 'nonsense'"),
    ({"seed": -1}, r"config\.seed=-1 must be at least 0: --config\.seed=1, say"),
    ({"seed": 2**32}, r"config\.seed=4294967296 must be at most 4,294,967,295"),
    ({"eval__checkpoint": "²"}, "must be last, best or a step"),
    # What only images read.
    ({"augment__flip": True}, r"config\.augment has no field 'flip'. It has none"),
    ({"augment__name": "image"}, r"augment\.name='image' does not go with config\.task\.name='maz"),
    ({"task__label_smoothing": 0.1}, r"config\.task has no field 'label_smoothing'"),
    ({"data": {"name": "digits"}}, r"data\.name='digits' does not go with config\.task\.name='m"),
    (
        {"model": {"name": "resnet"}},
        r"model\.name='resnet' is a network for images, the task has b",
    ),
    ({"model__group": 1}, r"config\.model has no field 'group'"),
]
CONVOLUTION = {"model__coupling": "convolution"}
WITHOUT = {"augment__crop_scale": 0.0}
FOR_IMAGES = [
    ({"model__group": 33}, r"model\.group=33 does not fit on a grid of 32×32.*at most 32"),
    (
        {"model__group": 9, "model__patch": 4},
        r"model\.group=9 does not fit on a grid of 8×8.*model\.patch=4.*at most 8",
    ),
    ({"model__group": 0}, r"model\.group=0 must be at least 1: --config\.model\.group=2"),
    (
        {"model__widening": True, "model__layers": 3},
        r"config\.model\.widening=True needs at least 4 layers.*config\.model\.layers=3.*"
        r"--config\.model\.layers=6",
    ),
    (
        CONVOLUTION | {"model__layers": 9},
        r"model\.kernels=\(7, 5, 5, 3, 3, 3\) has 6 values for layers=9; give one for all",
    ),
    (
        CONVOLUTION | {"model__kernels": (7, 5)},
        r"config\.model\.kernels=\(7, 5\) has 2 values for layers=6",
    ),
    (
        CONVOLUTION | {"model__kernels": (4,)},
        r"model\.kernels=\(4,\) must be odd numbers from 1.*--config\.model\.kernels='\(3,\)'",
    ),
    ({"model__kernels": ()}, r"model\.kernels=\(\) must be odd numbers from 1"),
    ({"model__kernels": (3,)}, r"model\.kernels=\(3,\) has no effect on a coupling by attention"),
    (
        {"data__name": "mnist"},
        r"data\.name='mnist' is unknown; use one of cifar10, cifar100, digits, imagenet",
    ),
    (
        {"model__interaction": "fixed"},
        r"model\.interaction='fixed' is unknown; use one of trig, mlp",
    ),
    ({"model__coupling": "full"}, r"model\.coupling='full' is .* attention, convolution"),
    (
        {"augment__crop_filter": "box"},
        r"augment\.crop_filter='box' is unknown; use one of bilinear, bicubic",
    ),
    (
        {"augment__jitter": (0.4, 0.4)},
        r"jitter=\(0\.4, 0\.4\) must be three or four.*--config\.augment\.jitter='\(0\.4, 0\.4",
    ),
    ({"augment__jitter": (0.4, 0.4, 0.4, 0.7)}, r"0\.7\) must .*a hue of at most 0\.5"),
    ({"augment__jitter": (0.4, -0.4, 0.4)}, r"-0\.4, 0\.4\) must .*not negative"),
    ({"augment__jitter": (0.4, NAN, 0.4)}, r"nan, 0\.4\) must be three or four numbers"),
    ({"augment__crop_scale": 1.5}, r"augment\.crop_scale=1\.5 must lie between 0 and 1"),
    ({"augment__erasing": -0.1}, r"augment\.erasing=-0\.1 must lie between 0 and 1"),
    ({"augment__cutmix_alpha": 0.0}, r"augment\.cutmix_alpha=0\.0 must be above 0"),
    ({"augment__magnitude": 31}, r"augment\.magnitude=31 must be at most 30"),
    (
        {"augment__cutmix": 0.8, "train__last_batch": "keep"},
        r"augment\.cutmix=0\.8 .*full: --config\.train\.last_batch=drop",
    ),
    # What has no effect without another field.
    (
        WITHOUT | {"augment__crop_filter": "bicubic"},
        r"augment\.crop_filter='bicubic' has no effect without a crop \(augment\.crop_scale\); l",
    ),
    ({"augment__cutmix_alpha": 0.5}, r"cutmix_alpha=0\.5 has no effect without CutMix.*at 1\.0"),
    ({"augment__magnitude": 5}, r"magnitude=5 has no effect without RandAugment.*leave it at 9"),
    ({"data__mean": (0.5, 0.5)}, r"data\.mean=\(0\.5, 0\.5\) and .* must be three numbers"),
    ({"data__mean": (0.5, NAN, 0.5)}, r"data\.mean=\(0\.5, nan, 0\.5\) and .* must be three"),
    ({"data__std": (0.5, 0.0, 0.5)}, r"std=\(0\.5, 0\.0, 0\.5\) .* above 0"),
    (
        {"data__resize": 31},
        r"data\.resize=31 must be at least config\.data\.image_size=32.*or 0",
    ),
    ({"data__classes": 0}, r"data\.classes=0 must be at least 1"),
    ({"data__class_list": "hundred.txt"}, r"config\.data has no field 'class_list'"),
    (
        {"model__patch": 33},
        r"model\.patch=33 is larger than the image.*image_size=32; use --config\.model\.patch=1",
    ),
    ({"task__label_smoothing": 1.0}, r"label_smoothing=1\.0 must be at least 0 and below 1"),
    (
        {"model__readout_side": 2},
        r"model\.readout_side=2 must be 1 or 3.*--config\.model\.readout_side=3",
    ),
    ({"checkpoint__best": "ema_path_f1"}, r"'ema_path_f1' is not a metric of this .*ema_top_5"),
    # What only boards read.
    ({"task__loss_weights": (1.0,)}, r"config\.task has no field 'loss_weights'. It has label_sm"),
    ({"data__height": 9}, r"config\.data has no field 'height'"),
    ({"data__train_examples": 5}, r"config\.data has no field 'train_examples'"),
    ({"data": {"name": "maze"}}, r"data\.name='maze' does not go with config\.task\.name='image'"),
    ({"augment": {"name": "none"}}, r"augment\.name='none' does not go with .*'image'"),
    (
        {"model": {"name": "winfree_grid"}},
        r"model\.name='winfree_grid' is a network for boards, the task has images",
    ),
]
FOR_RESNET = [
    *[
        (
            {f"model__{field}": value},
            rf"config\.model has no field '{field}'.* It has precision, w",
        )
        for field, value in {
            "heads": 4,
            "layers": 2,
            "remat": 1,
            "group": 1,
            "patch": 4,
            "steps": (3,),
            "phase_scale": 0.1,
        }.items()
    ],
    ({"model__blocks": ()}, r"model\.blocks=\(\) must be numbers from 1"),
    (
        {"eval__steps": 4},
        r"eval\.steps=4 is for oscillators.*name='resnet' has none of: leave it o",
    ),
    (
        {"eval__evaluators": ("accuracy", "voting")},
        r"evaluator 'voting' is for oscillators.*leave it out of config\.eval\.evaluators",
    ),
    ({"eval__votes": 2}, r"eval\.votes=2 is a field of voting, which config\.eval\.evaluators="),
]
MISTAKES = [
    *[(("maze_hard",), *mistake) for mistake in FOR_BOARDS],
    *[(("cifar10",), *mistake) for mistake in FOR_IMAGES],
    *[(("cifar10", "resnet18"), *mistake) for mistake in FOR_RESNET],
    (("digits",), {"data__path": "x"}, r"data\.path='x' has no effect on digits.*leave it out"),
]


@pytest.mark.parametrize(("name", "changes", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        freeze(changed(card(*name), **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cifar10", {"model__group": 32}),
        ("cifar10", {"model__group": 3}),
        ("cifar10", {"model__widening": True, "model__layers": 4}),
        ("cifar10", CONVOLUTION | {"model__layers": 9, "model__kernels": (5,)}),
        ("cifar10", CONVOLUTION | {"model__layers": 2}),  # the first two of the paper's six
        ("digits", CONVOLUTION),  # the card has other heads than the default
        ("cifar10", {"model__patch": 32, "model__group": 1}),
        ("cifar10", {"data__resize": 32}),
        ("cifar10", {"augment__jitter": (0.4, 0.4, 0.4, 0.5)}),
        ("cifar10", {"augment__cutmix": 0.8}),
        ("cifar10", {"augment__cutmix": 0.8, "augment__cutmix_alpha": 0.5}),
        ("cifar10", {"augment__randaugment": 1, "augment__magnitude": 5}),
        ("cifar10", {"model__steps": (3, 2), "model__layers": 2}),
        ("cifar10", {"model__readout_side": 1}),
        ("cifar10", {"eval__draws": 3, "checkpoint__best": "ema_ensemble_top_5"}),
        ("imagenet100", {"data__class_list": "hundred.txt"}),
        ("maze_hard", {"eval__stop": "energy", "eval__patience": 5}),
        ("maze_hard", {"eval__votes": 4, "eval__at_once": 2}),
        ("maze_hard", {"optimizer__name": "adamw", "optimizer__weight_decay": 0.1}),
        ("maze_hard", {"optimizer__end_learning_rate": 1e-3}),
        ("maze_hard", {"checkpoint__best": "raw_loss"}),
        ("maze_hard", {"log__peak_flops": 2e15}),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_is_just_allowed(name, changes):
    config: Any = freeze(changed(card(name), **changes))
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if section != "eval":
            assert getattr(getattr(config, section), field) == value


ANYTHING: dict[type, list[Any]] = {
    int: [0, -1, 7, 2**31, 2**64, 10**400, 1.5, "x", None, True],
    float: [0.0, -1.0, 2.0, NAN, math.inf, -math.inf, 1e300, "x", None, True, ()],
    bool: [1, "x", None],
    str: ["", "x", "9" * 99, "-1", "é\n", 3, None, NAN],
    tuple: [(), (0,), (-1,), (7, 7), (10**400,), (NAN,), ("x",), (None,), ((1,),), 3, "x", None],
}


@pytest.mark.parametrize(
    "name", [("maze_hard",), ("sudoku",), ("cifar10",), ("cifar10", "resnet18")]
)
def test_whatever_a_field_is_set_to(name):
    """It is right, or an error names the field."""
    for section, fields in card(*name).to_dict().items():
        if not isinstance(fields, dict):
            continue
        for field, usual in fields.items():
            for value in ANYTHING[type(usual)]:
                values = card(*name).to_dict()
                values[section][field] = value
                try:
                    build(Config, values)
                except ValueError as error:
                    assert f"config.{section}.{field}" in str(error), (section, field, value)


def test_of_a_path_of_40_mazes_as_many_are_used_as_asked(mazes):
    for asked, used in ((7, 7), (0, 40)):
        config = tiny(mazes, data__train_examples=asked)
        assert len(config.data.load("train", config.augment)) == used
        assert len(config.data.load("test", config.augment)) == 16


def test_every_field_is_read_somewhere():
    """A setting that is silently ignored is worse than none."""
    source = "".join(path.read_text() for path in (ROOT / "wonn_jax").rglob("*.py"))
    kinds = ("task", "data", "model", "augment", "method", "optimizer", "evaluator")
    classes: list[Any] = [cls for kind in kinds for cls in components(kind).values()]
    assert len(classes) >= 18
    config = freeze(card("maze_hard"))
    classes += [type(getattr(config, field.name)) for field in dataclasses.fields(Config)]
    # Other tests register components of their own.
    ours = [x for x in classes if x.__module__.startswith("wonn_jax.")]
    for cls in filter(dataclasses.is_dataclass, ours):
        for name in field_names(cls):
            assert re.search(rf"(self|config|\w)\.{name}\b", source), f"{cls.__name__}.{name}"
