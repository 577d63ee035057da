"""Pictures of what a network sees and says: boards with their predictions, images with names."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from wonn_jax.tasks.colours import MAZE_COLOURS

_GIVEN, _RIGHT, _WRONG = "#1b1b1b", "#3d7eff", "#d7263d"


def draw_maze(axes: Axes, classes: np.ndarray) -> None:
    """A board of maze classes `[H, W]` (0 wall, 1 free, 2 start, 3 goal, 4 path)."""
    axes.imshow(classes, cmap=ListedColormap(list(MAZE_COLOURS.values())), vmin=-0.5, vmax=4.5)


def draw_sudoku(axes: Axes, digits: np.ndarray, given: np.ndarray, label: np.ndarray) -> None:
    """A board of digits `[9, 9]` (0 blank): given ones black, others right or wrong."""
    axes.set(xlim=(-0.5, 8.5), ylim=(8.5, -0.5), aspect="equal")
    for edge in range(10):
        width = 1.6 if edge % 3 == 0 else 0.5
        axes.axhline(edge - 0.5, color="#1b1b1b", linewidth=width)
        axes.axvline(edge - 0.5, color="#1b1b1b", linewidth=width)
    for (row, column), digit in np.ndenumerate(digits):
        if digit:
            wrong = digit != label[row, column]
            colour = _WRONG if wrong else _GIVEN if given[row, column] else _RIGHT
            axes.text(column, row, str(digit), ha="center", va="center", color=colour, fontsize=9)


def save_predictions(
    path: Path,
    task: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    predictions: dict[str, np.ndarray],
    title: str,
    names: Sequence[str] = (),
) -> None:
    """Examples and what is predicted for them.

    Args:
      path: PNG to write.
      task: 'maze', 'sudoku' or 'image'.
      inputs, targets: of a batch `[n, ...]`, as the data gives them.
      predictions: predicted classes by name of the weights, the shape of the targets.
      title: of the picture.
      names: of the classes of images.
    """
    if task != "image":
        save_boards(path, task, inputs, targets, predictions, title)
        return

    def name(label: int) -> str:
        return names[label] if len(names) else str(label)

    def caption(row: int) -> str:
        said = {weights: x[row] for weights, x in predictions.items()}
        wrong = {w: name(x) for w, x in said.items() if x != targets[row]}
        label = name(targets[row])
        if not wrong:
            return label
        if len(set(said.values())) == 1:
            return f"✗ {next(iter(wrong.values()))}\n({label})"
        return "✗ " + ", ".join(f"{w}: {x}" for w, x in wrong.items()) + f"\n({label})"

    captions = [caption(row) for row in range(len(inputs))]
    save_images(path, inputs / 255, captions, title)


def save_boards(
    path: Path,
    task: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    predictions: dict[str, np.ndarray],
    title: str,
) -> None:
    """One row per board: input, label and each prediction, with the number of wrong cells.

    Args:
      path: PNG to write.
      task: 'maze' or 'sudoku'.
      inputs, targets: tokens and classes `[n, H, W]`.
      predictions: predicted classes `[n, H, W]` by name.
      title: of the picture.
    """
    rows, columns = len(inputs), 2 + len(predictions)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.6 * columns, 2.75 * rows + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row in range(rows):
        panels = {"input": inputs[row], "label": targets[row]}
        panels |= {name: boards[row] for name, boards in predictions.items()}
        for axes, (name, board) in zip(grid[row], panels.items(), strict=True):
            if task == "maze":
                draw_maze(axes, board)
            else:
                digits = board if name == "input" else board + 1
                draw_sudoku(axes, digits, inputs[row] > 0, targets[row] + 1)
            axes.set_axis_off()
            heading = name
            if name in predictions:
                wrong = int((board != targets[row]).sum())
                heading += f": {wrong} of {board.size} cells wrong" if wrong else ": exact"
            axes.set_title(heading, fontsize=9)
    if task == "maze":
        handles = [
            Patch(facecolor=c, edgecolor="#888888", label=n) for n, c in MAZE_COLOURS.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    else:
        names = {"given": _GIVEN, "right": _RIGHT, "wrong": _WRONG}
        handles = [Patch(facecolor=c, label=n) for n, c in names.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def save_images(path: Path, images: np.ndarray, captions: list[str], title: str) -> None:
    """Images in rows of eight, each with a caption.

    Args:
      path: PNG to write.
      images: `[n, H, W, 3]`, from 0 to 1; what lies outside is cut off.
      captions: one of each image; red where it begins with '✗'.
      title: of the picture.
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(1.5 * columns, 4), 1.75 * rows + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
        colour = _WRONG if caption.startswith("✗") else "#1b1b1b"
        axes.set_title(caption, fontsize=8, color=colour)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
