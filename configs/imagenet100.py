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

import ml_collections

from wonn_jax.config import default_config
from wonn_jax.tools import presets


def get_config(preset: str = "trig-128") -> ml_collections.ConfigDict:
    config = default_config()
    presets.winfree_images(config)
    config.data.name = "imagenet"
    config.data.classes = 100
    config.data.image_size = 224
    config.data.resize = 256
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.deviation = (0.229, 0.224, 0.225)
    config.data.workers = 8
    config.augment.crop_scale = 0.08
    config.augment.flip = True
    config.model.patch = 4
    config.model.transition_bias = True
    config.train.batch_size = 64
    config.train.last_batch = "drop"
    config.train.length = "200 epochs"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 1e-4
    config.ema.decay, config.ema.every, config.ema.after = 0.99, 10, 200
    config.eval.every = "1 epochs"
    config.eval.batch_size = 64
    config.eval.pictures = 16
    presets.choose(config, preset, card="configs/imagenet100.py")
    if preset == "small":
        config.data.image_size, config.data.resize = 64, 72
    return config
