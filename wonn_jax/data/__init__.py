"""Data: boards read or generated, pictures read, and batches as a function of the step."""

from pathlib import Path
from typing import Any

from wonn_jax.config import Config
from wonn_jax.data.pipeline import Source, Transformed

IMAGE_SETS = ("cifar10", "cifar100", "imagenet", "digits")


def load_source(config: Config, split: str) -> Source:
    """The 'train' or 'test' split of an experiment, as its model takes it.

    Raises:
      OSError, ValueError: data that is missing or not what the task needs.
    """
    # Imported here: TensorFlow Datasets is slow to import and not every command reads data.
    if config.task == "image":
        return _load_images(config, split)
    d = config.data
    path = str(Path(d.path).expanduser()) if d.path else ""
    common: dict[str, Any] = {
        "data_dir": Path(d.dir).expanduser(),
        "split": split,
        "train_examples": d.train_examples,
        "test_examples": d.test_examples,
        "seed": d.seed,
    }
    if config.task == "maze":
        from wonn_jax.data import maze

        return maze.load(path, height=d.height, width=d.width, min_path=d.min_path, **common)
    from wonn_jax.data import sudoku

    return sudoku.load(path, **common)


def _load_images(config: Config, split: str) -> Source:
    from wonn_jax.data.augment import Augment, Evaluate

    d = config.data
    path = Path(d.path).expanduser() if d.path else ""
    source: Any
    if d.name == "digits":
        from wonn_jax.data import digits

        source = digits.load(split, d.classes)
    elif d.name == "imagenet":
        from wonn_jax.data import imagenet

        source = imagenet.load(
            path,
            split=split,
            classes=d.classes,
            class_list=str(Path(d.class_list).expanduser()) if d.class_list else "",
            damaged_limit=d.damaged_limit,
        )
    else:
        from wonn_jax.data import cifar

        source = cifar.load(
            d.name, path, data_dir=Path(d.dir).expanduser(), split=split, classes=d.classes
        )
    transform: Any
    if split == "train":
        transform, cut = Augment(config.augment, d.image_size), config.augment.crop_scale > 0
        way = "--config.augment.crop_scale=0.08 to cut such images out of others"
    else:
        transform, cut = Evaluate(d.image_size, d.resize), d.resize > 0
        way = f"--config.data.resize={d.image_size} to make them so"
    # The first one tells, before training begins.
    height, width = source[0]["image"].shape[:2]
    if not cut and (height, width) != (d.image_size, d.image_size):
        raise ValueError(
            f"{source!r} has images of {height}×{width}, not of config.data.image_size="
            f"{d.image_size}. Use --config.data.image_size={height} if they are square, or {way}."
        )
    return Transformed(source, transform)
