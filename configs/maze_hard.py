"""Maze-hard: mark the shortest path on 30×30 mazes; C 128, T 24, 396,293 parameters.

    python -m wonn_jax.main --config=configs/maze_hard.py

The paper's recipe: 1000 mazes, batch 64, 9000 epochs (144,000 steps), Adam 1e-3, the last 200
epochs cosine to 1e-6, bfloat16 maps, EMA 0.995 every 10 steps after 100. Without
`--config.data.path` (the published arrays) the mazes are generated first.
The paper reports 76.2 % exact boards, 80.1 % with energy voting over 32 draws; this
configuration has not been run to its end here.

    python -m wonn_jax.main --config=configs/maze_hard.py:small

6×6 boards, C 32, T 16: 93.8 % exact after 14,000 steps on two Xeon cores (24 November 2026;
experiments/results/maze_small.md, with the time).
"""

import dataclasses

import ml_collections

from wonn_jax.data import Mazes
from wonn_jax.evaluators import OSCILLATORS
from wonn_jax.models.grid import GridConfig
from wonn_jax.parallel.devices import DeviceConfig
from wonn_jax.tasks import MazeConfig
from wonn_jax.train.batches import TrainConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.checkpoint import CheckpointConfig
from wonn_jax.train.ema import EmaConfig
from wonn_jax.train.evaluation import EvalConfig
from wonn_jax.train.optim import Adam


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    config = Config(
        task=MazeConfig(),
        data=Mazes(height=30, width=30, min_path=109),
        model=GridConfig(width=128, layers=1, steps=(24,), heads=8, precision="bfloat16"),
        optimizer=Adam(
            learning_rate=1e-3, schedule="cosine", decay="200 epochs", end_learning_rate=1e-6
        ),
        train=TrainConfig(length="9000 epochs", batch_size=64),
        eval=EvalConfig(evaluators=OSCILLATORS),
    )
    if preset == "small":
        config = _small(config)
    elif preset:
        raise ValueError(f"configs/maze_hard.py has no preset {preset!r}; it has 'small'.")
    return card(config)


def _small(config: Config) -> Config:
    return dataclasses.replace(
        config,
        data=Mazes(height=6, width=6, min_path=5, train_examples=80_000),
        model=GridConfig(width=32, layers=1, steps=(16,), heads=4),
        # Clipping and warm-up let the learning rate be high; b2 lets Adam follow.
        optimizer=Adam(
            learning_rate=8e-3,
            schedule="cosine",
            warmup="200 steps",
            end_learning_rate=1e-5,
            b2=0.95,
            clip_norm=1.0,
        ),
        train=TrainConfig(length="14000 steps", batch_size=32, last_batch="drop"),
        ema=EmaConfig(decay=0.9),
        eval=EvalConfig(every="1000 steps", batch_size=100, evaluators=OSCILLATORS),
        checkpoint=CheckpointConfig(every="2 minutes"),
        devices=DeviceConfig(cpu_devices=2),
    )
