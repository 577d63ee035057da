"""The Winfree network for boards of tokens: Maze and Sudoku.

The architecture is that of the WONN paper (arXiv 2605.20922) in the details of its reference
implementation, with which `wonn_jax.verify` compares it.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.attention import RESIDUALS
from wonn_jax.coupling import AttentionCoupling, norm_groups
from wonn_jax.dynamics import Evolution, evolve, wrap
from wonn_jax.interactions import TRIGONOMETRIC
from wonn_jax.layers import BatchNorm, conv
from wonn_jax.rotary import grid_positions
from wonn_jax.transitions import FrequencyTransition, PhaseEmbedding, PhaseTransition


class GridOutput(NamedTuple):
    """logits `[B, H, W, classes]`; layers: one `Evolution` per layer, on `[B, H, W, C]`.

    Trajectories `[T, B, H, W, C]` and energies `[T, B]` are None unless asked for.
    """

    logits: Array
    layers: tuple[Evolution, ...]


class GridModel(nn.Module):
    """Layers of oscillators on a board, one per cell and channel, coupled by attention.

    Any board size; the parameters do not depend on it.

    Attributes:
      tokens: number of cell tokens of the input.
      classes: number of cell classes of the output.
      width: channels C, a multiple of twice the number of heads.
      layers: L ≥ 1.
      steps: T, steps of the dynamics in each layer.
      heads: attention heads.
      step_size: γ, unit time.
      inject: where the input frequencies are added again from the second layer on: on 'all'
        cells (Maze) or on the 'given' ones (Sudoku).
      normalise_transition: see `PhaseTransition.normalise` (Sudoku).
      norm: of the coupling, see `AttentionCoupling`.
      attention: attention kernel, see `attention.IMPLEMENTATIONS`.
      remat: 0, 1 or k, see `evolve`.
      keep_attention: with `remat`, keep the attention outputs of every step rather than
        recompute them (the `per_head` kernel only).
      axis_name: mesh axis the batch is split over, inside `shard_map`.
      dtype: of the maps; phases, energies and norms are float32 at least.
    """

    tokens: int
    classes: int
    width: int
    layers: int
    steps: int
    heads: int = 8
    step_size: float = 0.1
    inject: str = "all"
    normalise_transition: bool = False
    norm: str = "group"
    attention: str = "auto"
    remat: int = 0
    keep_attention: bool = True
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @property
    def phase_dtype(self):
        return jnp.promote_types(self.dtype, jnp.float32)

    @nn.compact
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
    ) -> GridOutput:
        """Runs the network.

        Args:
          tokens: cell tokens `[B, H, W]`, integers from 0.
          theta: initial phases of the first layer `[B, H, W, C]`, rad.
          given: booleans `[B, H, W]`, cells whose input is added again if inject='given';
            None: the cells with a token above 0.
          weight: `[B]` of 0 and 1: examples of weight 0 are padding, unseen by BatchNorm.
          train: batch statistics instead of running ones, which move ('batch_stats' mutable).
          steps: T at inference, if not that of training.
          trajectory, energies: record these in every layer.
        """
        table = self.param("frequency", nn.initializers.normal(1.0), (self.tokens, self.width))
        omega_in = table.astype(self.phase_dtype)[tokens]
        omega = omega_in
        theta = wrap(theta.astype(self.phase_dtype))
        if self.inject == "given":
            cells = tokens > 0 if given is None else given
            injected = omega_in * cells[..., None]
        else:
            injected = omega_in

        records = []
        for layer in range(self.layers):
            if layer > 0:
                # The frequencies read the phases of the layer before, so they go first.
                update = FrequencyTransition(
                    self.width, self.axis_name, self.dtype, name=f"frequency_transition_{layer}"
                )(theta, omega, train=train, weight=weight)
                omega = update + injected
                theta = PhaseTransition(
                    self.width,
                    normalise=self.normalise_transition,
                    dtype=self.dtype,
                    name=f"phase_transition_{layer}",
                )(theta)
            evolution = self._evolve(layer, theta, omega, steps, trajectory, energies)
            theta = evolution.theta
            records.append(evolution)

        return GridOutput(self._readout(theta, train, weight), tuple(records))

    def _evolve(
        self,
        layer: int,
        theta: Array,
        omega: Array,
        steps: int | None,
        trajectory: bool,
        energies: bool,
    ) -> Evolution:
        """T steps of one layer, on tokens `[B, H·W, C]`."""
        coupling = AttentionCoupling(
            self.width,
            self.heads,
            self.norm,
            norm_groups(self.width),
            self.attention,
            self.dtype,
            name=f"coupling_{layer}",
        )
        board = theta.shape
        flat = (board[0], -1, board[3])
        codes = coupling.position_codes(jnp.asarray(grid_positions(*board[1:3])))
        if self.is_initializing():  # parameters must exist before the scan
            coupling(theta.reshape(flat), codes)
        policy = jax.checkpoint_policies.save_only_these_names(*RESIDUALS)
        theta, phases, energy = evolve(
            theta.reshape(flat),
            omega.reshape(flat),
            **TRIGONOMETRIC._asdict(),
            coupling=lambda influences: coupling(influences, codes),
            step_size=self.step_size,
            steps=self.steps if steps is None else steps,
            event_ndim=2,
            trajectory=trajectory,
            energies=energies,
            remat=self.remat,
            remat_policy=policy if self.keep_attention else None,
        )
        if phases is not None:
            phases = phases.reshape(-1, *board)
        return Evolution(theta.reshape(board), phases, energy)

    def _readout(self, theta: Array, train: bool, weight: Array | None) -> Array:
        """Embedding → conv1×1 → norm → ReLU → conv3×3 → norm → conv1×1."""
        width = self.width

        def normalise(x: Array, name: str) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=name)
            return norm(x, train=train, weight=weight)

        x = PhaseEmbedding(self.dtype, name="readout_embedding")(theta)
        x = conv(width, 2 * width, 1, bias=False, dtype=self.dtype, name="readout_conv_1")(x)
        x = nn.relu(normalise(x, "readout_norm_1"))
        x = conv(2 * width, width, 3, bias=False, dtype=self.dtype, name="readout_conv_2")(x)
        x = normalise(x, "readout_norm_2")
        x = conv(width, self.classes, 1, bias=True, dtype=self.dtype, name="readout_logits")(x)
        return x.astype(self.phase_dtype)
