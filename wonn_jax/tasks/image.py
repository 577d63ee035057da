"""Image classification: what is done to a batch on the device, cross-entropy, top-1 and top-5."""

import dataclasses
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import optax
from jax import Array, ShapeDtypeStruct

from wonn_jax.config import Config
from wonn_jax.data.mixing import cutmix, normalise, random_erasing
from wonn_jax.rng import example_keys
from wonn_jax.tasks.base import Batch, Counts, Task, ratio, row_weight


@dataclasses.dataclass(frozen=True)
class ImageTask(Task):
    """A batch has `input` pictures `[B, H, W, 3]`, uint8, and `target` classes `[B]`.

    `prepare` normalises the pictures; where CutMix is on, it adds `other`, the class of the
    picture each one was mixed with, and `share` `[B]`, how much of its own is left.

    Attributes:
      classes: number of classes.
      mean, deviation: of the channels of the data set, of values from 0 to 1.
      label_smoothing: share of the target spread evenly over all classes (in training).
      erasing: probability of random erasing, per picture.
      cutmix, cutmix_alpha: probability of CutMix, per batch, and its α.
    """

    classes: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    label_smoothing: float = 0.0
    erasing: float = 0.0
    cutmix: float = 0.0
    cutmix_alpha: float = 1.0

    name: ClassVar[str] = "image"
    examples: ClassVar[str] = "images"
    weight_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_config(cls, config: Config) -> Self:
        data, augment = config.data, config.augment
        return cls(
            data.classes,
            data.mean,
            data.deviation,
            config.train.label_smoothing,
            augment.erasing,
            augment.cutmix,
            augment.cutmix_alpha,
        )

    def abstract_batch(self, config: Config, rows: int) -> dict[str, ShapeDtypeStruct]:
        side = config.data.image_size
        return {
            "input": ShapeDtypeStruct((rows, side, side, 3), jnp.uint8),
            "target": ShapeDtypeStruct((rows,), jnp.int32),
            "id": ShapeDtypeStruct((rows,), jnp.int32),
        }

    def prepare(self, batch: Batch, key: Array | None = None) -> Batch:
        images = normalise(batch["input"], self.mean, self.deviation)
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
        """Cross-entropy summed over the pictures, a scalar; smoothed and mixed in training only."""
        entropy = self._entropy(logits, batch["target"])
        if "share" in batch:
            other = self._entropy(logits, batch["other"])
            entropy = batch["share"] * entropy + (1 - batch["share"]) * other
        return (entropy * row_weight(batch)).sum()

    def _entropy(self, logits: Array, target: Array) -> Array:
        goal = optax.smooth_labels(jax.nn.one_hot(target, self.classes), self.label_smoothing)
        return optax.softmax_cross_entropy(logits, goal)

    def loss_count(self, batch: Batch) -> Array:
        """What `loss_sum` is divided by: the number of pictures, a scalar."""
        return row_weight(batch).sum()

    def training_counts(self, logits: Array, batch: Batch) -> Counts:
        right = logits.argmax(-1) == batch["target"]
        return {
            "loss": self.loss_sum(logits, batch),
            "images": row_weight(batch).sum(),
            "right": (right * row_weight(batch)).sum(),
        }

    def training_metrics(self, counts: dict[str, float]) -> dict[str, float]:
        return {
            "loss": ratio(counts["loss"], counts["images"]),
            "accuracy": ratio(counts["right"], counts["images"]),
        }

    def counts(self, logits: Array, batch: Batch) -> Counts:
        plain = dataclasses.replace(self, label_smoothing=0.0)
        own = jnp.take_along_axis(logits, batch["target"][:, None], axis=-1)
        # The lower number wins a tie, as it does in argmax.
        ahead = logits > own
        ahead |= (logits == own) & (jnp.arange(self.classes) < batch["target"][:, None])
        return plain.training_counts(logits, batch) | {
            "right_5": ((ahead.sum(-1) < 5) * row_weight(batch)).sum()
        }

    def verdicts(self, predicted: Array, batch: Batch) -> dict[str, Array]:
        return {"accuracy": predicted == batch["target"]}

    def summarise(self, counts: dict[str, float]) -> dict[str, float]:
        top_5 = ratio(counts["right_5"], counts["images"])
        return self.training_metrics(counts) | {"top_5": top_5}
