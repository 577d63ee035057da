"""The Winfree network for boards of tokens: Maze and Sudoku.

The architecture of the WONN paper (arXiv 2605.20922), with the details of its reference
implementation; `wonn_jax.interop.verify` compares the two.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.examples import Examples
from wonn_jax.config import register
from wonn_jax.dynamics import wrap
from wonn_jax.models.base import OscillatorConfig, Output, Stop, read_early, stops
from wonn_jax.models.layered import Layered
from wonn_jax.nn.coupling import norm_groups
from wonn_jax.nn.layers import conv
from wonn_jax.nn.oscillators import OscillatorLayer, per_layer
from wonn_jax.nn.phases import initial_phases
from wonn_jax.nn.transitions import Readout
from wonn_jax.parallel.grid import all_rows, own_rows
from wonn_jax.parallel.placement import ALONE, Placement

INJECT = ("all", "given")
"""Cells to which the input frequencies are added again in every layer but the first."""


class GridModel(Layered):
    """Layers of oscillators on a board, one per cell and channel, coupled by attention.

    The parameters do not depend on the size of the board.

    Attributes:
      tokens: number of cell tokens of the input.
      classes: number of cell classes of the output.
      width: channels C, a multiple of twice the number of heads.
      layers: L ≥ 1.
      steps: T, steps of the dynamics, one number for all layers or one per layer.
      heads: attention heads.
      step_size: γ, unit time.
      inject: cells to which the input frequencies are added again in every layer but the first:
        'all' (Maze) or the 'given' ones (Sudoku).
      norm: of the coupling, see `AttentionCoupling`.
      attention, remat, keep_attention: see `OscillatorLayer`.
      remat_layers: see `Layered`.
      initial_phase, phase_scale: of `initial_phases`, see `nn.phases`.
      placement: devices that it runs on, inside `shard_map`.
      dtype: of the maps; phases, energies and norms are at least float32.
    """

    tokens: int
    classes: int
    width: int
    layers: int
    steps: tuple[int, ...]
    heads: int = 8
    step_size: float = 0.1
    inject: str = "all"
    norm: str = "group"
    attention: str = "auto"
    remat: int = 0
    keep_attention: bool = True
    remat_layers: str = "off"
    initial_phase: str = "noise"
    phase_scale: float = 0.1
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @property
    def phase_dtype(self):
        return jnp.promote_types(self.dtype, jnp.float32)

    def phase_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the initial phases of one board `[H, W]`: `[H, W, C]`."""
        return (*input_shape, self.width)

    def initial_phases(self, keys: Array, input_shape: tuple[int, ...]) -> Array:
        """Initial phases of a batch `[B, H, W, C]`, rad, from one key per example `[B]`."""
        shape = self.phase_shape(input_shape)
        return initial_phases(keys, shape, kind=self.initial_phase, scale=self.phase_scale)

    def setup(self) -> None:
        if self.inject not in INJECT:
            raise ValueError(f"inject={self.inject!r} is unknown; use one of {', '.join(INJECT)}.")
        shape = (self.tokens, self.width)
        self.frequency = self.param("frequency", nn.initializers.normal(1.0), shape)
        layers = [
            OscillatorLayer(
                self.width,
                steps,
                self.step_size,
                heads=self.heads,
                norm=self.norm,
                groups=norm_groups(self.width),
                attention=self.attention,
                remat=self.remat,
                keep_attention=self.keep_attention,
                placement=self.placement,
                dtype=self.dtype,
            )
            for steps in self.lengths(None)
        ]
        self.make_layers(layers, transition_bias=True)
        self.readout = Readout((1, 3), self.placement, self.dtype)
        self.logits = conv(
            self.width,
            self.classes,
            1,
            bias=True,
            dtype=self.dtype,
            name="logits",
            placement=self.placement,
        )

    def lengths(self, steps: int | None) -> tuple[int, ...]:
        """T of each layer; `steps` for all of them, if given."""
        return per_layer(self.steps if steps is None else (steps,), self.layers, "steps")

    def __call__(
        self,
        tokens: Array,
        theta: Array,
        *,
        given: Array | None = None,
        weight: Array | None = None,
        train: bool = False,
        steps: int | None = None,
        trajectory: bool = False,
        energies: bool = False,
        read_at: tuple[int, ...] = (),
        stop: Stop | None = None,
    ) -> Output:
        """Runs the network; inputs and logits are whole even if `placement` splits the grid.

        Args:
          tokens: cell tokens `[B, H, W]`, integers from 0.
          theta: initial phases of the first layer `[B, H, W, C]`, rad.
          given: booleans `[B, H, W]`, cells whose input is added again if inject='given'; None for
            the cells with a token above 0.
          weight: `[B]`, 1 for examples and 0 for padding, which batch norm ignores.
          train: use batch statistics and update the running ones ('batch_stats' must be mutable).
          steps: T of every layer at inference; None for that of training.
          trajectory, energies: whether to record these in every layer.
          read_at: numbers of steps of the last layer after which to compute the logits as well;
            needs `trajectory`.
          stop: criterion by which each example stops early; nothing is recorded then.
        """
        tokens, theta = (own_rows(x, self.placement.grid) for x in (tokens, theta))
        omega = self.frequency.astype(self.phase_dtype)[tokens]
        theta = wrap(theta.astype(self.phase_dtype))
        injected = omega
        if self.inject == "given":
            cells = tokens > 0 if given is None else own_rows(given, self.placement.grid)
            injected = omega * cells[..., None]

        def read(theta: Array) -> Array:
            features = self.readout(theta, train=train, weight=weight)
            return all_rows(self.logits(features).astype(self.phase_dtype), self.placement.grid)

        lengths = self.lengths(steps)
        records = self.run_layers(
            theta,
            omega,
            lengths=lengths,
            until=stops(stop, lengths, lambda theta: read(theta).argmax(-1)),
            injected=injected,
            weight=weight,
            train=train,
            trajectory=trajectory,
            energies=energies,
        )
        early = read_early(read, records, read_at, self.placement)
        return Output(read(records[-1].theta), records, early)


@register("winfree_grid")
@dataclasses.dataclass(frozen=True)
class GridConfig(OscillatorConfig):
    """Settings of the Winfree network for boards."""

    def build(self, examples: Examples, placement: Placement = ALONE) -> GridModel:
        boards = self.boards(examples)
        return GridModel(
            tokens=boards.tokens,
            classes=boards.classes,
            inject="given" if boards.givens else "all",
            placement=placement,
            **self.common(),
        )

    def check_split(self, examples: Examples, parts: int) -> None:
        rows = self.boards(examples).height
        self.check_rows(rows, 1, f"config.data.height={rows}", parts)
