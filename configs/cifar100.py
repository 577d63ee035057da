"""CIFAR-100 with the paper's models; C 128, trigonometric, 2,996,580 parameters by default.

    python -m wonn_jax.main --config=configs/cifar100.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/cifar100.py:mlp-256 --config.data.path=FOLDER

Presets: trig-128, trig-64-256, trig-256, mlp-128, mlp-64-256, mlp-256 (Table 1); small; and to
compare with, resnet18 and small-resnet18. The path is the original archive, its folder, or
`train.npz` and `test.npz` with `image` and `label`; without one the archive is fetched. The paper's
recipe: batch 64, 200 epochs, AdamW 5e-4
constant, weight decay 1e-4, EMA 0.99 every 10 steps after 200, float32. The paper reports
73.77 % (mlp-128) to 76.20 % (mlp-256); this configuration has not been run to its end here.
"""

import ml_collections

from wonn_jax.data import Cifar100, ImageAugmentation
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
        data=Cifar100(),
        augment=ImageAugmentation(
            crop_scale=0.2, flip=True, jitter=(0.4, 0.4, 0.4, 0.1), augmix=True
        ),
        # The attention outputs of 256 patches are computed again as fast as read.
        model=ImageConfig(layers=6, steps=(3,), heads=8, group=2, keep_attention=False),
        optimizer=AdamW(learning_rate=5e-4, weight_decay=1e-4),
        train=TrainConfig(length="200 epochs", batch_size=64, last_batch="drop"),
        ema=EmaConfig(decay=0.99, every=10, after=200),
        eval=EvalConfig(every="1 epochs", batch_size=100, pictures=16, evaluators=OSCILLATORS),
    )
    return card(presets.choose(config, preset, card="configs/cifar100.py"))
