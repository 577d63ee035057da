"""What all models have in common."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.dist.grid import own_rows
from wonn_jax.dist.placement import Placement
from wonn_jax.dynamics import Evolution, Watch, share_changed
from wonn_jax.nn.oscillators import Until


class Output(NamedTuple):
    """What a model gives.

    logits: of every cell `[B, H, W, classes]`, or of the picture `[B, classes]`.
    layers: one `Evolution` per layer of oscillators, on `[B, H, W, C]`; trajectories
      `[T, B, H, W, C]` and energies `[T, B]` are None unless asked for.
    readings: the logits after fewer steps of the last layer `[readings, *logits.shape]`, or None.
    """

    logits: Array
    layers: tuple[Evolution, ...] = ()
    readings: Array | None = None


class Stop(NamedTuple):
    """When an example stops before the last step, at inference.

    signal: 'energy', of every layer for itself, or 'prediction', in the last layer: the others
      then take all their steps.
    limit: most steps of a layer that stops; None: as many as without.
    tolerance: change that counts as none: of the energy, relative, or the share of the predicted
      classes that change.
    patience: steps in a row without one that it takes to stop.
    """

    signal: str
    limit: int | None = None
    tolerance: float = 1e-3
    patience: int = 2

    def of_layer(self, last: bool, steps: int, predict: Callable[[Array], Array]) -> Until | None:
        """For one layer, of so many steps; `predict` makes classes of the last one's phases."""
        if self.signal not in SIGNALS:
            raise ValueError(f"signal={self.signal!r} is unknown; use one of {SIGNALS}.")
        limit = steps if self.limit is None else self.limit
        until = Until(limit, self.tolerance, self.patience)
        if self.signal == "energy":
            return until
        if not last:
            return None
        return until._replace(watch=Watch(lambda theta, energy: predict(theta), share_changed))


SIGNALS = ("energy", "prediction")


class Model(Protocol):
    """A Flax module that the training loop can run; the parameters are all it holds."""

    classes: int

    def phase_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one example's initial phases, from that of its input."""
        ...

    def init(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...
    def clone(self, *args: Any, **kwargs: Any) -> Any: ...


def read_early(
    read: Callable[[Array], Array],
    records: Sequence[Evolution],
    steps: tuple[int, ...],
    placement: Placement,
) -> Array | None:
    """What `read` makes of the last layer's phases after so many of its steps, None of no steps.

    Raises:
      ValueError: readings without a trajectory, or beyond its end.
    """
    if not steps:
        return None
    trajectory = records[-1].trajectory
    if trajectory is None or not 1 <= min(steps) <= max(steps) <= len(trajectory):
        raise ValueError(
            f"readings={steps} need trajectory=True and numbers from 1 to the steps of the last "
            "layer."
        )
    # One after the other: memory is that of one.
    return jax.lax.map(
        lambda x: read(own_rows(x, placement.grid)), trajectory[jnp.asarray(steps) - 1]
    )
