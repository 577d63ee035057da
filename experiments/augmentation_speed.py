"""Images per second that one core augments, for each recipe and its parts.

python -m experiments.augmentation_speed --torchvision --seconds=4

With --torchvision, the same transforms of torchvision are measured in turns on the same core. A
whole recipe starts from what a data set stores (array or JPEG) and ends with the bytes that leave
the worker, including the random generator of each image; a part goes from a decoded Pillow image
to an array.
"""

import argparse
import dataclasses
import functools
import importlib.util
import io
import itertools
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
from PIL import Image

from wonn_jax.data.augment import Augment, Evaluate, ImageAugmentation, Picture

ROUNDS = 10
RECIPES = {
    "CIFAR": (
        ImageAugmentation(crop_scale=0.2, flip=True, jitter=(0.4, 0.4, 0.4, 0.1), augmix=True),
        32,
    ),
    "ImageNet-100": (ImageAugmentation(crop_scale=0.08, flip=True), 224),
    "ImageNet-1K": (
        ImageAugmentation(
            crop_scale=0.08,
            crop_filter="bicubic",
            flip=True,
            randaugment=2,
            magnitude=9,
            jitter=(0.4, 0.4, 0.4),
        ),
        224,
    ),
}
PIECES = ("crop_scale", "flip", "randaugment", "jitter", "augmix")
Work = Callable[[], object]


def photo(height: int, width: int, seed: int) -> Image.Image:
    """Noise of equal power in each octave: roughly the spectrum of a photograph."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for octave in range(2, 9):
        cells = rng.normal(0, 26, (2**octave, 2**octave, 3)).clip(-127, 127) + 128
        layer = Image.fromarray(cells.astype(np.uint8)).resize((width, height), 3)
        total += np.asarray(layer, float) - 128
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image) -> bytes:
    """An encoded image, of a quality that is usual in ImageNet."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def decode(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert("RGB")


def peer(config: ImageAugmentation, size: int) -> Callable[[Any], Any]:
    """torchvision's transforms for a configuration, from image to image."""
    from torchvision import transforms as T

    stages: list[Any] = []
    if config.crop_scale:
        mode = T.InterpolationMode(config.crop_filter)
        stages.append(T.RandomResizedCrop(size, (config.crop_scale, 1), interpolation=mode))
    if config.flip:
        stages.append(T.RandomHorizontalFlip())
    if config.randaugment:
        stages.append(T.RandAugment(config.randaugment, config.magnitude))
    if config.jitter:
        stages.append(T.ColorJitter(*config.jitter))
    if config.augmix:
        stages.append(T.AugMix())
    return T.Compose(stages)


def bytes_of(picture: Image.Image) -> object:
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(picture)


def _to_array(step: Callable[[Any], Any], picture: Image.Image) -> np.ndarray:
    return np.asarray(step(picture))


def peer_evaluation() -> Callable[[Any], Any]:
    from torchvision import transforms as T

    return T.Compose([decode, T.Resize(256), T.CenterCrop(224), bytes_of])


def works(name: str, compare: bool) -> dict[str, tuple[Work, Work | None]]:
    """What is measured of a recipe by label: our function, and torchvision's if `compare`."""
    config, size = RECIPES[name]
    small = [photo(size, size, seed) for seed in range(16)]
    large = [photo(375, 500, seed) for seed in range(16)]
    rng, number = np.random.default_rng(0), itertools.count()
    result: dict[str, tuple[Work, Work | None]] = {}

    def measure(label: str, stock: list, our: Callable, their: Callable | None) -> None:
        def each(step: Callable) -> Work:
            return lambda: step(stock[next(number) % len(stock)])

        result[label] = (each(our), each(their) if their else None)

    augment = Augment(config, size)
    theirs = peer(config, size) if compare else None

    def whole(picture: Picture) -> np.ndarray:
        return augment(picture, np.random.default_rng((0, 1, 2, next(number))))

    def their_whole(opened: Callable) -> Callable | None:
        return (lambda x: bytes_of(theirs(opened(x)))) if theirs else None

    if size == 32:
        arrays = [np.asarray(picture) for picture in small]
        measure("whole, from an array", arrays, whole, their_whole(Image.fromarray))
    else:
        files, their = [jpeg(picture) for picture in large], their_whole(decode)
        measure("whole, from JPEG", files, lambda x: whole(decode(x)), their)
        measure("the same, decoded to an array", files, lambda x: whole(np.array(decode(x))), their)
        measure("decode alone", files, decode, decode if compare else None)
    for piece in PIECES:
        if value := getattr(config, piece):
            rest = ImageAugmentation(crop_filter=config.crop_filter, magnitude=config.magnitude)
            one = dataclasses.replace(rest, **{piece: value})
            measure(
                piece,
                large if piece == "crop_scale" and size > 32 else small,
                functools.partial(Augment(one, size), rng=rng),
                functools.partial(_to_array, peer(one, size)) if compare else None,
            )
    if name == "ImageNet-100":
        evaluate = Evaluate(224, 256)
        measure(
            "evaluation, from JPEG",
            files,
            lambda x: evaluate(decode(x)),
            peer_evaluation() if compare else None,
        )
    return result


def rate(work: Work, seconds: float) -> float:
    """Calls per second."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return count / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2, help="for each line and library")
    parser.add_argument("--torchvision", action="store_true", help="compare with it")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    compare = arguments.torchvision and importlib.util.find_spec("torchvision") is not None
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, Pillow {PIL.__version__}")
    if compare:
        import torch
        import torchvision

        torch.set_num_threads(1)
        print(f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}")
    elif arguments.torchvision:
        print("torchvision is not installed here; only this library is measured.")
    print("\nImages per second on one core, best of", ROUNDS, "rounds by turns.\n")
    print("| recipe | part | here | torchvision | ratio |\n|---|---|---:|---:|---:|")
    for name in RECIPES:
        for label, pair in works(name, compare).items():
            best = [0.0, 0.0]
            for _ in range(ROUNDS):
                for k, work in enumerate(pair):
                    if work:
                        best[k] = max(best[k], rate(work, arguments.seconds / ROUNDS))
            peers = f"{best[1]:,.0f} | {best[0] / best[1]:.2f}" if best[1] else "– | –"
            print(f"| {name} | {label} | {best[0]:,.0f} | {peers} |", flush=True)


if __name__ == "__main__":
    main()
