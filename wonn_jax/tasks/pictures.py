"""Pictures of examples and predictions: boards side by side, images with captions.

Matplotlib is imported where a figure is drawn, so that training on a cluster does not need it.
Figures are made without pyplot, which would keep them in global state until they are closed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from etils import epath

from wonn_jax.common.files import write_atomically
from wonn_jax.common.folders import make_folder
from wonn_jax.tasks.colours import MAZE_COLOURS

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GIVEN, _CORRECT, _WRONG = "#1b1b1b", "#3d7eff", "#d7263d"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, rendered by Agg (no display needed)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: epath.PathLike, dpi: int = 110) -> None:
    """Writes a figure, as PNG or what the name ends in; makes the folder if it is missing."""
    path = epath.Path(path)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:] or "png", dpi=dpi)
    make_folder(path.parent)
    write_atomically(path, drawn.getvalue())


def save_movie(movie: FuncAnimation, path: epath.PathLike, frames_per_second: int) -> None:
    """Writes an animation as GIF; makes the folder if it is missing."""
    from matplotlib.animation import PillowWriter

    path = epath.Path(path)
    with tempfile.TemporaryDirectory() as folder:
        drawn = epath.Path(folder) / "movie.gif"
        movie.save(drawn, writer=PillowWriter(fps=frames_per_second), dpi=80)
        make_folder(path.parent)
        write_atomically(path, drawn.read_bytes())


# --- Boards ---------------------------------------------------------------------------------------


class DrawBoard(Protocol):
    """Draws one board: the input, or classes predicted for it.

    Args:
      axes: Matplotlib axes to draw on.
      classes: predicted or target classes `[H, W]`; None draws the input itself.
      tokens: input tokens `[H, W]`.
      target: target classes `[H, W]`.
    """

    def __call__(
        self, axes: Axes, classes: np.ndarray | None, tokens: np.ndarray, target: np.ndarray
    ) -> None: ...


class Drawing(NamedTuple):
    """How boards of a task are drawn; `legend` has colours ('#rrggbb') by name."""

    draw_board: DrawBoard
    legend: Mapping[str, str]


def draw_maze(
    axes: Axes, classes: np.ndarray | None, tokens: np.ndarray, target: np.ndarray
) -> None:
    """A maze in the colours of its classes, see `DrawBoard`.

    Classes are 0 wall, 1 free, 2 start, 3 goal, 4 path; tokens are the first four of them.
    """
    from matplotlib.colors import ListedColormap

    shown = tokens if classes is None else classes
    axes.imshow(shown, cmap=ListedColormap(list(MAZE_COLOURS.values())), vmin=-0.5, vmax=4.5)


def draw_sudoku(
    axes: Axes, classes: np.ndarray | None, tokens: np.ndarray, target: np.ndarray
) -> None:
    """A Sudoku, see `DrawBoard`. A token is a digit, 0 if blank; a class is a digit minus 1."""
    draw_digits(axes, tokens if classes is None else classes + 1, tokens > 0, target + 1)


def draw_digits(axes: Axes, digits: np.ndarray, given: np.ndarray, correct: np.ndarray) -> None:
    """Digits `[9, 9]` in the grid of a Sudoku.

    Args:
      axes: Matplotlib axes to draw on.
      digits: the digits to show, 0 for a blank cell.
      given: booleans, the cells given by the puzzle, drawn in black.
      correct: the solution; of the other cells, wrong digits are red and right ones blue.
    """
    axes.set(xlim=(-0.5, 8.5), ylim=(8.5, -0.5), aspect="equal")
    for edge in range(10):
        width = 1.6 if edge % 3 == 0 else 0.5
        axes.axhline(edge - 0.5, color="#1b1b1b", linewidth=width)
        axes.axvline(edge - 0.5, color="#1b1b1b", linewidth=width)
    for (row, column), digit in np.ndenumerate(digits):
        if digit:
            wrong = digit != correct[row, column]
            colour = _WRONG if wrong else _GIVEN if given[row, column] else _CORRECT
            axes.text(column, row, str(digit), ha="center", va="center", color=colour, fontsize=9)


MAZE_DRAWING = Drawing(draw_maze, MAZE_COLOURS)
SUDOKU_DRAWING = Drawing(draw_sudoku, {"given": _GIVEN, "correct": _CORRECT, "wrong": _WRONG})


def save_boards(
    path: epath.PathLike,
    drawing: Drawing,
    inputs: np.ndarray,
    targets: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    title: str,
) -> None:
    """One row per board: input, label and each prediction, with the number of wrong cells.

    Args:
      path: PNG to write.
      drawing: how the boards are drawn.
      inputs, targets: tokens and classes `[n, H, W]`.
      predictions: predicted classes `[n, H, W]` by name.
      title: of the figure.
    """
    from matplotlib.patches import Patch

    rows, columns = len(inputs), 2 + len(predictions)
    figure = new_figure(2.6 * columns, 2.75 * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, tokens, target in zip(range(rows), inputs, targets, strict=True):
        panels = {"input": None, "label": target}
        panels |= {name: boards[line] for name, boards in predictions.items()}
        for axes, (name, classes) in zip(grid[line], panels.items(), strict=True):
            drawing.draw_board(axes, classes, tokens, target)
            axes.set_axis_off()
            predicted = name in predictions
            axes.set_title(f"{name}: {errors(classes, target)}" if predicted else name, fontsize=9)
    handles = [
        Patch(facecolor=c, edgecolor="#888888", label=name) for name, c in drawing.legend.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def errors(classes: np.ndarray, target: np.ndarray) -> str:
    """'exact', or the number of cells `[H, W]` that differ from the target."""
    wrong = int((classes != target).sum())
    return f"{wrong} of {target.size} cells wrong" if wrong else "exact"


# --- Images ---------------------------------------------------------------------------------------


def save_classified(
    path: epath.PathLike,
    inputs: np.ndarray,
    targets: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    title: str,
    names: Sequence[str] = (),
) -> None:
    """Images with the name of their class; wrong predictions in red.

    Args:
      path: PNG to write.
      inputs: images `[n, H, W, 3]`, 0 to 255.
      targets: classes `[n]`.
      predictions: predicted classes `[n]` by name.
      title: of the figure.
      names: of the classes; numbers if empty.
    """
    captions = [
        _caption(int(target), {name: int(x[row]) for name, x in predictions.items()}, names)
        for row, target in enumerate(targets)
    ]
    save_images(path, inputs / 255, captions, title)


def _caption(target: int, predicted: Mapping[str, int], names: Sequence[str]) -> str:
    label = class_name(target, names)
    wrong = {w: class_name(x, names) for w, x in predicted.items() if x != target}
    if not wrong:
        return label
    if len(set(predicted.values())) == 1:
        return f"✗ {next(iter(wrong.values()))}\n({label})"
    return "✗ " + ", ".join(f"{w}: {x}" for w, x in wrong.items()) + f"\n({label})"


def class_name(number: int, names: Sequence[str]) -> str:
    """The name of a class; its number if `names` is empty."""
    return names[number] if len(names) else str(number)


def save_images(
    path: epath.PathLike, images: np.ndarray, captions: Sequence[str], title: str
) -> None:
    """Images in rows of eight, each with a caption.

    Args:
      path: PNG to write.
      images: `[n, H, W, 3]`; values are clipped to 0…1.
      captions: one for each image; in red if it begins with '✗'.
      title: of the figure.
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(max(1.5 * columns, 4), 1.75 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
        colour = _WRONG if caption.startswith("✗") else "#1b1b1b"
        axes.set_title(caption, fontsize=8, color=colour)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)
