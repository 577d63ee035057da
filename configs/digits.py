"""Handwritten digits that scikit-learn ships: a first try that needs no data and no network.

python -m wonn_jax.main --config=configs/digits.py

C 32, L 2, T 3, 61,578 parameters: 98.6 % of 360 unseen digits right (raw and EMA weights) after
57 seconds on two Xeon cores, all included (24 November 2026).
"""

import ml_collections

from wonn_jax.data import Digits, ImageAugmentation
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.models.image import ImageConfig
from wonn_jax.parallel.devices import DeviceConfig
from wonn_jax.tasks import ImageConfig as ImageTask
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.ema import EmaConfig
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.optim import AdamW


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    if preset:
        raise ValueError(f"configs/digits.py has no preset {preset!r}; leave it out.")
    config = Config(
        task=ImageTask(),
        data=Digits(),
        augment=ImageAugmentation(crop_scale=0.7),
        model=ImageConfig(width=32, layers=2, steps=(3,), heads=4, group=2),
        optimizer=AdamW(
            learning_rate=3e-3,
            schedule="cosine",
            warmup="1 epochs",
            end_learning_rate=1e-5,
            weight_decay=1e-2,
        ),
        train=TrainConfig(length="30 epochs", batch_size=32, last_batch="drop"),
        ema=EmaConfig(decay=0.99, every=1, after=100),
        eval=EvalConfig(every="5 epochs", batch_size=90, pictures=32, evaluators=OSCILLATORS),
        devices=DeviceConfig(cpu_devices=2),
    )
    return card(config)
