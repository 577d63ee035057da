"""What the cards of the image data sets share: the paper's models and their sizes, by name.

A preset is an interaction and a size: 'trig-128', 'mlp-64-256'. Everything else that the
paper's tables vary is one field: `model.layers`, `model.steps`, `model.group`, `model.coupling`,
`model.patch`. `experiments/README.md` lists every row with its command.
"""

from collections.abc import Callable

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


def choose(
    config: ml_collections.ConfigDict,
    preset: str,
    *,
    card: str,
    small: Callable[[ml_collections.ConfigDict], None],
) -> None:
    """Applies a preset to a card: an interaction and a size, or 'small'.

    Raises:
      ValueError: a preset that does not exist; it names those that do.
    """
    interaction, _, size = preset.partition("-")
    if preset == "small":
        small(config)
    elif interaction in INTERACTIONS and size in SIZES:
        config.model.interaction = interaction
        config.model.width, config.model.widening = SIZES[size]
    else:
        known = [f"{kind}-{size}" for kind in INTERACTIONS for size in SIZES]
        raise ValueError(f"{card} has no preset {preset!r}; it has {', '.join(known)} and small.")
