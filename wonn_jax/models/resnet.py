"""Residual network for small images, a baseline without oscillators.

The CIFAR variant of ResNet-18 (He et al., arXiv 1512.03385): basic blocks after a 3×3 stem of
stride 1, without pooling.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.checks import at_least
from wonn_jax.common.examples import Examples
from wonn_jax.config import register
from wonn_jax.kernels.cpu.convolution import convolve
from wonn_jax.models.base import ModelConfig, Output
from wonn_jax.nn.layers import BatchNorm, dense
from wonn_jax.parallel.placement import ALONE, Placement

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """Stages of basic blocks; each stage but the first halves the sides and doubles the width.

    Attributes:
      classes: number of classes.
      width: channels of the first stage.
      blocks: number of blocks in each stage.
      placement: devices that it runs on, inside `shard_map`.
      dtype: of the maps; statistics of norms and logits are at least float32.
    """

    classes: int
    width: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Array,
        *,
        weight: Array | None = None,
        train: bool = False,
    ) -> Output:
        """Runs the network.

        Args:
          images: normalised images `[B, H, W, 3]`.
          weight: `[B]`, 1 for examples and 0 for padding, which batch norm ignores.
          train: use batch statistics and update the running ones ('batch_stats' must be mutable).
        """

        def mapped(x: Array, width: int, side: int, stride: int, name: str) -> Array:
            # Not 'SAME', which at stride 2 pads an even side only at its end.
            pad = side // 2
            return nn.Conv(
                width,
                (side, side),
                strides=(stride, stride),
                padding=((pad, pad), (pad, pad)),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=_kernel_init,
                conv_general_dilated=functools.partial(convolve, platform=self.placement.platform),
                name=name,
            )(x)

        def normalise(x: Array, name: str) -> Array:
            norm = BatchNorm(axis_names=self.placement.axes, dtype=self.dtype, name=name)
            return norm(x, train=train, weight=weight)

        def block(x: Array, width: int, stride: int, name: str) -> Array:
            """conv3×3 → norm → ReLU → conv3×3 → norm, added to x, then ReLU."""
            out = mapped(x, width, 3, stride, f"{name}_conv_1")
            out = nn.relu(normalise(out, f"{name}_norm_1"))
            out = mapped(out, width, 3, 1, f"{name}_conv_2")
            out = normalise(out, f"{name}_norm_2")
            if x.shape != out.shape:
                x = mapped(x, width, 1, stride, f"{name}_shortcut_conv")
                x = normalise(x, f"{name}_shortcut_norm")
            return nn.relu(out + x)

        x = nn.relu(normalise(mapped(images, self.width, 3, 1, "stem_conv"), "stem_norm"))
        for stage, count in enumerate(self.blocks):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                x = block(x, self.width * 2**stage, stride, f"stage_{stage}_block_{index}")
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32)).mean((1, 2))
        x = dense(x.shape[-1], self.classes, dtype=self.dtype, name="logits")(x)
        return Output(x.astype(jnp.promote_types(self.dtype, jnp.float32)))


@register("resnet")
@dataclasses.dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    """Settings of the residual network; the defaults are the CIFAR variant of ResNet-18."""

    width: int = 64  # channels of the first stage
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # of each stage

    def check(self) -> None:
        super().check()
        at_least(1, "model", self, "width")
        if not self.blocks or min(self.blocks) < 1:
            raise ValueError(
                f"config.model.blocks={self.blocks} must be numbers from 1, one for each stage: "
                "--config.model.blocks='(2, 2, 2, 2)'."
            )

    def build(self, examples: Examples, placement: Placement = ALONE) -> ResNet:
        classes = self.images(examples).classes
        return ResNet(classes, self.width, self.blocks, placement=placement, dtype=self.dtype)
