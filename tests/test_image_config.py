"""Configurations of pictures: cards and presets, the paper's recipes, mistakes by name."""

import importlib.util
import re
from pathlib import Path

import pytest

from wonn_jax import config as configuration
from wonn_jax.config import AugmentConfig

FOLDER = Path(__file__).parents[1] / "configs"
CARDS = ("cifar10", "cifar100", "imagenet100", "imagenet1k")
SIZES = {"128": (128, False), "64-256": (64, True), "256": (256, False)}
PRESETS = [f"{interaction}-{size}" for interaction in ("trig", "mlp") for size in SIZES]


def card(name: str, *preset: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*preset)


# --- Cards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CARDS)
def test_presets_are_an_interaction_and_a_size(name):
    for preset in PRESETS:
        model = configuration.freeze(card(name, preset)).model
        interaction, _, size = preset.partition("-")
        assert model.interaction == interaction
        assert (model.width, model.widening) == SIZES[size]
        assert (model.layers, model.steps, model.group, model.heads) == (6, (3,), 2, 8)
        assert (model.coupling, model.norm, model.phase_scale) == ("attention", "group", 0.01)


@pytest.mark.parametrize("name", CARDS)
def test_small_presets_freeze_and_are_smaller(name):
    small, paper = (configuration.freeze(card(name, preset)) for preset in ("small", "trig-128"))
    assert small.model.width < paper.model.width
    assert small.data.classes == paper.data.classes


@pytest.mark.parametrize("name", CARDS)
def test_unknown_presets_are_named_with_the_known(name):
    known = ", ".join(PRESETS)
    message = f"configs/{name}.py has no preset 'trig-512'; it has {known} and small."
    with pytest.raises(ValueError, match=re.escape(message)):
        card(name, "trig-512")


def test_the_card_of_digits():
    config = configuration.freeze(card("digits"))
    assert (config.data.name, config.data.image_size, config.data.path) == ("digits", 8, "")
    with pytest.raises(ValueError, match=r"configs/digits\.py has no preset 'tiny'"):
        card("digits", "tiny")


# --- The paper's recipes ---------------------------------------------------------------------

CIFAR = {
    "train.batch_size": 64,
    "train.length": "200 epochs",
    "train.last_batch": "drop",
    "train.label_smoothing": 0.0,
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
    "augment": AugmentConfig(
        crop_scale=0.2, flip=True, jitter=(0.4, 0.4, 0.4, 0.1), augmix=True, cutmix=0.0
    ),
}
IMAGENET = {
    "data.name": "imagenet",
    "data.image_size": 224,
    "data.resize": 256,
    "data.mean": (0.485, 0.456, 0.406),
    "data.deviation": (0.229, 0.224, 0.225),
    "model.patch": 4,
}
RECIPES = {
    "cifar10": CIFAR
    | {
        "data.name": "cifar10",
        "data.classes": 10,
        "data.mean": (0.4914, 0.4822, 0.4465),
        "data.deviation": (0.2470, 0.2435, 0.2616),
    },
    "cifar100": CIFAR
    | {
        "data.name": "cifar100",
        "data.classes": 100,
        "data.mean": (0.5071, 0.4867, 0.4408),
        "data.deviation": (0.2675, 0.2565, 0.2761),
    },
    "imagenet100": CIFAR
    | IMAGENET
    | {
        "data.classes": 100,
        "model.transition_bias": True,
        "augment": AugmentConfig(crop_scale=0.08, crop_filter="bilinear", flip=True),
    },
    "imagenet1k": IMAGENET
    | {
        "data.classes": 1000,
        "train.batch_size": 512,
        "train.length": "300 epochs",
        "train.last_batch": "drop",
        "train.label_smoothing": 0.1,
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
        "augment": AugmentConfig(
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
    config = configuration.freeze(card(name))
    found = {}
    for field in RECIPES[name]:
        found[field] = config
        for part in field.split("."):
            found[field] = getattr(found[field], part)
    assert found == RECIPES[name]


# --- Mistakes --------------------------------------------------------------------------------

NAN = float("nan")
CONVOLUTION = {"model__coupling": "convolution"}
MISTAKES = [
    ({"model__group": 33}, r"model\.group=33 does not fit on a grid of 32×32.*at most 32"),
    (
        {"model__group": 9, "model__patch": 4},
        r"model\.group=9 does not fit on a grid of 8×8.*model\.patch=4.*at most 8",
    ),
    ({"model__group": 0}, r"model\.group=0 must be at least 1: --config\.model\.group=1"),
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
        CONVOLUTION | {"model__layers": 6, "model__kernels": (7, 5)},
        r"config\.model\.kernels=\(7, 5\) has 2 values for layers=6",
    ),
    (
        CONVOLUTION | {"model__kernels": (4,)},
        r"model\.kernels=\(4,\) must be odd numbers from 1.*--config\.model\.kernels='\(3,\)'",
    ),
    ({"model__kernels": ()}, r"model\.kernels=\(\) must be odd numbers from 1"),
    (
        {"data__name": "mnist"},
        r"data\.name='mnist' is unknown; use one of cifar10, cifar100, imagenet, digits",
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
    ({"data__mean": (0.5, 0.5)}, r"data\.mean=\(0\.5, 0\.5\) and .* must be three numbers"),
    ({"data__mean": (0.5, NAN, 0.5)}, r"data\.mean=\(0\.5, nan, 0\.5\) and .* must be three"),
    ({"data__deviation": (0.5, 0.0, 0.5)}, r"deviation=\(0\.5, 0\.0, 0\.5\) .* above 0"),
    (
        {"data__resize": 31},
        r"data\.resize=31 must be at least config\.data\.image_size=32.*or 0",
    ),
    (
        {"model__patch": 33},
        r"model\.patch=33 is larger than the picture.*image_size=32; use --config\.model\.patch=1",
    ),
    ({"model__steps": (3, 3)}, r"model\.steps=\(3, 3\) has 2 values for layers=1; give one"),
    (
        {"model__steps": ("3",)},
        r"model\.steps=\('3',\) must be integers in brackets.*--config\.model\.steps='\(1, 2\)'",
    ),
    ({"model__steps": "3"}, r"model\.steps='3' must be integers in brackets"),
    ({"data__class_list": "hundred.txt"}, r"data\.class_list='hundred\.txt' has no effect on cif"),
    ({"train__label_smoothing": 1.0}, r"label_smoothing=1\.0 must be at least 0 and below 1"),
    (
        {"model__readout_side": 2},
        r"model\.readout_side=2 must be 1 or 3.*--config\.model\.readout_side=3",
    ),
    ({"model__name": "vgg"}, r"model\.name='vgg' is unknown; use one of winfree, resnet"),
    ({"data__classes": 0}, r"data\.classes=0 must be at least 1"),
    ({"loss_weights": (1.0,)}, r"loss_weights=\(1\.0,\) has 1 weights; image takes 0.*at \(\)"),
    ({"checkpoint__best": "ema_path_f1"}, r"'ema_path_f1' is no metric of image; .*ema_top_5"),
    # What only boards read.
    ({"data__height": 9}, r"data\.height=9 has no effect on the task image; leave it at 30"),
    ({"data__min_path": 5}, r"data\.min_path=5 has no effect on the task image"),
    ({"data__train_examples": 5}, r"data\.train_examples=5 has no effect on the task image"),
    # What only images read.
    (
        {"task": "maze", "data__name": "digits"},
        r"config\.data\.name='digits' has no effect on the task maze; leave it at 'cifar10'",
    ),
    ({"task": "maze", "augment__flip": True}, r"augment\.flip=True has no effect on the task maz"),
    ({"task": "maze", "model__group": 1}, r"model\.group=1 has no effect .* leave it at 2"),
    ({"task": "maze", "model__name": "resnet"}, r"model\.name='resnet' has no effect on the task"),
    (
        {"task": "maze", "train__label_smoothing": 0.1},
        r"train\.label_smoothing=0\.1 has no effect on the task maze; leave it at 0\.0",
    ),
]


def changed(task: str = "image", **changes):
    config = configuration.default_config()
    config.task = task
    with config.unlocked(), config.ignore_type():
        for name, value in changes.items():
            group, _, field = name.rpartition("__")
            (config[group] if group else config)[field] = value
    return config


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        configuration.freeze(changed(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__group": 32},
        {"model__group": 3},
        {"model__widening": True, "model__layers": 4},
        CONVOLUTION | {"model__layers": 9, "model__kernels": (5,)},
        CONVOLUTION | {"model__layers": 2},  # the first two of the paper's six
        {"model__patch": 32, "model__group": 1},
        {"data__resize": 32},
        {"augment__jitter": (0.4, 0.4, 0.4, 0.5)},
        {"augment__cutmix": 0.8, "train__last_batch": "drop"},
        {"model__steps": (3, 2), "model__layers": 2},
        {"data__name": "imagenet", "data__class_list": "hundred.txt"},
        {"model__readout_side": 1},
        {"model__name": "resnet", "model__width": 7},
        {"eval__draws": 3, "checkpoint__best": "ema_ensemble_top_5"},
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_is_just_allowed(changes):
    assert configuration.freeze(changed(**changes)).task == "image"
