"""Pictures of examples and predictions, and what has to be installed to import them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wonn_jax.tasks import pictures


def test_tasks_do_not_import_matplotlib():
    code = "import sys, wonn_jax.tasks; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


# --- Images ---------------------------------------------------------------------------------------


def red_pixels(path: Path) -> int:
    """How many pixels have about the colour of wrong answers; the pictures here are grey."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
    return int((rgb[..., 0] > rgb[..., 1:].max(-1) + 80).sum())


def test_rows_of_images_and_captions_in_red(tmp_path):
    grey = np.linspace(-0.5, 1.5, 11)[:, None, None, None] * np.ones((11, 4, 4, 3))
    names = [f"class {i}" for i in range(11)]
    pictures.save_images(tmp_path / "new" / "right.png", grey, names, "eleven")
    assert red_pixels(tmp_path / "new" / "right.png") == 0
    with Image.open(tmp_path / "new" / "right.png") as image:
        assert image.format == "PNG" and image.size == (1320, 440)
        # The values outside 0 to 1 are black and white, not an error.
        assert {(0, 0, 0), (255, 255, 255)} <= set(image.convert("RGB").get_flattened_data())
    pictures.save_images(tmp_path / "wrong.png", grey, ["✗ cat\n(dog)", *names[1:]], "eleven")
    assert red_pixels(tmp_path / "wrong.png") > 20
    pictures.save_images(tmp_path / "one.png", grey[:1], names[:1], "one")
    with Image.open(tmp_path / "one.png") as image:
        assert image.size == (440, 247)


def test_wrong_predictions_are_flagged(tmp_path, monkeypatch):
    drawn = {}

    def keep(path, images, captions, title):
        drawn.update(images=images, captions=captions, title=title)

    monkeypatch.setattr(pictures, "save_images", keep)
    inputs = np.full((4, 2, 2, 3), 255, np.uint8)
    targets = np.array([0, 1, 2, 0])
    predictions = {"raw": np.array([0, 2, 0, 1]), "ema": np.array([0, 2, 1, 0])}
    names = ("ant", "bee", "cow")
    path = tmp_path / "said.png"
    pictures.save_classified(path, inputs, targets, predictions, "four", names)
    assert drawn["title"] == "four"
    np.testing.assert_array_equal(drawn["images"], 1.0)
    assert drawn["captions"] == [
        "ant",
        "✗ cow\n(bee)",
        "✗ raw: ant, ema: bee\n(cow)",
        "✗ raw: bee\n(ant)",
    ]


def test_predictions_become_a_picture(tmp_path):
    inputs = np.full((2, 4, 4, 3), 128, np.uint8)
    for says, wrong in ((np.array([0, 1]), False), (np.array([1, 1]), True)):
        path = tmp_path / f"{wrong}.png"
        predictions = {"raw": says, "ema": says}
        pictures.save_classified(path, inputs, np.array([0, 1]), predictions, "two", ("ant", "bee"))
        assert (red_pixels(path) > 20) == wrong


# --- Boards ---------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in order."""
    figures = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("drawing", [pictures.MAZE_DRAWING, pictures.SUDOKU_DRAWING])
def test_boards_beside_their_predictions(drawing, drawn, tmp_path):
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 4, (2, 9, 9)), rng.integers(0, 5, (2, 9, 9))
    wrong = targets.copy()
    wrong[1, 0, :3] += 1
    predictions = {"raw": targets, "ema": wrong}
    pictures.save_boards(tmp_path, drawing, inputs, targets, predictions, "some boards")
    (figure,) = drawn
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        *("input", "label", "raw: exact", "ema: exact"),
        *("input", "label", "raw: exact", "ema: 3 of 81 cells wrong"),
    ]
    assert figure.get_suptitle() == "some boards"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawing.legend)


def test_panels_of_mazes_are_their_classes(drawn, tmp_path):
    inputs = np.array([[[2, 1], [0, 3]]])
    targets = np.array([[[2, 4], [0, 3]]])
    pictures.save_boards(tmp_path, pictures.MAZE_DRAWING, inputs, targets, {}, "")
    panels = [axes.images[0].get_array() for axes in drawn[0].axes]
    np.testing.assert_array_equal(panels, [inputs[0], targets[0]])


def test_panels_of_sudokus_are_digits(drawn, tmp_path):
    """A token is a digit, a class is a digit minus 1."""
    inputs, targets = np.zeros((1, 9, 9), int), np.full((1, 9, 9), 4)
    inputs[0, 0, 0] = 5
    predicted = targets.copy()
    predicted[0, 8, 8] = 8
    pictures.save_boards(tmp_path, pictures.SUDOKU_DRAWING, inputs, targets, {"raw": predicted}, "")
    found = [[(t.get_text(), t.get_color()) for t in axes.texts] for axes in drawn[0].axes]
    black, blue, red = "#1b1b1b", "#3d7eff", "#d7263d"
    assert found[0] == [("5", black)]
    assert found[1] == [("5", black)] + 80 * [("5", blue)]
    assert found[2] == [("5", black)] + 79 * [("5", blue)] + [("9", red)]


def test_a_picture_of_boards_is_written(tmp_path):
    boards = np.random.default_rng(0).integers(0, 4, (2, 5, 5))
    path = tmp_path / "new" / "boards.png"
    pictures.save_boards(path, pictures.MAZE_DRAWING, boards, boards, {"raw": boards}, "two")
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (858, 704)
        assert len(set(image.convert("RGB").get_flattened_data())) > 20
