"""Losses and metrics of the tasks, against counting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.common.examples import Boards, Images
from wonn_jax.data import Cifar10, ImageAugmentation, Mazes, NoAugmentation, Sudokus, maze
from wonn_jax.tasks import ImageConfig, MazeConfig, SudokuConfig
from wonn_jax.tasks.maze import is_shortest_path

MAZE = MazeConfig().build(Mazes(height=4, width=4), NoAugmentation())
CODES = {"#": 0, ".": 1, "S": 2, "G": 3, "*": 4}


def board(text: str) -> np.ndarray:
    return np.array([[CODES[c] for c in row] for row in text.split()])


def logits_of(classes: np.ndarray, count: int) -> jnp.ndarray:
    return 10.0 * jax.nn.one_hot(classes, count)


LABEL = board("S*** ###* G*** .##.")  # the only way round


def path_is_valid(text: str, label: np.ndarray) -> bool:
    predicted, tokens = board(text), np.where(label == 4, 1, label)
    marked, tokens = jnp.asarray(predicted == 4)[None], jnp.asarray(tokens)[None]
    return bool(is_shortest_path(marked, tokens, jnp.ones(tokens.shape, bool))[0])


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("S*** ###* G*** .##.", True),  # the label
        ("S*** ###* G*** *##.", False),  # a cell too many
        ("S*** ###* G**. .##.", False),  # a gap
        ("S*.* ###* G*** *##.", False),  # a gap and a cell too many: the number is right
        ("S... ###. G... .##.", False),  # no path at all
        ("S... *##. G... .##.", False),  # shorter, but through a wall
    ],
)
def test_valid_shortest_path(text, valid):
    assert path_is_valid(text, LABEL) is valid


def test_any_of_several_shortest_paths_counts():
    label = board("S** ..* ..G")
    for text in ("S** ..* ..G", "S.. *.. **G", "S*. .** ..G"):
        assert path_is_valid(text, label)
    assert not path_is_valid("S*. **. .*G", label)


def test_generated_labels_are_valid_and_start_beside_goal_needs_no_cell():
    inputs, labels = maze.generate(30, 8, 7, 6, seed=3, processes=1)
    decoded = maze.decode(inputs, labels)
    marked = jnp.asarray(decoded["target"] == 4)
    tokens, valid = jnp.asarray(decoded["input"]), jnp.asarray(decoded["valid"])
    assert bool(is_shortest_path(marked, tokens, valid).all())
    assert path_is_valid("SG ..", board("SG .."))


def test_no_way_leads_through_padding():
    """A short cut over cells that do not exist must not make the label too long."""
    tokens = jnp.asarray(np.where(LABEL == 4, 1, LABEL))[None]
    shortcut = jnp.asarray(board("S... *... G... ....") == 4)[None]
    tokens = tokens.at[0, 1, 0].set(1)  # the token of a free cell, and of padding
    valid = jnp.ones(tokens.shape, bool)
    label = jnp.asarray(LABEL == 4)[None]
    assert bool(is_shortest_path(shortcut, tokens, valid)[0])
    assert not bool(is_shortest_path(label, tokens, valid)[0])
    valid = valid.at[0, 1, 0].set(False)
    assert bool(is_shortest_path(label, tokens, valid)[0])


def maze_batch():
    target = np.stack([LABEL, board("S.## *... *### G...")])
    valid = np.ones(target.shape, bool)
    valid[1, 3, 3] = False
    return {
        "input": jnp.asarray(np.where(target == 4, 1, target)),
        "target": jnp.asarray(target),
        "valid": jnp.asarray(valid),
        "id": jnp.array([0, 1]),
    }


def test_maze_loss_is_weighted_and_divided_by_the_number_of_cells():
    batch = maze_batch()
    logits = jax.random.normal(jax.random.key(0), (2, 4, 4, 5))
    task = MAZE
    total, count = 0.0, 0
    weights = (1, 5, 2, 2, 5)
    for index in np.ndindex(2, 4, 4):
        if batch["valid"][index]:
            x, target = np.asarray(logits[index], np.float64), int(batch["target"][index])
            total += weights[target] * (np.log(np.exp(x).sum()) - x[target])
            count += 1
    np.testing.assert_allclose(task.loss_sum(logits, batch), total, rtol=1e-5)
    assert task.loss_count(batch) == count == 31


def test_maze_metrics():
    batch, task = maze_batch(), MAZE
    predicted = np.array(batch["target"])
    predicted[1, 3, 3] = 0  # an ignored cell may be anything
    perfect = task.summarise(task.counts(logits_of(predicted, 5), batch))
    assert perfect["accuracy"] == perfect["path_f1"] == perfect["cell_accuracy"] == 1.0
    predicted[0, 0, 1], predicted[0, 3, 0] = 1, 4  # one path cell missed, one too many
    metrics = task.summarise(task.counts(logits_of(predicted, 5), batch))
    assert metrics["accuracy"] == metrics["valid_path"] == 0.5
    assert metrics["cell_accuracy"] == pytest.approx(29 / 31)
    paths = int((batch["target"] == 4).sum())
    assert metrics["path_recall"] == metrics["accuracy_path"] == pytest.approx((paths - 1) / paths)
    assert metrics["path_precision"] == pytest.approx((paths - 1) / paths)
    assert metrics["path_f1"] == pytest.approx((paths - 1) / paths)
    assert metrics["accuracy_wall"] == metrics["accuracy_start"] == 1.0


def test_padding_rows_count_nowhere():
    batch, task = maze_batch(), MAZE
    logits = jax.random.normal(jax.random.key(0), (2, 4, 4, 5))
    one = {name: x[:1] for name, x in batch.items()}
    padded = batch | {"id": jnp.array([0, -1])}
    alone, both = task.counts(logits[:1], one), task.counts(logits, padded)
    for name, value in alone.items():
        np.testing.assert_allclose(both[name], value, rtol=1e-6, err_msg=name)


def test_sudoku_loss_and_metrics():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 9, (2, 9, 9))
    given = rng.random((2, 9, 9)) < 0.4
    batch = {
        "input": jnp.asarray(np.where(given, target + 1, 0)),
        "target": jnp.asarray(target),
        "valid": jnp.ones((2, 9, 9), bool),
        "id": jnp.array([0, 1]),
    }
    logits = jax.random.normal(jax.random.key(0), (2, 9, 9, 9))
    logp = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), target[..., None], -1)[..., 0]
    task = SudokuConfig().build(Sudokus(), NoAugmentation())
    mean = task.loss_sum(logits, batch) / task.loss_count(batch)
    np.testing.assert_allclose(mean, -logp.mean(), rtol=1e-5)
    only_blanks = SudokuConfig(loss_weights=(0.0, 2.0)).build(Sudokus(), NoAugmentation())
    weighted = only_blanks.loss_sum(logits, batch)
    np.testing.assert_allclose(weighted, -2 * logp[~given].sum(), rtol=1e-5)
    predicted = target.copy()
    row, column = np.argwhere(~given[1])[0]
    predicted[1, row, column] = (target[1, row, column] + 1) % 9
    metrics = task.summarise(task.counts(logits_of(predicted, 9), batch))
    assert metrics["accuracy"] == 0.5 and metrics["accuracy_given"] == 1.0
    blanks = int((~given).sum())
    assert metrics["accuracy_blank"] == pytest.approx((blanks - 1) / blanks)


def test_what_examples_look_like():
    assert MAZE.examples == Boards(4, 4, tokens=4, classes=5, givens=False)
    sudoku = SudokuConfig().build(Sudokus(), NoAugmentation())
    assert sudoku.examples == Boards(9, 9, tokens=10, classes=9, givens=True)
    images = ImageConfig().build(Cifar10(image_size=24, classes=7), ImageAugmentation())
    assert images.examples == Images(24, 7)
    assert (MAZE.noun, sudoku.noun, images.noun) == ("boards", "boards", "images")


@pytest.mark.parametrize(
    ("task", "data", "augment", "message"),
    [
        (MazeConfig(), Sudokus(), NoAugmentation(), r"data\.name='sudoku' .*task\.name='maze'"),
        (SudokuConfig(), Mazes(), NoAugmentation(), r"data\.name='maze' .*task\.name='sudoku'"),
        (MazeConfig(), Mazes(), ImageAugmentation(), r"augment\.name='image' .*'maze'"),
        (ImageConfig(), Mazes(), ImageAugmentation(), r"data\.name='maze' .*'image'"),
        (ImageConfig(), Cifar10(), NoAugmentation(), r"augment\.name='none' .*'image'"),
    ],
    ids=str,
)
def test_data_and_augmentation_of_another_task(task, data, augment, message):
    with pytest.raises(ValueError, match=message):
        task.build(data, augment)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (MazeConfig(loss_weights=(1.0, 2.0)), "has 2 weights; maze takes 5, of wall, free"),
        (SudokuConfig(loss_weights=()), "has 0 weights; sudoku takes 2, of given, blank"),
        (SudokuConfig(loss_weights=(1.0, -1.0)), "must not be negative"),
        (SudokuConfig(loss_weights=(1.0, float("nan"))), "must not be negative"),
        (ImageConfig(label_smoothing=1.0), "label_smoothing=1.0 must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_wrong_settings(task, message):
    with pytest.raises(ValueError, match=message):
        task.check()
