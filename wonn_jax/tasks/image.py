"""Image classification: augmentation on the device, cross-entropy, top-1 and top-5 accuracy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from jax import Array, ShapeDtypeStruct

from wonn_jax.common.checks import share
from wonn_jax.common.examples import Images
from wonn_jax.common.rng import example_keys
from wonn_jax.config import register
from wonn_jax.data.augment import ImageAugmentation
from wonn_jax.data.base import Augmentation, DataSet
from wonn_jax.data.images import ImageData
from wonn_jax.data.mixing import cutmix, normalise, random_erasing
from wonn_jax.tasks import pictures
from wonn_jax.tasks.base import Batch, Counts, Task, TaskConfig, ratio, row_weight

SHOWN = 32
"""Maximum number of images that `save_inputs` draws."""


@dataclasses.dataclass(frozen=True)
class ImageTask(Task):
    """A batch has `input` images `[B, H, W, 3]`, uint8, and `target` classes `[B]`.

    `prepare` normalises the images. With CutMix it adds, each `[B]`, `other`, the class of the
    image that was mixed in, and `share`, the remaining share of the image itself.

    Attributes:
      examples: size of the images and number of classes.
      mean, std: of the channels of the data set, of values from 0 to 1.
      label_smoothing: share of the target that is spread evenly over all classes (in training).
      erasing: probability of random erasing, per image.
      cutmix, cutmix_alpha: probability of CutMix, per batch, and its α.
    """

    examples: Images
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    label_smoothing: float = 0.0
    erasing: float = 0.0
    cutmix: float = 0.0
    cutmix_alpha: float = 1.0

    noun: ClassVar[str] = "images"
    draws_inputs: ClassVar[bool] = True

    def abstract_batch(self, rows: int) -> dict[str, ShapeDtypeStruct]:
        side = self.examples.side
        return {
            "input": ShapeDtypeStruct((rows, side, side, 3), jnp.uint8),
            "target": ShapeDtypeStruct((rows,), jnp.int32),
            "id": ShapeDtypeStruct((rows,), jnp.int32),
        }

    def prepare(self, batch: Batch, key: Array | None = None) -> Batch:
        images = normalise(batch["input"], self.mean, self.std)
        batch = {**batch, "input": images}
        if key is None:
            return batch
        key_erasing, key_cutmix = jax.random.split(key)
        if self.erasing:
            keys = example_keys(key_erasing, batch["id"])
            batch["input"] = random_erasing(images, keys, self.erasing)
        if self.cutmix:
            batch["input"], share, partner = cutmix(
                batch["input"], key_cutmix, alpha=self.cutmix_alpha, probability=self.cutmix
            )
            batch["other"] = batch["target"][partner]
            batch["share"] = jnp.broadcast_to(share, batch["target"].shape)
        return batch

    def loss_sum(self, logits: Array, batch: Batch) -> Array:
        """Cross-entropy summed over the images, a scalar, with smoothed and mixed targets."""
        entropy = self._entropy(logits, batch["target"])
        if "share" in batch:
            other = self._entropy(logits, batch["other"])
            entropy = batch["share"] * entropy + (1 - batch["share"]) * other
        return (entropy * row_weight(batch)).sum()

    def _entropy(self, logits: Array, target: Array) -> Array:
        goal = optax.smooth_labels(
            jax.nn.one_hot(target, self.examples.classes), self.label_smoothing
        )
        return optax.safe_softmax_cross_entropy(logits, goal)  # 0 · log 0 is 0

    def loss_count(self, batch: Batch) -> Array:
        """The divisor of `loss_sum`: the number of images, a scalar."""
        return row_weight(batch).sum()

    def training_counts(self, logits: Array, batch: Batch) -> Counts:
        right = logits.argmax(-1) == batch["target"]
        return {
            "loss": self.loss_sum(logits, batch),
            "images": row_weight(batch).sum(),
            "right": (right * row_weight(batch)).sum(),
        }

    def training_metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        return {
            "loss": ratio(counts["loss"], counts["images"]),
            "accuracy": ratio(counts["right"], counts["images"]),
        }

    def counts(self, logits: Array, batch: Batch) -> Counts:
        plain = dataclasses.replace(self, label_smoothing=0.0)
        own = jnp.take_along_axis(logits, batch["target"][:, None], axis=-1)
        # The lower class wins a tie, as in argmax.
        ahead = logits > own
        ahead |= (logits == own) & (jnp.arange(self.examples.classes) < batch["target"][:, None])
        return plain.training_counts(logits, batch) | {
            "right_5": ((ahead.sum(-1) < 5) * row_weight(batch)).sum()
        }

    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        return {"accuracy": predicted == batch["target"]}

    def summarise(self, counts: Mapping[str, float]) -> dict[str, float]:
        top_5 = ratio(counts["right_5"], counts["images"])
        return self.training_metrics(counts) | {"top_5": top_5}

    def save_predictions(
        self,
        path: epath.Path,
        batch: Mapping[str, np.ndarray],
        predictions: Mapping[str, np.ndarray],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        pictures.save_classified(
            path, batch["input"], batch["target"], predictions, title, class_names
        )

    def save_inputs(
        self,
        path: epath.Path,
        batch: Mapping[str, Array],
        title: str,
        class_names: Sequence[str] = (),
    ) -> None:
        # Without padding.
        rows = range(min(SHOWN, int((batch["id"] >= 0).sum())))
        images = np.asarray(batch["input"][: len(rows)]) * self.std + self.mean
        captions = [class_names[int(batch["target"][row])] for row in rows]
        if "share" in batch:
            for row, own in zip(rows, batch["share"], strict=False):
                if own < 1:
                    other = class_names[int(batch["other"][row])]
                    captions[row] += f" {100 * own:.0f} %, {other}"
        pictures.save_images(path, images, captions, title)


@register("image")
@dataclasses.dataclass(frozen=True)
class ImageConfig(TaskConfig):
    """Settings of image classification."""

    label_smoothing: float = 0.0  # share of the target that is spread over all classes, in training

    def check(self) -> None:
        share("task", self, "label_smoothing", one=False)

    def build(self, data: DataSet, augment: Augmentation) -> ImageTask:
        found: ImageData = self.expect("data", data, ImageData)
        changes: ImageAugmentation = self.expect("augment", augment, ImageAugmentation)
        return ImageTask(
            Images(found.image_size, found.classes),
            found.mean,
            found.std,
            self.label_smoothing,
            changes.erasing,
            changes.cutmix,
            changes.cutmix_alpha,
        )
