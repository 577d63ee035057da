"""One layer of oscillators on a grid: sensitivity, influence and coupling, run for T steps."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dynamics import ENERGY, Evolution, PhaseMap, Watch, evolve, evolve_until
from wonn_jax.kernels.blockwise import RESIDUALS
from wonn_jax.kernels.recompute import map_examples, unrolls
from wonn_jax.kernels.rotary import grid_positions
from wonn_jax.nn.coupling import AttentionCoupling, ConvolutionCoupling
from wonn_jax.nn.interactions import (
    INTERACTIONS,
    Interaction,
    LearnedSensitivity,
    PatchInfluence,
    spread,
    trigonometric,
)
from wonn_jax.parallel.grid import all_rows, first_row, sum_over
from wonn_jax.parallel.placement import ALONE, Placement

COUPLINGS = ("attention", "convolution")


class Until(NamedTuple):
    """When a layer stops before its last step, see `evolve_until`.

    max_steps: maximum number of steps.
    tolerance: convergence threshold for the change of the watched quantity.
    patience: number of consecutive steps below the threshold after which an example stops.
    watch: the watched quantity.
    """

    max_steps: int
    tolerance: float
    patience: int
    watch: Watch = ENERGY


def per_layer(values: tuple[int, ...], layers: int, name: str) -> tuple[int, ...]:
    """One value for each layer: `values` itself, or its single value repeated.

    Args:
      values: one, or as many as there are layers.
      layers: number of layers.
      name: of the setting, for the message.

    Raises:
      ValueError: the number of values is neither 1 nor that of the layers.
    """
    if len(values) == 1:
        return values * layers
    if len(values) != layers:
        raise ValueError(
            f"{name}={values} has {len(values)} values for layers={layers}; give one for all, or "
            "one for each layer."
        )
    return values


def _swap_time(evolution: Evolution) -> Evolution:
    """Swaps the axes of time and examples in everything but the final phases."""
    recorded = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), evolution[1:])
    return Evolution(evolution.theta, *recorded)


class OscillatorLayer(nn.Module):
    """Oscillators on a grid, one for each cell and channel, that evolve for T steps.

    Attributes:
      width: channels C; with attention a multiple of twice the number of heads.
      steps: T.
      step_size: γ, unit time.
      interaction: S and I, see `interactions.INTERACTIONS`.
      group: N, side of the patches that emit one influence each; 1 for 'fixed'.
      coupling: 'attention' over the whole grid of influences, or 'convolution'.
      heads: number of attention heads.
      kernel: side of the convolution.
      norm: of the coupling, see `AttentionCoupling`.
      groups: number of groups in that norm, a divisor of `width`.
      attention: attention kernel, one of `attention.IMPLEMENTATIONS`.
      remat: 0, 1 or k, see `evolve`.
      keep_attention: with `remat`, whether to store the attention outputs of every step rather than
        recompute them (the `blockwise` and `pallas` kernels only).
      placement: mesh axes inside `shard_map`, and the platform. If the grid is split, phases and
        frequencies are this device's rows (whole patches), but trajectory and energies are global.
      dtype: of the learned maps; phases, energies and norms are in float32 at least.
    """

    width: int
    steps: int
    step_size: float = 0.1
    interaction: str = "fixed"
    group: int = 1
    coupling: str = "attention"
    heads: int = 8
    kernel: int = 3
    norm: str = "group"
    groups: int = 8
    attention: str = "auto"
    remat: int = 0
    keep_attention: bool = True
    placement: Placement = ALONE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        theta: Array,
        omega: Array,
        *,
        steps: int | None = None,
        trajectory: bool = False,
        energies: bool = False,
        until: Until | None = None,
    ) -> Evolution:
        """Runs the layer.

        Args:
          theta: initial phases `[B, H, W, C]`, rad.
          omega: natural frequencies `[B, H, W, C]`, rad per unit time.
          steps: T, if it is to be another than that of the layer.
          trajectory: whether to return the phases after every step.
          energies: whether to return the energy before every step.
          until: if given, each example stops once it has converged, rather than after T steps.

        Returns:
          Final phases `[B, H, W, C]`; on request the trajectory `[T, B, H, W, C]` and energies
          `[T, B]`. With `until`, final phases and the number of steps taken `[B]`.

        Raises:
          ValueError: an attribute has an unknown value, or two contradict each other.
        """
        interaction = self._interaction()
        grid = (-(-theta.shape[1] // self.group), -(-theta.shape[2] // self.group))
        coupling = self._coupling(grid)
        if self.is_initializing():  # parameters must exist before the scan
            coupling(interaction.influence(theta))
            interaction.sensitivity(theta)
        platform = self.placement.platform
        length = self.steps if steps is None else steps
        policy = jax.checkpoint_policies.save_only_these_names(*RESIDUALS)

        system: dict[str, Any] = {
            **interaction._asdict(),
            "coupling": coupling,
            "step_size": self.step_size,
            "event_ndim": 3,
            "expand": lambda field: spread(field, self.group, *theta.shape[1:3]),
        }

        def run(theta: Array, omega: Array) -> Evolution:
            evolution = evolve(
                theta,
                omega,
                **system,
                steps=length,
                trajectory=trajectory,
                energies=energies,
                remat=self.remat,
                remat_policy=policy if self.keep_attention else None,
                unroll=unrolls(length, platform),
            )
            return _swap_time(evolution)

        # Examples are independent within a layer, so a chunk of them can take all steps before the
        # next chunk begins.
        if until is not None:
            return map_examples(self._run_until(until, system), theta, omega, platform=platform)
        evolution = map_examples(run, theta, omega, platform=platform)
        theta, phases, energy, _ = _swap_time(evolution)
        if phases is not None:
            phases = all_rows(phases, self.placement.grid, axis=2)
        if energy is not None:
            energy = sum_over(energy, self.placement.grid)
        return Evolution(theta, phases, energy)

    def _run_until(
        self, until: Until, system: dict[str, Any]
    ) -> Callable[[Array, Array], Evolution]:
        """`evolve_until` for this layer, a function of theta and omega."""
        max_steps, tolerance, patience, watch = until
        grid = self.placement.grid
        global_watch = watch._replace(  # the energy of the whole grid, not of this device's rows
            observe=lambda theta, energy: watch.observe(theta, sum_over(energy, grid))
        )
        return functools.partial(
            evolve_until,
            **system,
            max_steps=max_steps,
            tolerance=tolerance,
            patience=patience,
            watch=global_watch,
            axis_names=self.placement.axes if grid else (),
        )

    def _interaction(self) -> Interaction:
        if self.interaction not in INTERACTIONS:
            raise ValueError(
                f"interaction={self.interaction!r} is unknown; use one of "
                f"{', '.join(INTERACTIONS)}."
            )
        platform = self.placement.platform
        if self.interaction == "fixed":
            if self.group != 1:
                raise ValueError(
                    f"group={self.group} has no effect on the fixed influence sin θ; use "
                    "interaction='trig' or 'mlp', or group=1."
                )
            return trigonometric(platform)
        common = {"dtype": self.dtype, "platform": platform}
        influence = PatchInfluence(self.group, self.interaction, name="influence", **common)
        if self.interaction == "trig":
            return Interaction(trigonometric(platform).sensitivity, influence)
        return Interaction(LearnedSensitivity(name="sensitivity", **common), influence)

    def _coupling(self, grid: tuple[int, int]) -> PhaseMap:
        if self.coupling not in COUPLINGS:
            raise ValueError(
                f"coupling={self.coupling!r} is unknown; use one of {', '.join(COUPLINGS)}."
            )
        if self.coupling == "convolution":
            return ConvolutionCoupling(
                self.width,
                self.kernel,
                self.norm,
                self.groups,
                self.placement,
                self.dtype,
                name="coupling",
            )
        attention = AttentionCoupling(
            self.width,
            self.heads,
            self.norm,
            self.groups,
            self.attention,
            self.placement,
            self.dtype,
            name="coupling",
        )
        corner = jnp.asarray([first_row(grid[0], self.placement.grid), 0])
        codes = attention.position_codes(jnp.asarray(grid_positions(*grid)) + corner)

        def couple(influences: Array) -> Array:
            tokens = influences.reshape(influences.shape[0], -1, self.width)
            return attention(tokens, codes).reshape(influences.shape)

        return couple
