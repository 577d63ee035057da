"""Handwritten digits of 8x8 pixels: a small real data set that comes with scikit-learn."""

import dataclasses

import numpy as np

from wonn_jax.config import register
from wonn_jax.data import images

TRAIN_EXAMPLES = 1437  # of 1797


@register("digits")
@dataclasses.dataclass(frozen=True)
class Digits(images.ImageData):
    """Handwritten digits, in the package scikit-learn: 1437 for training, 360 for the test."""

    classes: int = 10
    image_size: int = 8
    mean: tuple[float, ...] = (0.305, 0.305, 0.305)
    std: tuple[float, ...] = (0.376, 0.376, 0.376)

    def check(self) -> None:
        super().check()
        if self.path:
            raise ValueError(
                f"config.data.path={self.path!r} has no effect on digits, which scikit-learn "
                "ships; leave it out."
            )

    def unused(self) -> dict[str, str]:
        return {"dir": "scikit-learn ships the digits"}

    def training_examples(self) -> int | None:
        return TRAIN_EXAMPLES

    def pictures(self, split: str) -> images.ArraySource:
        return load(split, self.classes)


def load(split: str, classes: int = 10) -> images.ArraySource:
    """Loads one split of the digits of scikit-learn, as grey images with three channels.

    The data set has no official split: after a permutation by `numpy.random.default_rng(0)`, the
    first 1437 are for training and the last 360 for the test. Levels 0 to 16 become 0 to 255.

    Args:
        split: "train" or "test".
        classes: 10.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: another split or number of classes.
    """
    if classes != 10:
        raise ValueError(
            f"digits with {classes} classes were asked for. Required: 10. Type "
            "--config.data.classes=10"
        )
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"digits: {error}. Required: scikit-learn, which has the images. Type: pip install "
            "scikit-learn"
        ) from error
    raw = datasets.load_digits()
    pixels = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(pixels))
    chosen = order[:TRAIN_EXAMPLES] if split == "train" else order[TRAIN_EXAMPLES:]
    pictures = np.repeat(pixels[chosen, :, :, None], 3, axis=3)
    return images.ArraySource("digits", split, pictures, raw.target[chosen], "0123456789")
