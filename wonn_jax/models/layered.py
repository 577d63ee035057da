"""What the Winfree networks for boards and for images have in common: layers and transitions."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax import Array

from wonn_jax.dynamics import Evolution
from wonn_jax.kernels.recompute import recomputes_layers
from wonn_jax.nn.oscillators import OscillatorLayer, Until
from wonn_jax.nn.transitions import FrequencyTransition, PhaseTransition


class Layered(nn.Module):
    """Layers of oscillators; between two of them, transitions of the phases and frequencies.

    A subclass calls `make_layers` in its `setup`, and has these attributes:
      remat_layers: whether the backward pass recomputes whole layers: 'on', 'off' or 'auto', see
        `kernels.recompute.recomputes_layers`. Then only what enters a layer is stored, which is
        what the convolutions of the transitions return: no convolution is computed again.
      placement: devices that it runs on, inside `shard_map`.
      dtype: of the maps.
    """

    def make_layers(self, layers: Sequence[OscillatorLayer], *, transition_bias: bool) -> None:
        """Adds the layers `layer_0`, …, and the transitions into all but the first.

        Args:
          layers: without names.
          transition_bias: whether the phase transitions have a bias.
        """
        common: dict[str, Any] = {"placement": self.placement, "dtype": self.dtype}
        widths = {str(i): (layers[i - 1].width, layers[i].width) for i in range(1, len(layers))}
        self.layer = tuple(layers)
        self.phase_transition = {
            i: PhaseTransition(*pair, bias=transition_bias, **common) for i, pair in widths.items()
        }
        self.frequency_transition = {
            i: FrequencyTransition(*pair, **common) for i, pair in widths.items()
        }

    def first_frequencies(self, x: Array, *, train: bool, weight: Array | None) -> Array:
        """Natural frequencies of the first layer, from what `run_layers` gets; here it is them."""
        del train, weight
        return x

    def run_layers(
        self,
        theta: Array,
        x: Array,
        *,
        lengths: Sequence[int],
        until: Sequence[Until | None],
        injected: Array | None = None,
        weight: Array | None = None,
        train: bool = False,
        trajectory: bool = False,
        energies: bool = False,
    ) -> tuple[Evolution, ...]:
        """What becomes of the phases in each layer.

        Args:
          theta: initial phases of the first layer `[B, H, W, C]`, rad.
          x: of which `first_frequencies` makes its natural frequencies `[B, H, W, C]`.
          lengths: steps of each layer.
          until: for each layer, when it stops before its last step; None if it does not.
          injected: frequencies that are added again in all layers but the first.
          weight, train, trajectory, energies: as in the networks.
        """
        run = functools.partial(
            _run_layer,
            injected=injected,
            weight=weight,
            train=train,
            trajectory=trajectory,
            energies=energies,
        )
        recompute = train and recomputes_layers(
            self.remat_layers, theta, sum(lengths), self.placement.platform
        )
        entry: tuple[Array, ...] = (theta, x)
        records = []
        for i in range(len(self.layer)):
            one = functools.partial(run, i=i, steps=lengths[i], until=until[i])
            evolution, entry = (nn.remat(one) if recompute else one)(self, entry)
            records.append(evolution)
        return tuple(records)


def _run_layer(
    network: Any,
    entry: tuple[Array, ...],
    *,
    i: int,
    steps: int,
    until: Until | None,
    injected: Array | None,
    weight: Array | None,
    train: bool,
    trajectory: bool,
    energies: bool,
) -> tuple[Evolution, tuple[Array, ...]]:
    """Runs a layer, from what enters it to what enters the next."""
    if i == 0:
        theta, x = entry
        omega = network.first_frequencies(x, train=train, weight=weight)
    else:
        u, v, x = entry
        theta = network.phase_transition[str(i)].angle(u, v)
        omega = network.frequency_transition[str(i)].activate(x, train=train, weight=weight)
        if injected is not None:
            omega = omega + injected
    evolution = network.layer[i](
        theta, omega, steps=steps, trajectory=trajectory, energies=energies, until=until
    )
    if i + 1 == len(network.layer):
        return evolution, ()
    following = str(i + 1)
    u, v = network.phase_transition[following].waves(evolution.theta)
    x = network.frequency_transition[following].fuse(evolution.theta, omega)
    return evolution, (u, v, x)
