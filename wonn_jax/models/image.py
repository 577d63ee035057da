"""The Winfree network for images: CIFAR and ImageNet.

The architecture of the WONN paper (arXiv 2605.20922), with the details of its reference
implementation; `wonn_jax.interop.verify` compares the two.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.checks import at_least, no_effect, one_of
from wonn_jax.common.examples import Examples
from wonn_jax.config import register
from wonn_jax.dynamics import wrap
from wonn_jax.models.base import OscillatorConfig, Output, Stop, read_early, stops
from wonn_jax.models.layered import Layered
from wonn_jax.nn.layers import BatchNorm, conv, dense
from wonn_jax.nn.oscillators import COUPLINGS, OscillatorLayer, per_layer
from wonn_jax.nn.phases import initial_phases
from wonn_jax.nn.transitions import Readout
from wonn_jax.parallel.grid import mean_over, own_rows
from wonn_jax.parallel.placement import ALONE, Placement

KERNELS = (7, 5, 5, 3, 3, 3)
"""Kernel sides of the paper's convolutional coupling, layer by layer."""


def layer_widths(width: int, layers: int, widening: bool) -> tuple[int, ...]:
    """Channels of each layer: C everywhere, or C, 2C, 2C, and 4C from the fourth layer on.

    Raises:
      ValueError: a widening network of fewer than four layers.
    """
    if not widening:
        return (width,) * layers
    if layers < 4:
        raise ValueError(
            f"A widening network needs at least 4 layers (C, 2C, 2C, 4C, …), not layers={layers}."
        )
    return (width, 2 * width, 2 * width) + (4 * width,) * (layers - 3)


class ImageModel(Layered):
    """Layers of oscillators on the grid of pixels or patches of an image.

    Attributes:
      classes: number of classes.
      width: channels C of the first layer; with attention a multiple of twice the heads.
      layers: L ≥ 1.
      steps: T, steps of the dynamics, one number for all layers or one per layer.
      widening: C, 2C, 2C, 4C, … instead of C in every layer; needs L ≥ 4.
      patch: side p of the stem's patches; 1: a 3×3 convolution at every pixel (CIFAR).
      interaction, group, coupling, heads, norm, attention, remat, keep_attention, step_size: see
        `OscillatorLayer`.
      kernels: kernel sides of the convolutional coupling, one for all layers or one per layer.
      transition_bias: whether the phase transitions have a bias (the paper's ImageNet-100 models).
      readout_side: side of the readout's first convolution, 3 or 1.
      remat_layers: see `Layered`.
      initial_phase, phase_scale: of `initial_phases`, see `nn.phases`.
      placement: devices that it runs on, inside `shard_map`.
      dtype: of the maps; phases, energies and norms are at least float32.
    """

    classes: int
    width: int
    layers: int = 6
    steps: tuple[int, ...] = (3,)
    widening: bool = False
    patch: int = 1
    interaction: str = "trig"
    group: int = 2
    coupling: str = "attention"
    kernels: tuple[int, ...] = KERNELS
    heads: int = 8
    norm: str = "group"
    step_size: float = 0.1
    transition_bias: bool = False
    readout_side: int = 3
    attention: str = "auto"
    remat: int = 0
    keep_attention: bool = True
    remat_layers: str = "off"
    initial_phase: str = "noise"
    phase_scale: float = 0.01
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @property
    def phase_dtype(self):
        return jnp.promote_types(self.dtype, jnp.float32)

    def phase_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the initial phases of one image `[H, W, 3]`: `[⌊H/p⌋, ⌊W/p⌋, C]`."""
        height, width = input_shape[:2]
        return (height // self.patch, width // self.patch, self.width)

    def initial_phases(self, keys: Array, input_shape: tuple[int, ...]) -> Array:
        """Initial phases of a batch `[B, H/p, W/p, C]`, rad, from one key per example `[B]`."""
        shape = self.phase_shape(input_shape)
        return initial_phases(keys, shape, kind=self.initial_phase, scale=self.phase_scale)

    def setup(self) -> None:
        widths = layer_widths(self.width, self.layers, self.widening)
        sides = (3,) * self.layers
        if self.coupling == "convolution":
            sides = per_layer(self.kernels[: self.layers], self.layers, "kernels")
        self.stem_conv = conv(
            None,
            self.width,
            3 if self.patch == 1 else self.patch,
            stride=self.patch,
            bias=False,
            dtype=self.dtype,
            name="stem_conv",
            placement=self.placement,
        )
        self.stem_norm = BatchNorm(axis_names=self.placement.axes, dtype=self.dtype)
        layers = [
            OscillatorLayer(
                width,
                steps,
                self.step_size,
                interaction=self.interaction,
                group=self.group,
                coupling=self.coupling,
                heads=self.heads,
                kernel=side,
                norm=self.norm,
                groups=8 if width % 8 == 0 else 1,
                attention=self.attention,
                remat=self.remat,
                keep_attention=self.keep_attention,
                placement=self.placement,
                dtype=self.dtype,
            )
            for width, steps, side in zip(widths, self.lengths(None), sides, strict=True)
        ]
        self.make_layers(layers, transition_bias=self.transition_bias)
        self.readout = Readout((self.readout_side, 1), self.placement, self.dtype)
        self.logits = dense(widths[-1], self.classes, dtype=self.dtype, name="logits")

    def first_frequencies(self, x: Array, *, train: bool, weight: Array | None) -> Array:
        return nn.relu(self.stem_norm(x, train=train, weight=weight)).astype(self.phase_dtype)

    def lengths(self, steps: int | None) -> tuple[int, ...]:
        """T of each layer; `steps` for all of them, if given."""
        return per_layer(self.steps if steps is None else (steps,), self.layers, "steps")

    def __call__(
        self,
        images: Array,
        theta: Array,
        *,
        weight: Array | None = None,
        train: bool = False,
        steps: int | None = None,
        trajectory: bool = False,
        energies: bool = False,
        read_at: tuple[int, ...] = (),
        stop: Stop | None = None,
    ) -> Output:
        """Runs the network; inputs are whole even if `placement` splits the grid.

        Args:
          images: normalised images `[B, H, W, 3]`.
          theta: initial phases of the first layer, `[B, *phase_shape]`, rad.
          weight: `[B]`, 1 for examples and 0 for padding, which batch norm ignores.
          train: use batch statistics and update the running ones ('batch_stats' must be mutable).
          steps: T of every layer at inference; None for that of training.
          trajectory, energies: whether to record these in every layer.
          read_at: numbers of steps of the last layer after which to compute the logits as well;
            needs `trajectory`.
          stop: criterion by which each example stops early; nothing is recorded then.
        """
        images, theta = (own_rows(x, self.placement.grid) for x in (images, theta))
        theta = wrap(theta.astype(self.phase_dtype))

        def read(theta: Array) -> Array:
            features = self.readout(theta, train=train, weight=weight)
            # Not in bfloat16, since this is a sum over many cells.
            pooled = mean_over(features.astype(self.phase_dtype).mean((1, 2)), self.placement.grid)
            return self.logits(pooled).astype(self.phase_dtype)

        lengths = self.lengths(steps)
        records = self.run_layers(
            theta,
            self.stem_conv(images),
            lengths=lengths,
            until=stops(stop, lengths, lambda theta: read(theta).argmax(-1)),
            weight=weight,
            train=train,
            trajectory=trajectory,
            energies=energies,
        )
        early = read_early(read, records, read_at, self.placement)
        return Output(read(records[-1].theta), records, early)


@register("winfree_image")
@dataclasses.dataclass(frozen=True)
class ImageConfig(OscillatorConfig):
    """Settings of the Winfree network for images."""

    layers: int = 6
    steps: tuple[int, ...] = (3,)
    phase_scale: float = 0.01
    interaction: str = "trig"  # S and I: trig, mlp (learned)
    group: int = 2  # N, side of the groups of oscillators that emit an influence together
    coupling: str = "attention"  # or convolution
    kernels: tuple[int, ...] = KERNELS  # of the convolution: one for all layers or one per layer
    widening: bool = False  # C, 2C, 2C, 4C, … over the layers
    patch: int = 1  # side of the stem's patches, pixels; 1: a 3×3 convolution at every pixel
    transition_bias: bool = False  # of the phase transitions
    readout_side: int = 3  # of the readout's first convolution: 3 or 1

    @property
    def attends(self) -> bool:
        return self.coupling == "attention"

    def widths(self) -> tuple[int, ...]:
        return layer_widths(self.width, self.layers, self.widening)

    def check(self) -> None:
        at_least(1, "model", self, "group", "patch")
        at_least(1, "model", self, "layers", most=1000)
        if self.widening and self.layers < 4:
            raise ValueError(
                f"config.model.widening=True needs at least 4 layers (C, 2C, 2C, 4C, …), not "
                f"config.model.layers={self.layers}: --config.model.layers=6, say."
            )
        super().check()
        one_of("model.interaction", self.interaction, ("trig", "mlp"))
        one_of("model.coupling", self.coupling, COUPLINGS)
        if self.readout_side not in (1, 3):
            raise ValueError(
                f"config.model.readout_side={self.readout_side} must be 1 or 3: "
                "--config.model.readout_side=3."
            )
        if not self.kernels or min(self.kernels) < 1 or any(k % 2 == 0 for k in self.kernels):
            raise ValueError(
                f"config.model.kernels={self.kernels} must be odd numbers from 1: "
                "--config.model.kernels='(3,)', say."
            )
        if self.attends:
            no_effect("model", self, "on a coupling by attention", "kernels")
        else:
            per_layer(self.kernels[: self.layers], self.layers, "config.model.kernels")

    def unused(self) -> dict[str, str]:
        if self.attends:
            return super().unused()
        why = "model.coupling=convolution has no attention"
        return super().unused() | dict.fromkeys(("heads", "attention", "keep_attention"), why)

    def build(self, examples: Examples, placement: Placement = ALONE) -> ImageModel:
        images = self.images(examples)
        if images.side < self.patch:
            raise ValueError(
                f"config.model.patch={self.patch} is larger than the image, config.data.image_size="
                f"{images.side}; use --config.model.patch=1."
            )
        side = images.side // self.patch
        if self.group > side:
            raise ValueError(
                f"config.model.group={self.group} does not fit on a grid of {side}×{side} "
                f"oscillators (config.data.image_size={images.side}, config.model.patch="
                f"{self.patch}); it must be at most {side}."
            )
        return ImageModel(
            classes=images.classes,
            interaction=self.interaction,
            group=self.group,
            coupling=self.coupling,
            kernels=self.kernels,
            widening=self.widening,
            patch=self.patch,
            transition_bias=self.transition_bias,
            readout_side=self.readout_side,
            placement=placement,
            **self.common(),
        )

    def check_split(self, examples: Examples, parts: int) -> None:
        rows = self.images(examples).side
        what = (
            f"config.data.image_size={rows} in patches of {self.patch} and groups of {self.group}"
        )
        self.check_rows(rows, self.patch * self.group, what, parts)
