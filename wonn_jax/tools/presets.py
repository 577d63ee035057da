"""What the cards of the image data sets share: the paper's models and their sizes, by name.

A preset is an interaction and a size: 'trig-128', 'mlp-64-256'. Everything else that the
paper's tables vary is one field: `model.layers`, `model.steps`, `model.group`, `model.coupling`,
`model.patch`. `experiments/README.md` lists every row with its command.
"""

import ml_collections

SIZES = {"128": (128, False), "64-256": (64, True), "256": (256, False)}
"""C and whether it widens to 4C (Table 1 of arXiv 2605.20922)."""

INTERACTIONS = ("trig", "mlp")


def winfree_images(config: ml_collections.ConfigDict) -> None:
    """What all the paper's image models have in common: L 6, T 3, N 2, attention, 8 heads."""
    config.task = "image"
    config.model.layers = 6
    config.model.steps = (3,)
    config.model.heads = 8
    config.model.group = 2
    config.model.coupling = "attention"
    config.model.phase_scale = 0.01


def two_cores(config: ml_collections.ConfigDict) -> None:
    """A network of 50,000 parameters, and settings for few epochs, for two CPU cores."""
    config.model.interaction = "trig"
    config.model.width, config.model.widening = 16, False
    config.model.heads = 2
    config.model.precision = "float32"
    config.augment.crop_scale = 0.5
    config.augment.randaugment = 0
    config.augment.jitter = ()
    config.augment.augmix = False
    config.augment.erasing = config.augment.cutmix = 0.0
    config.train.batch_size = 32
    config.train.length = "2500 steps"
    config.train.label_smoothing = 0.0
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "100 steps"
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 1.0
    config.ema.decay, config.ema.every, config.ema.after = 0.99, 10, 200
    config.eval.every = "250 steps"
    config.data.workers = 0
    config.devices.cpu_devices = 2


def choose(config: ml_collections.ConfigDict, preset: str, *, card: str) -> None:
    """Applies a preset to a card: an interaction and a size, or 'small', see `two_cores`.

    Raises:
      ValueError: a preset that does not exist; it names those that do.
    """
    interaction, _, size = preset.partition("-")
    if preset == "small":
        two_cores(config)
    elif interaction in INTERACTIONS and size in SIZES:
        config.model.interaction = interaction
        config.model.width, config.model.widening = SIZES[size]
    else:
        known = [f"{kind}-{size}" for kind in INTERACTIONS for size in SIZES]
        raise ValueError(f"{card} has no preset {preset!r}; it has {', '.join(known)} and small.")
