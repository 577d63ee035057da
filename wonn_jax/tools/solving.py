"""A network's answer to one board, with everything that is worth showing about it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.models import Model
from wonn_jax.tools.network import Network


class Answer(NamedTuple):
    """Answer of a network to one board.

    classes: predicted `[H, W]`.
    probabilities: of each class after each step of the last layer `[T, H, W, classes]`.
    energies: of the last layer before each step `[T]`.
    draw_energies: final energy for each draw of the initial phases `[K]`; the answer is that of
      the lowest one.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    energies: np.ndarray
    draw_energies: np.ndarray

    def summary(self) -> str:
        """A line about the energies, for people."""
        lowest, highest, draws = (
            self.draw_energies.min(),
            self.draw_energies.max(),
            len(self.draw_energies),
        )
        line = f"energy    {lowest:,.1f}"
        if draws > 1:
            line += f", the lowest of {draws} draws (highest: {highest:,.1f})"
        return f"{line}; {len(self.energies)} steps"


def answer(
    network: Network, tokens: np.ndarray, *, draws: int = 1, steps: int = 0, seed: int = 0
) -> Answer:
    """Answers one board.

    Args:
      network: trained on such boards.
      tokens: of the cells `[H, W]`, as in the data.
      draws: K, of the initial phases; the one with the lowest final energy gives the answer.
      steps: T of every layer; 0: as in training.
      seed: of the draws.
    """
    length = steps or network.model.steps[-1]
    keys = example_keys(stream_key(seed, "evaluation phases"), jnp.arange(draws))
    theta = network.model.initial_phases(keys, tokens.shape)
    board = jnp.asarray(tokens, jnp.int32)[None]

    final = np.asarray(_final_energies(network.model, steps, network.variables, board, theta))
    best = theta[final.argmin()][None]
    watched = _watch(network.model, steps, length, network.variables, board, best)
    probabilities, energies = jax.device_get(watched)
    return Answer(probabilities[-1].argmax(-1), probabilities, energies, final)


# Both are compiled once for all boards of one size.


@functools.partial(jax.jit, static_argnums=(0, 1))
def _final_energies(
    model: Model, steps: int, variables: dict[str, Any], board: jax.Array, theta: jax.Array
) -> jax.Array:
    """Energy of the last layer before its last step `[K]`, for initial phases `[K, H, W, C]`."""

    def final_energy(one: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, board, one[None], steps=steps or None, energies=True)
        return output.layers[-1].energies[-1, 0]

    return jax.lax.map(final_energy, theta)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _watch(
    model: Model,
    steps: int,
    length: int,
    variables: dict[str, Any],
    board: jax.Array,
    theta: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Probabilities after each of the `length` steps of the last layer, energies before them."""
    output: Any = model.apply(
        variables,
        board,
        theta,
        steps=steps or None,
        trajectory=True,
        energies=True,
        read_at=tuple(range(1, length + 1)),
    )
    return jax.nn.softmax(output.read_early[:, 0]), output.layers[-1].energies[:, 0]
