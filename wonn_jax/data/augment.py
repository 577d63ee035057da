"""Augmentation of single training images, in the processes that load the data.

All random numbers come from the generator that the caller passes. Augmentation of whole batches
(CutMix, random erasing, normalising) runs on the device, see `wonn_jax.data.mixing`.

Built on Pillow, except that the lookup tables of small images are applied with NumPy and
`bytes.translate`, which take less than half of the time of `Image.point`. For jitter alone on
32×32 images, dm-pix under `jit` is faster on a CPU. It is not used because it defines jitter
differently (it adds brightness, and rounds nothing) and has no AugMix, which takes most of the
time. Measurements: `experiments/results/augmentation_speed.md`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from wonn_jax.common.checks import at_least, no_effect, one_of, share
from wonn_jax.config import register
from wonn_jax.data.base import Augmentation

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
RATIO = (3 / 4, 4 / 3)  # range of width / height of a crop
TRIES = 10  # attempts to draw a crop that fits
LEVELS = 30  # highest magnitude of RandAugment
SEVERITY, WIDTH, DEPTH, LEVELS_OF_AUGMIX = 3, 3, 3, 9
SMALL = 64 * 64  # pixels up to which NumPy applies lookup tables faster than Pillow

Picture = np.ndarray | Image.Image
Operation = Callable[[Image.Image, float, Image.Resampling], Image.Image]


def crop_box(
    height: int, width: int, scale: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Box of a random resized crop: top, left, height, width, in pixels.

    Its relative area is uniform in [scale, 1], its aspect ratio log-uniform in [3/4, 4/3]. If
    none of ten drawn boxes fits, it is the largest centred box with an aspect ratio within these
    bounds (Szegedy et al., arXiv 1409.4842, section 6, with the fallback of torchvision).
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(TRIES):
        area = height * width * (scale + (1 - scale) * rng.random())
        ratio = math.exp(low + (high - low) * rng.random())
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(height - h, endpoint=True), rng.integers(width - w + 1)
            return int(top), int(left), h, w
    h = min(height, round(width / RATIO[0]))
    w = min(width, round(height * RATIO[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Interpolates between black (0) and the image (1); extrapolates beyond 1."""
    return Image.blend(Image.new("RGB", image.size), image, factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """Interpolates between the rounded mean luma (0) and the image (1), or extrapolates."""
    mean = int(np.asarray(image.convert("L")).mean() + 0.5)
    return Image.blend(Image.new("RGB", image.size, (mean, mean, mean)), image, factor)


def saturation(image: Image.Image, factor: float) -> Image.Image:
    """Interpolates between the greyscale image (0) and the image (1), or extrapolates."""
    return Image.blend(image.convert("L").convert("RGB"), image, factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Interpolates between the smoothed image (0) and the image (1), or extrapolates."""
    return Image.blend(image.filter(ImageFilter.SMOOTH), image, factor)


def hue(image: Image.Image, turn: float) -> Image.Image:
    """Rotates all hues by `turn`, a fraction of the colour circle, in steps of 1/255."""
    values = np.array(image.convert("HSV"))
    values[..., 0] += np.uint8(int(turn * 255) % 256)  # wraps
    return Image.frombytes("HSV", image.size, values.tobytes()).convert("RGB")


def solarize(image: Image.Image, threshold: float) -> Image.Image:
    """Inverts the values from `threshold` on."""
    return _look_up(image, _solarize_table(threshold))


def posterize(image: Image.Image, bits: float) -> Image.Image:
    """Keeps only the highest bits of each value."""
    return _look_up(image, _posterize_table(int(bits)))


def autocontrast(image: Image.Image) -> Image.Image:
    """Stretches each channel so that its smallest value becomes 0 and its largest 255."""
    seen = np.array(image.histogram()).reshape(3, 256) > 0
    low, high = np.argmax(seen, 1), 255 - np.argmax(seen[:, ::-1], 1)
    flat = low == high
    low, high = np.where(flat, 0, low)[:, None], np.where(flat, 255, high)[:, None]
    tables = (np.arange(256) - low) * 255 // (high - low)
    return _look_up_channels(image, np.clip(tables, 0, 255).astype(np.uint8))


def equalize(image: Image.Image) -> Image.Image:
    """Equalises the histogram of each channel, with the same values as Pillow."""
    counts = np.array(image.histogram()).reshape(3, 256)
    below = np.cumsum(counts, 1) - counts
    last = counts[range(3), 255 - np.argmax(counts[:, ::-1] > 0, 1)]
    step = (counts.sum(1) - last)[:, None] // 255
    tables = np.where(step > 0, (step // 2 + below) // np.maximum(step, 1), np.arange(256))
    return _look_up_channels(image, np.minimum(tables, 255).astype(np.uint8))


@functools.cache
def _solarize_table(threshold: float) -> bytes:
    return bytes(v if v < threshold else 255 - v for v in range(256))


@functools.cache
def _posterize_table(bits: int) -> bytes:
    return bytes(v & ~(2 ** (8 - bits) - 1) & 255 for v in range(256))


def _look_up(image: Image.Image, table: bytes) -> Image.Image:
    return Image.frombytes("RGB", image.size, image.tobytes().translate(table))


def _look_up_channels(image: Image.Image, tables: np.ndarray) -> Image.Image:
    if image.width * image.height > SMALL:
        return image.point(tables.ravel().tolist())
    values = np.asarray(image) + np.array([0, 256, 512])
    return Image.frombytes("RGB", image.size, tables.ravel()[values].tobytes())


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample)


# By name: the operation, and whether its strength gets a random sign.
OPERATIONS: dict[str, tuple[Operation, bool]] = {
    "Identity": (lambda image, x, resample: image, False),
    "ShearX": (lambda image, x, resample: _affine(image, (1, x, 0, 0, 1, 0), resample), True),
    "ShearY": (lambda image, x, resample: _affine(image, (1, 0, 0, x, 1, 0), resample), True),
    "TranslateX": (
        lambda image, x, resample: _affine(image, (1, 0, -int(x), 0, 1, 0), resample),
        True,
    ),
    "TranslateY": (
        lambda image, x, resample: _affine(image, (1, 0, 0, 0, 1, -int(x)), resample),
        True,
    ),
    "Rotate": (lambda image, x, resample: image.rotate(x, resample), True),
    "Brightness": (lambda image, x, resample: brightness(image, 1 + x), True),
    "Color": (lambda image, x, resample: saturation(image, 1 + x), True),
    "Contrast": (lambda image, x, resample: contrast(image, 1 + x), True),
    "Sharpness": (lambda image, x, resample: sharpness(image, 1 + x), True),
    "Posterize": (lambda image, x, resample: posterize(image, x), False),
    "Solarize": (lambda image, x, resample: solarize(image, x), False),
    "AutoContrast": (lambda image, x, resample: autocontrast(image), False),
    "Equalize": (lambda image, x, resample: equalize(image), False),
}
RANDAUGMENT = tuple(OPERATIONS)
AUGMIX = RANDAUGMENT[1:]


@functools.cache
def strengths(share: float, reach: float, bits: int) -> dict[str, float]:
    """The strength of each operation, by name.

    Args:
      share: fraction of the way from no change (0) to the strongest change (1).
      reach: longest translation, pixels.
      bits: number of bits that the weakest posterisation keeps.
    """
    enhance = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9 * share)
    return dict.fromkeys(OPERATIONS, 0.0) | {
        "ShearX": 0.3 * share,
        "ShearY": 0.3 * share,
        "TranslateX": reach * share,
        "TranslateY": reach * share,
        "Rotate": 30 * share,  # degrees
        **enhance,
        "Posterize": bits - round(4 * share),
        "Solarize": 255 * (1 - share),
    }


def _operate(
    image: Image.Image,
    name: str,
    strength: float,
    resample: Image.Resampling,
    rng: np.random.Generator,
) -> Image.Image:
    operation, signed = OPERATIONS[name]
    if signed:
        if not strength:
            return image  # these operations change nothing at strength 0
        if rng.random() < 0.5:
            strength = -strength
    return operation(image, strength, resample)


def randaugment(
    image: Image.Image, operations: int, magnitude: int, rng: np.random.Generator
) -> Image.Image:
    """RandAugment (Cubuk et al., arXiv 1909.13719), with the strengths of torchvision.

    Args:
      image: RGB.
      operations: number of operations drawn out of fourteen, and applied in turn.
      magnitude: of every operation, 0 to 30.
      rng: source of random numbers.
    """
    strength = strengths(magnitude / LEVELS, 150 / 331 * image.width, 8)
    for _ in range(operations):
        name = RANDAUGMENT[rng.integers(len(RANDAUGMENT))]
        image = _operate(image, name, strength[name], Image.Resampling.NEAREST, rng)
    return image


def jitter(image: Image.Image, amounts: tuple[float, ...], rng: np.random.Generator) -> Image.Image:
    """Colour jitter: random changes of brightness, contrast, saturation and hue in random order.

    Args:
      image: RGB.
      amounts: for brightness, contrast and saturation a number x, for a factor uniform in
        [max(0, 1 − x), 1 + x]; optionally, for the hue, a number h, for a rotation uniform in
        [−h, h], as a fraction of the colour circle.
      rng: source of random numbers.
    """
    changes = (brightness, contrast, saturation, hue)
    for k in rng.permutation(len(amounts)):
        x, u = amounts[k], rng.random()
        if x:
            low = max(0.0, 1 - x) if k < 3 else -x
            high = 1 + x if k < 3 else x
            image = changes[k](image, low + (high - low) * u)
    return image


def augmix(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """AugMix: mixes the image with three chains of one to three operations each.

    Hendrycks et al., arXiv 1912.02781, algorithm 1, with the defaults of torchvision: all
    operations, severity 3 of 10, α = 1. Two differences from torchvision: the mixture is rounded
    rather than truncated, and rotated or sheared images do not fade to black at the border.

    Returns:
      uint8 `[H, W, 3]`.
    """
    own = rng.beta(1, 1)
    mix = np.float32(own) * np.asarray(image)
    for weight in (1 - own) * rng.dirichlet((1,) * WIDTH):
        chain = image
        for _ in range(rng.integers(DEPTH) + 1):
            name = AUGMIX[rng.integers(len(AUGMIX))]
            share = int(rng.integers(SEVERITY)) / LEVELS_OF_AUGMIX
            strength = strengths(share, image.width / 3, 4)[name]
            chain = _operate(chain, name, strength, Image.Resampling.BILINEAR, rng)
        mix += np.float32(weight) * np.asarray(chain)
    return (mix + np.float32(0.5)).astype(np.uint8)


def _height_width(image: Picture) -> tuple[int, int]:
    """Height and width of an RGB image.

    Raises:
      ValueError: another mode, dtype or shape.
    """
    if isinstance(image, Image.Image):
        if image.mode == "RGB":
            return image.height, image.width
        found = f"an image of mode {image.mode}"
    else:
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return image.shape[0], image.shape[1]
        found = f"{image.dtype} {list(image.shape)}"
    raise ValueError(
        f"An image must be uint8 [H, W, 3], not {found}; convert a Pillow image with "
        "np.asarray(image.convert('RGB'))."
    )


def _exact(image: Picture, size: int, option: str) -> Image.Image:
    height, width = _height_width(image)
    if (height, width) != (size, size):
        raise ValueError(
            f"The image has {height}×{width} pixels; unless it is resized it must have "
            f"{size}×{size}. Use images of that size, or {option}."
        )
    return image if isinstance(image, Image.Image) else Image.fromarray(image)


@register("none")
@dataclasses.dataclass(frozen=True)
class NoAugmentation(Augmentation):
    """No augmentation."""


@register("image")
@dataclasses.dataclass(frozen=True)
class ImageAugmentation(Augmentation):
    """Random changes to a training image, in this order; all are off by default."""

    crop_scale: float = 0.0  # random resized crop: smallest share of the area; 0: no crop
    crop_filter: str = "bilinear"  # or bicubic
    flip: bool = False  # left to right, every second image
    randaugment: int = 0  # operations of RandAugment; 0: none
    magnitude: int = 9  # of RandAugment, 0 to 30
    jitter: tuple[float, ...] = ()  # brightness, contrast, saturation, hue; (): none
    augmix: bool = False
    erasing: float = 0.0  # probability, per image, of random erasing
    cutmix: float = 0.0  # probability, per batch, of CutMix
    cutmix_alpha: float = 1.0  # of the Beta distribution that the area comes from

    def check(self) -> None:
        one_of("augment.crop_filter", self.crop_filter, FILTERS)
        at_least(0, "augment", self, "randaugment", "magnitude")
        share("augment", self, "crop_scale", "erasing", "cutmix")
        if not self.cutmix_alpha > 0:
            raise ValueError(f"config.augment.cutmix_alpha={self.cutmix_alpha} must be above 0.")
        if self.magnitude > LEVELS:
            raise ValueError(f"config.augment.magnitude={self.magnitude} must be at most {LEVELS}.")
        if (
            len(self.jitter) not in (0, 3, 4)
            or not all(0 <= x < math.inf for x in self.jitter)
            or max(self.jitter[3:], default=0) > 0.5
        ):
            raise ValueError(
                f"config.augment.jitter={self.jitter} must be three or four numbers, brightness, "
                "contrast, saturation and hue, not negative, and a hue of at most 0.5: "
                "--config.augment.jitter='(0.4, 0.4, 0.4, 0.1)', or '()'."
            )
        if not self.crop_scale:
            no_effect("augment", self, "without a crop (augment.crop_scale)", "crop_filter")
        if not self.randaugment:
            no_effect("augment", self, "without RandAugment (augment.randaugment)", "magnitude")
        if not self.cutmix:
            no_effect("augment", self, "without CutMix (augment.cutmix)", "cutmix_alpha")

    def check_batches(self, last_batch: str) -> None:
        """Raises a ValueError if CutMix would meet batches that are not full."""
        if self.cutmix and last_batch != "drop":
            raise ValueError(
                f"config.augment.cutmix={self.cutmix} mixes the images of a batch, which must then "
                "be full: --config.train.last_batch=drop."
            )


@dataclasses.dataclass(frozen=True)
class Augment:
    """Applies the configured augmentations, in the order of the fields.

    Attributes:
      config: the settings; erasing and CutMix are left to `wonn_jax.data.mixing`.
      size: side of the result, pixels.
    """

    config: ImageAugmentation
    size: int

    def __call__(self, image: Picture, rng: np.random.Generator) -> np.ndarray:
        """An augmented copy.

        Args:
          image: uint8 `[H, W, 3]`, or an RGB image of Pillow (which saves copying after decoding).
          rng: source of random numbers.

        Returns:
          uint8 `[size, size, 3]`, possibly read-only.

        Raises:
          ValueError: not a uint8 RGB image; or not of this size, and there is no crop.
        """
        c, size = self.config, (self.size, self.size)
        if c.crop_scale:
            height, width = _height_width(image)
            top, left, h, w = crop_box(height, width, c.crop_scale, rng)
            if isinstance(image, Image.Image):
                picture = image.crop((left, top, left + w, top + h))
            else:
                picture = Image.fromarray(image[top : top + h, left : left + w])
            picture = picture.resize(size, FILTERS[c.crop_filter])
        else:
            picture = _exact(image, self.size, "--config.augment.crop_scale=0.08")
        if c.flip and rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if c.randaugment:
            picture = randaugment(picture, c.randaugment, c.magnitude, rng)
        if c.jitter:
            picture = jitter(picture, c.jitter, rng)
        return augmix(picture, rng) if c.augmix else np.asarray(picture)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Centre crop for evaluation.

    Attributes:
      size: side of the result, pixels.
      resize: length to which the shorter side is resized first (bilinear, antialiased); 0: the
        image already has the right size.

    Raises:
      ValueError: `resize` is smaller than `size`.
    """

    size: int
    resize: int = 0

    def __post_init__(self) -> None:
        if self.resize and self.resize < self.size:
            raise ValueError(
                f"A shorter side of resize={self.resize} is too small for a crop of size="
                f"{self.size}; use resize={round(self.size * 8 / 7)}, or resize=0 for images of "
                "that size."
            )

    def __call__(self, image: Picture, rng: np.random.Generator | None = None) -> np.ndarray:
        """The crop.

        Args:
          image: uint8 `[H, W, 3]`, or an RGB image of Pillow.
          rng: unused; the signature is that of `Augment`.

        Returns:
          uint8 `[size, size, 3]`, possibly read-only.

        Raises:
          ValueError: not a uint8 RGB image; or not of this size, and `resize` is 0.
        """
        if not self.resize:
            return np.asarray(_exact(image, self.size, "resize=256"))
        height, width = _height_width(image)
        box = []  # of the crop, in the original image: only this part is resized
        for side in (width, height):
            length = self.resize * side // min(height, width)
            start = round((length - self.size) / 2)
            box.append((start * side / length, (start + self.size) * side / length))
        (left, right), (top, bottom) = box
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        return np.asarray(
            picture.resize((self.size, self.size), FILTERS["bilinear"], (left, top, right, bottom))
        )
