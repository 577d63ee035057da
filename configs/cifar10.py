"""CIFAR-10 with the paper's models; C 128, trigonometric, 2,984,970 parameters by default.

    python -m wonn_jax.main --config=configs/cifar10.py --config.data.path=FOLDER
    python -m wonn_jax.main --config=configs/cifar10.py:mlp-256 --config.data.path=FOLDER

Presets: trig-128, trig-64-256, trig-256, mlp-128, mlp-64-256, mlp-256 (Table 1); small; and to
compare with, resnet18 and small-resnet18. The path is the original archive, its folder, or
`train.npz` and `test.npz` with `image` and `label`; without one the archive is fetched. The paper's
recipe: batch 64, 200 epochs, AdamW 5e-4
constant, weight decay 1e-4, EMA 0.99 every 10 steps after 200, float32. The paper reports
94.50 % (trig-128) to 95.26 % (trig-256); this configuration has not been run to its end here.

    python -m wonn_jax.main --config=configs/cifar10.py:small --config.data.path=FOLDER

C 16, 52,362 parameters: 52.7 % (raw weights) on a tenth of the data set after 41 minutes of
one Xeon core (23 November 2026; experiments/results/cifar10_small.md).
"""

import ml_collections

from wonn_jax.data import Cifar10, ImageAugmentation
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
        data=Cifar10(),
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
    return card(presets.choose(config, preset, card="configs/cifar10.py"))
