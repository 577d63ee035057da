"""An answer step by step: GIF of the dynamics, or PNG of the last step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from wonn_jax.tasks.pictures import new_figure, save_figure, save_movie
from wonn_jax.tools.puzzles import Puzzle

if TYPE_CHECKING:
    from matplotlib.artist import Artist


def save_dynamics(
    path: epath.PathLike,
    puzzle: Puzzle,
    tokens: np.ndarray,
    probabilities: np.ndarray,
    energies: np.ndarray,
    *,
    moving: bool = True,
    milliseconds: int = 200,
) -> None:
    """Draws a board after each step, with the curve of its energy below.

    Args:
      path: GIF to write, PNG if not moving.
      puzzle: the kind of board.
      tokens: the board `[H, W]`.
      probabilities: of each class after each step `[T, H, W, classes]`.
      energies: before each step `[T]`.
      moving: whether to draw all steps, or only the last one.
      milliseconds: duration of a step; the last one is shown ten times as long.
    """
    from matplotlib.animation import FuncAnimation

    steps = len(probabilities)
    figure = new_figure(5, 6.4)
    above, below = figure.subplots(2, 1, height_ratios=(5, 1))

    def draw(frame: int) -> list[Artist]:
        now = min(frame, steps - 1)
        above.clear()
        below.clear()
        puzzle.draw_step(above, tokens, probabilities[now])
        above.set_axis_off()
        above.set_title(f"after step {now + 1} of {steps}", fontsize=11)
        below.plot(np.arange(1, steps + 1), energies, color="#bbbbbb")
        below.plot(np.arange(1, now + 2), energies[: now + 1], color="#d7263d")
        below.set(xlabel="step", ylabel="energy before the step", xlim=(0.5, steps + 0.5))
        below.spines[["top", "right"]].set_visible(False)
        return [above, below]

    if not moving:
        draw(steps - 1)
        save_figure(figure, path)
        return
    # The last step is repeated: not every viewer honours the duration of a single frame.
    movie = FuncAnimation(figure, draw, frames=steps + 9)
    save_movie(movie, path, 1000 // milliseconds)
