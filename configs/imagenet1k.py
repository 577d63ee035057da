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

import ml_collections

from wonn_jax.config import default_config
from wonn_jax.tools import presets


def get_config(preset: str = "mlp-64-256") -> ml_collections.ConfigDict:
    config = default_config()
    presets.winfree_images(config)
    config.data.name = "imagenet"
    config.data.classes = 1000
    config.data.image_size = 224
    config.data.resize = 256
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.deviation = (0.229, 0.224, 0.225)
    config.data.workers = 16
    config.augment.crop_scale = 0.08
    config.augment.crop_filter = "bicubic"
    config.augment.flip = True
    config.augment.randaugment = 2
    config.augment.magnitude = 9
    config.augment.jitter = (0.4, 0.4, 0.4)
    config.augment.erasing = 0.25
    config.augment.cutmix = 0.8
    config.augment.cutmix_alpha = 1.0
    config.model.patch = 4
    config.model.precision = "bfloat16"
    config.train.batch_size = 512
    config.train.last_batch = "drop"
    config.train.length = "300 epochs"
    config.train.label_smoothing = 0.1
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 7.5e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "10 epochs"
    config.optimizer.end_learning_rate = 1e-6
    config.optimizer.weight_decay = 1e-3
    config.ema.decay, config.ema.every, config.ema.after = 0.99, 1, 25
    config.eval.every = "1 epochs"
    config.eval.batch_size = 128
    config.eval.pictures = 16
    presets.choose(config, preset, card="configs/imagenet1k.py")
    if preset == "small":
        config.data.image_size, config.data.resize = 64, 72
    return config
