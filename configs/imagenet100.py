"""ImageNet-100 with the paper's models; C 128, trigonometric, patch 4, 2,999,908 parameters.

    python -m wonn_jax.main --config=configs/imagenet100.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/imagenet100.py:mlp-256 --config.data.path=FOLDER \
        --config.model.patch=7

Presets: trig-128, trig-64-256, trig-256, mlp-128, mlp-64-256, mlp-256. FOLDER has train/ and
val/ with a folder of images for each class; of all of ImageNet, `--config.data.class_list=FILE`
takes the hundred folders that FILE names. The paper's recipe: batch 64, 200 epochs, AdamW 5e-4
constant, weight decay 1e-4, EMA 0.99 every 10 steps after 200, float32. The paper reports
81.50 % (mlp-128) to 82.88 % (mlp-256); this configuration has not been run here.
"""

import dataclasses

import ml_collections

from wonn_jax.data import ImageAugmentation, ImageNet
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.models.image import ImageConfig
from wonn_jax.tasks import ImageConfig as ImageTask
from wonn_jax.tools import presets
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.ema import EmaConfig
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.optim import AdamW


def get_config(preset: str = "trig-128") -> ml_collections.ConfigDict:
    config = Config(
        task=ImageTask(),
        data=ImageNet(classes=100, image_size=224, resize=256, workers=8),
        augment=ImageAugmentation(crop_scale=0.08, flip=True),
        model=ImageConfig(layers=6, steps=(3,), heads=8, group=2, patch=4, transition_bias=True),
        optimizer=AdamW(learning_rate=5e-4, weight_decay=1e-4),
        train=TrainConfig(length="200 epochs", batch_size=64, last_batch="drop"),
        ema=EmaConfig(decay=0.99, every=10, after=200),
        eval=EvalConfig(every="1 epochs", batch_size=64, pictures=16, evaluators=OSCILLATORS),
    )
    config = presets.choose(config, preset, card="configs/imagenet100.py")
    if preset == "small":
        data = dataclasses.replace(config.data, image_size=64, resize=72)
        config = dataclasses.replace(config, data=data)
    return card(config)
