"""CIFAR-100 with the paper's models; C 128, trigonometric, 2,996,580 parameters by default.

    python -m wonn_jax.main --config=configs/cifar100.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/cifar100.py:mlp-256 --config.data.path=FOLDER

Presets: trig-128, trig-64-256, trig-256, mlp-128, mlp-64-256, mlp-256 (Table 1). The path is
the original archive, its folder, or `train.npz` and `test.npz` with `image` and `label`;
without one the archive is fetched. The paper's recipe: batch 64, 200 epochs, AdamW 5e-4
constant, weight decay 1e-4, EMA 0.99 every 10 steps after 200, float32. The paper reports
73.77 % (mlp-128) to 76.20 % (mlp-256); this configuration has not been run to its end here.
"""

import ml_collections

from wonn_jax.config import default_config
from wonn_jax.tools import presets


def get_config(preset: str = "trig-128") -> ml_collections.ConfigDict:
    config = default_config()
    presets.winfree_images(config)
    config.model.keep_attention = False  # of 256 patches: computed again as fast as read
    config.data.name = "cifar100"
    config.data.classes = 100
    config.data.image_size = 32
    config.data.mean = (0.5071, 0.4867, 0.4408)
    config.data.deviation = (0.2675, 0.2565, 0.2761)
    config.augment.flip = True
    config.augment.crop_scale = 0.2
    config.augment.jitter = (0.4, 0.4, 0.4, 0.1)
    config.augment.augmix = True
    config.train.batch_size = 64
    config.train.last_batch = "drop"
    config.train.length = "200 epochs"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 1e-4
    config.ema.decay, config.ema.every, config.ema.after = 0.99, 10, 200
    config.eval.every = "1 epochs"
    config.eval.batch_size = 100
    config.eval.pictures = 16
    presets.choose(config, preset, card="configs/cifar100.py")
    return config
