"""How an answer assembles over the steps of the dynamics: GIF, or the last step as PNG."""

from pathlib import Path

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb

from wonn_jax.data.sudoku import repeated
from wonn_jax.tasks.colours import CROSSING, MAZE_COLOURS
from wonn_jax.tasks.maze import FREE, PATH, WALL
from wonn_jax.tasks.pictures import draw_sudoku, plt


def maze_image(tokens: np.ndarray, path: np.ndarray) -> np.ndarray:
    """A maze with the probability of the path `[H, W]` laid over it, as RGB `[H, W, 3]`."""
    board = np.array([to_rgb(c) for c in MAZE_COLOURS.values()])[tokens]
    for cells, colour in ((tokens == WALL, CROSSING), (tokens == FREE, MAZE_COLOURS["path"])):
        share = np.where(cells, path, 0.0)[..., None]
        board = (1 - share) * board + share * np.array(to_rgb(colour))
    return board


def save_dynamics(
    path: Path,
    task: str,
    tokens: np.ndarray,
    probabilities: np.ndarray,
    energies: np.ndarray,
    *,
    moving: bool = True,
    milliseconds: int = 200,
) -> None:
    """Draws a board after each step, its energy below.

    Args:
      path: GIF to write, PNG if not moving.
      task: 'maze' or 'sudoku'.
      tokens: the board `[H, W]`.
      probabilities: of every class after each step `[T, H, W, classes]`.
      energies: before each step `[T]`.
      moving: whether to draw all steps, or the last one alone.
      milliseconds: for which a step is seen; the last one ten times as long.
    """
    steps = len(probabilities)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(5, 6.4), height_ratios=(5, 1), layout="constrained"
    )

    def draw(frame: int) -> list[Artist]:
        now = min(frame, steps - 1)
        above.clear()
        below.clear()
        if task == "maze":
            above.imshow(maze_image(tokens, probabilities[now][..., PATH]), interpolation="nearest")
        else:
            digits = np.where(tokens > 0, tokens, probabilities[now].argmax(-1) + 1)
            agreed = np.where(repeated(digits), 0, digits)
            draw_sudoku(above, digits, tokens > 0, agreed)
        above.set_axis_off()
        above.set_title(f"after step {now + 1} of {steps}", fontsize=11)
        below.plot(np.arange(1, steps + 1), energies, color="#bbbbbb")
        below.plot(np.arange(1, now + 2), energies[: now + 1], color="#d7263d")
        below.set(xlabel="step", ylabel="energy before it", xlim=(0.5, steps + 0.5))
        below.spines[["top", "right"]].set_visible(False)
        return [above, below]

    path.parent.mkdir(parents=True, exist_ok=True)
    if moving:
        # The last step stays: as frames of its own, which every viewer shows alike.
        movie = FuncAnimation(figure, draw, frames=steps + 9)
        movie.save(path, writer=PillowWriter(fps=1000 // milliseconds), dpi=80)
    else:
        draw(steps - 1)
        figure.savefig(path, dpi=110)
    plt.close(figure)
