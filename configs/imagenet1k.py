"""ImageNet-1K with the paper's models; C 64 → 256, learned S and I, 7,791,400 parameters.

    python -m wonn_jax.main --config=configs/imagenet1k.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/imagenet1k.py:mlp-256 --config.data.path=FOLDER

Presets: those of Table 1, of which the paper trained mlp-64-256 (74.84 %) and mlp-256 (76.78 %)
on ImageNet-1K. FOLDER has train/ and val/ with a folder of images for each class, or is a data
set prepared by TensorFlow Datasets (array_record). The paper's recipe: batch 512, 300 epochs,
AdamW 7.5e-4 after 10 epochs of warm-up, cosine to 1e-6, weight decay 1e-3, label smoothing 0.1,
RandAugment, colour jitter, random erasing, CutMix in four of five batches, EMA 0.99 at every
step after 25, bfloat16 maps. This configuration has not been run here.
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


def get_config(preset: str = "mlp-64-256") -> ml_collections.ConfigDict:
    config = Config(
        task=ImageTask(label_smoothing=0.1),
        data=ImageNet(classes=1000, image_size=224, resize=256, workers=16),
        augment=ImageAugmentation(
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
        model=ImageConfig(layers=6, steps=(3,), heads=8, group=2, patch=4, precision="bfloat16"),
        optimizer=AdamW(
            learning_rate=7.5e-4,
            schedule="cosine",
            warmup="10 epochs",
            end_learning_rate=1e-6,
            weight_decay=1e-3,
        ),
        train=TrainConfig(length="300 epochs", batch_size=512, last_batch="drop"),
        ema=EmaConfig(decay=0.99, every=1, after=25),
        eval=EvalConfig(every="1 epochs", batch_size=128, pictures=16, evaluators=OSCILLATORS),
    )
    config = presets.choose(config, preset, card="configs/imagenet1k.py")
    if preset == "small":
        data = dataclasses.replace(config.data, image_size=64, resize=72)
        config = dataclasses.replace(config, data=data)
    return card(config)
