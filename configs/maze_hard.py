"""Maze-hard with the paper's recipe."""

import ml_collections

from wonn_jax.config import default_config


def get_config(preset: str = "") -> ml_collections.ConfigDict:
    config = default_config()
    config.task = "maze"
    if preset == "small":
        config.data.height = config.data.width = 6
        config.data.min_path = 5
        config.data.train_examples = 40_000
        config.model.width = 32
        config.model.steps = 16
        config.model.heads = 4
        config.train.length = "60 steps"
        config.eval.every = "30 steps"
        config.devices.cpu_devices = 2
    return config
