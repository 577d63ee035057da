"""CIFAR-10 with the paper's models; C 128, trigonometric, 2,984,970 parameters by default.

    python -m wonn_jax.main --config=configs/cifar10.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/cifar10.py:mlp-256 --config.data.path=FOLDER

Presets: trig-128, trig-64-256, trig-256, mlp-128, mlp-64-256, mlp-256 (Table 1). The path is
the original archive, its folder, or `train.npz` and `test.npz` with `image` and `label`;
without one the archive is fetched. The paper's recipe: batch 64, 200 epochs, AdamW 5e-4
constant, weight decay 1e-4, EMA 0.99 every 10 steps after 200, float32. The paper reports
94.50 % (trig-128) to 95.26 % (trig-256); this configuration has not been run to its end here.

    python -m wonn_jax.main --config=configs/cifar10.py:small --config.data.path=FOLDER

C 16, 52,362 parameters: 52.7 % (raw weights) on a tenth of the data set after 41 minutes of
one Xeon core (23 November 2026; experiments/results/cifar10_small.md).
"""

import ml_collections

from wonn_jax.config import default_config
from wonn_jax.tools import presets


def get_config(preset: str = "trig-128") -> ml_collections.ConfigDict:
    config = default_config()
    presets.winfree_images(config)
    config.model.keep_attention = False  # of 256 patches: computed again as fast as read
    config.data.name = "cifar10"
    config.data.classes = 10
    config.data.image_size = 32
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.deviation = (0.2470, 0.2435, 0.2616)
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
    presets.choose(config, preset, card="configs/cifar10.py")
    return config
