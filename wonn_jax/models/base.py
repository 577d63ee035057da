"""Interfaces and settings that the networks have in common."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from wonn_jax.common.checks import at_least, one_of
from wonn_jax.common.examples import Boards, Examples, Images
from wonn_jax.config import Component
from wonn_jax.dynamics import Evolution, Watch, share_changed
from wonn_jax.kernels.attention import IMPLEMENTATIONS, refusal
from wonn_jax.kernels.recompute import REMAT_LAYERS
from wonn_jax.nn.coupling import NORMS
from wonn_jax.nn.oscillators import Until, per_layer
from wonn_jax.nn.phases import INITIAL_PHASES
from wonn_jax.parallel.grid import own_rows
from wonn_jax.parallel.placement import ALONE, Placement

PRECISIONS = ("float32", "bfloat16")


class Output(NamedTuple):
    """Output of a model.

    logits: of every cell `[B, H, W, classes]`, or of the image `[B, classes]`.
    layers: the `Evolution` of each layer of oscillators, phases `[B, H, W, C]`; trajectories
      `[T, B, H, W, C]` and energies `[T, B]` are None unless requested.
    read_early: logits after fewer steps of the last layer, `[len(read_at), *logits.shape]`; None
      if `read_at` is empty.
    """

    logits: Array
    layers: tuple[Evolution, ...] = ()
    read_early: Array | None = None


class Stop(NamedTuple):
    """Criterion by which each example stops before the last step, at inference.

    signal: 'energy', for every layer by its own energy, or 'prediction', for the last layer only;
      the other layers then take all their steps.
    max_steps: of a layer that can stop; None for the number of steps of the layer.
    tolerance: convergence threshold, for the relative change of the energy or for the share of
      predicted classes that change.
    patience: number of consecutive steps with changes up to the threshold before an example stops.
    """

    signal: str
    max_steps: int | None = None
    tolerance: float = 1e-3
    patience: int = 2

    def of_layer(self, last: bool, steps: int, predict: Callable[[Array], Array]) -> Until | None:
        """The criterion for one layer; None if it does not stop.

        Args:
          last: whether it is the last layer.
          steps: T of the layer.
          predict: maps its phases to predicted classes.

        Raises:
          ValueError: the signal is unknown.
        """
        if self.signal not in SIGNALS:
            raise ValueError(f"signal={self.signal!r} is unknown; use one of {SIGNALS}.")
        max_steps = steps if self.max_steps is None else self.max_steps
        until = Until(max_steps, self.tolerance, self.patience)
        if self.signal == "energy":
            return until
        if not last:
            return None
        return until._replace(watch=Watch(lambda theta, energy: predict(theta), share_changed))


SIGNALS = ("energy", "prediction")


def stops(
    stop: Stop | None, lengths: Sequence[int], predict: Callable[[Array], Array]
) -> list[Until | None]:
    """`Stop.of_layer` for layers of these lengths; None for each if nothing stops."""
    if stop is None:
        return [None] * len(lengths)
    return [stop.of_layer(i == len(lengths) - 1, n, predict) for i, n in enumerate(lengths)]


class Model(Protocol):
    """A Flax module that can be trained.

    It is called as `model(inputs, train=False, weight=None)` and returns an `Output`. `inputs`
    `[B, ...]` are as the task prepares them. With `train`, batch norm uses the statistics of the
    batch and updates the running ones, and the network may draw random numbers (stream 'dropout').
    `weight` `[B]` is 1 for examples and 0 for rows of padding. An `Oscillatory` network takes
    initial phases as well.
    """

    def init(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...
    def clone(self, *args: Any, **kwargs: Any) -> Any: ...


@runtime_checkable
class Oscillatory(Protocol):
    """A network of oscillators, which evolves from initial phases over T steps with an energy.

    It is called as `model(inputs, theta, …)` with initial phases `[B, *phase_shape]` and the
    arguments `steps`, `trajectory`, `energies`, `read_at` and `stop`, see `GridModel`.

    Attributes:
      classes: number of output classes.
      layers: L.
      steps: T, one number for all layers or one per layer.
    """

    classes: int
    layers: int
    steps: tuple[int, ...]

    def phase_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the initial phases of one example, from the shape of its input."""
        ...

    def initial_phases(self, keys: Array, input_shape: tuple[int, ...]) -> Array:
        """Initial phases of a batch `[B, *phase_shape]`, rad, from one key per example `[B]`."""
        ...

    def init(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...
    def clone(self, *args: Any, **kwargs: Any) -> Any: ...


# --- Settings ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ModelConfig(Component):
    """Settings of a network. A subclass adds its fields, `check`, and `build`."""

    kind: ClassVar[str] = "model"
    oscillatory: ClassVar[bool] = False  # whether the network is `Oscillatory`

    precision: str = "float32"  # of the maps: float32 or bfloat16

    @property
    def dtype(self) -> Any:
        """Data type of the maps."""
        return jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32

    def check(self) -> None:
        one_of("model.precision", self.precision, PRECISIONS)

    def build(self, examples: Examples, placement: Placement = ALONE) -> Any:
        """The network, a `Model`.

        Args:
          examples: what an example of the task looks like.
          placement: devices that it runs on, inside `shard_map`.

        Raises:
          ValueError: the network does not take such examples.
        """
        raise NotImplementedError

    def plain(self) -> Self:
        """The same network without recomputation, with kernels whose operations can be counted."""
        return self

    def portable(self) -> Self:
        """The same network with kernels that run on any device."""
        return self

    def check_platform(self, platform: str) -> None:
        """Raises a ValueError if the network cannot run on 'cpu', 'gpu' or 'tpu'."""

    def check_split(self, examples: Examples, parts: int) -> None:
        """Raises a ValueError if the cells of an example cannot be split over `parts` devices."""
        if parts > 1:
            raise ValueError(
                f"config.mesh.grid={parts} splits the cells of oscillators over devices, which "
                f"config.model.name={self.name!r} does not support: --config.mesh.grid=1."
            )

    def boards(self, examples: Examples) -> Boards:
        """`examples`, if they are boards; raises a ValueError otherwise."""
        if not isinstance(examples, Boards):
            raise ValueError(
                f"config.model.name={self.name!r} is a network for boards, the task has images."
            )
        return examples

    def images(self, examples: Examples) -> Images:
        """`examples`, if they are images; raises a ValueError otherwise."""
        if not isinstance(examples, Images):
            raise ValueError(
                f"config.model.name={self.name!r} is a network for images, the task has boards."
            )
        return examples


@dataclasses.dataclass(frozen=True)
class OscillatorConfig(ModelConfig):
    """Settings that the Winfree networks for boards and for images have in common."""

    oscillatory: ClassVar[bool] = True

    width: int = 128  # channels C
    layers: int = 1  # L
    steps: tuple[int, ...] = (24,)  # T, one for all layers or one per layer
    heads: int = 8  # of attention
    step_size: float = 0.1  # γ, unit time
    initial_phase: str = "noise"  # or 'zeros'
    phase_scale: float = 0.1  # standard deviation of the noise, rad
    norm: str = "group"  # of the coupling: group, token, none
    attention: str = "auto"  # kernel: auto, plain, blockwise, cudnn, pallas
    remat: int = 1  # recompute in the backward pass: 0 nothing, 1 each step, k also chunks of k
    keep_attention: bool = True  # but not the attention outputs (kernels blockwise and pallas)
    remat_layers: str = "auto"  # recompute whole layers, too: on, off, auto (if they are large)

    def check(self) -> None:
        super().check()
        one_of("model.initial_phase", self.initial_phase, INITIAL_PHASES)
        one_of("model.norm", self.norm, NORMS)
        one_of("model.attention", self.attention, IMPLEMENTATIONS)
        one_of("model.remat_layers", self.remat_layers, REMAT_LAYERS)
        at_least(1, "model", self, "width", "heads")
        at_least(1, "model", self, "layers", most=1000)
        at_least(0, "model", self, "step_size", "phase_scale", "remat")
        if not self.steps or min(self.steps) < 1:
            raise ValueError(
                f"config.model.steps={self.steps} must be at least 1: --config.model.steps=3."
            )
        per_layer(self.steps, self.layers, "config.model.steps")
        if self.attends:
            self._check_heads()
            # A kernel is refused here if it could not run even on its own platform.
            self.check_platform({"cudnn": "gpu", "pallas": "tpu"}.get(self.attention, ""))

    def unused(self) -> dict[str, str]:
        found = {}
        if self.initial_phase == "zeros":
            found["phase_scale"] = "model.initial_phase=zeros draws nothing"
        if not self.remat:
            found["keep_attention"] = "model.remat=0 recomputes nothing"
        elif self.attention in ("plain", "cudnn"):
            found["keep_attention"] = f"model.attention={self.attention} cannot keep its outputs"
        return found

    @property
    def attends(self) -> bool:
        """Whether the coupling is attention."""
        return True

    def widths(self) -> tuple[int, ...]:
        """Channels of each layer."""
        return (self.width,) * self.layers

    def plain(self) -> Self:
        attention = "plain" if self.attends else self.attention
        return dataclasses.replace(self, attention=attention, remat=0, remat_layers="off")

    def portable(self) -> Self:
        return dataclasses.replace(self, attention="auto")

    def _check_heads(self) -> None:
        if self.width % (2 * self.heads) == 0:
            return
        most = min(self.width // 2, 2 * self.heads, 4096)  # not that many are looked at
        fits = [h for h in range(1, most + 1) if self.width % (2 * h) == 0]
        width = max(1, round(self.width / self.heads / 2)) * 2 * self.heads
        fits.sort(key=lambda h: abs(h - self.heads))
        nearest = f" or --config.model.heads={fits[0]}" if fits else ""
        raise ValueError(
            f"config.model.width={self.width} is not divisible by twice config.model.heads="
            f"{self.heads} (rotary codes turn the channels of a head in pairs); try "
            f"--config.model.width={width}{nearest}."
        )

    def check_platform(self, platform: str) -> None:
        if not self.attends:
            return
        for width in sorted(set(self.widths())):
            dtype = jnp.dtype(self.precision)
            if reason := refusal(self.attention, platform, width // self.heads, dtype):
                raise ValueError(
                    f"config.model.attention={self.attention!r} {reason}; use "
                    "--config.model.attention=auto, or other heads, width or precision."
                )

    def check_rows(self, rows: int, unit: int, what: str, parts: int) -> None:
        """Raises a ValueError if `rows` do not split into `parts` of whole units.

        Args:
          rows: of the grid.
          unit: rows that must stay on one device.
          what: is split, for the message.
          parts: number of devices.
        """
        if parts == 1:
            return
        if rows % (unit * parts):
            fits = [n for n in range(1, rows // unit + 1) if rows % (unit * n) == 0]
            raise ValueError(
                f"config.mesh.grid={parts} does not split {what} into equal rows; it can be "
                f"{', '.join(map(str, fits)) or 1}: --config.mesh.grid="
                f"{max((n for n in fits if n < parts), default=1)}."
            )
        if self.attends and self.attention not in ("auto", "plain", "blockwise"):
            raise ValueError(
                f"config.model.attention={self.attention!r} cannot go round a ring of devices, "
                f"which config.mesh.grid={parts} makes; use --config.model.attention=auto."
            )

    def common(self) -> dict[str, Any]:
        """Arguments that the modules of both networks have in common."""
        names = [f.name for f in dataclasses.fields(OscillatorConfig) if f.name != "precision"]
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype}


def read_early(
    read: Callable[[Array], Array],
    records: Sequence[Evolution],
    read_at: tuple[int, ...],
    placement: Placement,
) -> Array | None:
    """Logits after fewer steps of the last layer; None if `read_at` is empty.

    Args:
      read: maps phases to logits.
      records: of all layers; the last with its trajectory.
      read_at: numbers of steps.
      placement: of the network.

    Raises:
      ValueError: there is no trajectory, or `read_at` exceeds it.
    """
    if not read_at:
        return None
    trajectory = records[-1].trajectory
    if trajectory is None or not 1 <= min(read_at) <= max(read_at) <= len(trajectory):
        raise ValueError(
            f"read_at={read_at} needs trajectory=True and numbers from 1 to the steps of the last "
            "layer."
        )
    # One at a time, to save memory.
    steps = trajectory[jnp.asarray(read_at) - 1]
    return jax.lax.map(lambda x: read(own_rows(x, placement.grid)), steps)
