"""What all models have in common."""

from typing import Any, NamedTuple, Protocol

from jax import Array

from wonn_jax.dynamics import Evolution


class Output(NamedTuple):
    """What a model gives.

    logits: of every cell `[B, H, W, classes]`, or of the picture `[B, classes]`.
    layers: one `Evolution` per layer of oscillators, on `[B, H, W, C]`; trajectories
      `[T, B, H, W, C]` and energies `[T, B]` are None unless asked for.
    """

    logits: Array
    layers: tuple[Evolution, ...] = ()


class Model(Protocol):
    """A Flax module that the training loop can run; the parameters are all it holds."""

    def phase_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one example's initial phases, from that of its input."""
        ...

    def init(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...
    def clone(self, *args: Any, **kwargs: Any) -> Any: ...
