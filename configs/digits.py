"""Handwritten digits that scikit-learn ships: a first try that needs no data and no network.

python -m wonn_jax.main --config=configs/digits.py

C 32, L 2, T 3, 61,578 parameters: 98.6 % of 360 unseen digits right (raw and EMA weights) after
57 seconds on two Xeon cores, all included (24 November 2026).
"""

import ml_collections

from wonn_jax.config import default_config
from wonn_jax.tools import presets


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    config = default_config()
    presets.winfree_images(config)
    config.data.name = "digits"
    config.data.classes = 10
    config.data.image_size = 8
    config.data.mean = (0.305, 0.305, 0.305)
    config.data.deviation = (0.376, 0.376, 0.376)
    config.augment.crop_scale = 0.7
    config.model.width = 32
    config.model.layers = 2
    config.model.heads = 4
    config.train.batch_size = 32
    config.train.last_batch = "drop"
    config.train.length = "30 epochs"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "1 epochs"
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.weight_decay = 1e-2
    config.ema.decay, config.ema.every, config.ema.after = 0.99, 1, 100
    config.eval.every = "5 epochs"
    config.eval.batch_size = 90
    config.eval.pictures = 32
    config.devices.cpu_devices = 2
    if preset:
        raise ValueError(f"configs/digits.py has no preset {preset!r}; leave it out.")
    return config
