"""What the cards of the image data sets share: the paper's networks and their sizes, by name.

A preset is an interaction and a size: 'trig-128', 'mlp-64-256'. Everything else that the
paper's tables vary is one field: `model.layers`, `model.steps`, `model.group`, `model.coupling`,
`model.patch`. `experiments/README.md` lists every row with its command.
"""

import dataclasses

from wonn_jax.data import ImageAugmentation
from wonn_jax.evaluators import PLAIN
from wonn_jax.models.image import ImageConfig
from wonn_jax.models.resnet import ResNetConfig
from wonn_jax.parallel.devices import DeviceConfig
from wonn_jax.tasks import ImageConfig as ImageTaskConfig
from wonn_jax.train.card import Config
from wonn_jax.train.ema import EmaConfig
from wonn_jax.train.optim import AdamW

SIZES = {"128": (128, False), "64-256": (64, True), "256": (256, False)}
"""C and whether it widens to 4C (Table 1 of arXiv 2605.20922)."""

INTERACTIONS = ("trig", "mlp")


def two_cores(config: Config) -> Config:
    """A network of 50,000 parameters, and settings for few epochs, for two CPU cores."""
    model, augment = config.model, config.augment
    assert isinstance(model, ImageConfig) and isinstance(augment, ImageAugmentation)
    return dataclasses.replace(
        config,
        task=ImageTaskConfig(),
        data=dataclasses.replace(config.data, workers=0),
        model=dataclasses.replace(
            model, interaction="trig", width=16, widening=False, heads=2, precision="float32"
        ),
        augment=ImageAugmentation(
            crop_scale=0.5, crop_filter=augment.crop_filter, flip=augment.flip
        ),
        train=dataclasses.replace(config.train, batch_size=32, length="2500 steps"),
        optimizer=AdamW(
            learning_rate=3e-3,
            schedule="cosine",
            warmup="100 steps",
            end_learning_rate=1e-5,
            weight_decay=1e-4,
            clip_norm=1.0,
        ),
        ema=EmaConfig(decay=0.99, every=10, after=200),
        eval=dataclasses.replace(config.eval, every="250 steps"),
        devices=DeviceConfig(cpu_devices=2),
    )


def resnet(config: Config) -> Config:
    """A residual network, ResNet-18 for small images, trained as the card trains the others."""
    return dataclasses.replace(
        config,
        model=ResNetConfig(precision=config.model.precision),
        eval=dataclasses.replace(config.eval, evaluators=PLAIN),
    )


def choose(config: Config, preset: str, *, card: str) -> Config:
    """Applies a preset to a card: an interaction and a size, 'small', or a residual network.

    Raises:
      ValueError: a preset that does not exist; it names those that do.
    """
    interaction, _, size = preset.partition("-")
    if preset == "small":
        return two_cores(config)
    if preset == "resnet18":
        return resnet(config)
    if preset == "small-resnet18":
        return resnet(two_cores(config))
    if interaction in INTERACTIONS and size in SIZES:
        width, widening = SIZES[size]
        assert isinstance(config.model, ImageConfig)
        model = dataclasses.replace(
            config.model, interaction=interaction, width=width, widening=widening
        )
        return dataclasses.replace(config, model=model)
    known = [f"{kind}-{size}" for kind in INTERACTIONS for size in SIZES]
    raise ValueError(
        f"{card} has no preset {preset!r}; it has {', '.join(known)}, small, resnet18 and "
        "small-resnet18."
    )
