"""Sudoku: the solver against brute force, the generator, SATNet's files, the messages."""

import importlib.util
import sys
import types

import numpy as np
import pytest

from wonn_jax.data import source, sudoku

SMALL = {"train_examples": 30, "test_examples": 8}


@pytest.fixture(scope="module")
def generated():
    return sudoku.generate(1000, seed=1, processes=1)


def brute_force(board, limit=2):
    """Number of solutions up to `limit`, by trying digits cell by cell with plain sets."""
    board = board.copy()
    best = None
    for row, column in np.argwhere(board == 0):
        top, left = 3 * (row // 3), 3 * (column // 3)
        used = {*board[row], *board[:, column], *board[top : top + 3, left : left + 3].flat}
        left_over = [digit for digit in range(1, 10) if digit not in used]
        if best is None or len(left_over) < len(best[1]):
            best = (row, column), left_over
    if best is None:
        return 1
    found = 0
    for digit in best[1]:
        board[best[0]] = digit
        found += brute_force(board, limit - found)
        if found >= limit:
            break
    return found


def one_hot(boards):
    return (boards[..., None] == np.arange(1, 10)).astype(np.float32)


def write(folder, inputs, labels):
    folder.mkdir(exist_ok=True)
    np.save(folder / "features.npy", one_hot(inputs))
    np.save(folder / "labels.npy", one_hot(labels))
    return str(folder)


# The solver.


def test_solver_counts_what_brute_force_counts(generated):
    """With a few givens taken away, most boards have several solutions and some have one."""
    inputs, labels = (boards[:60].copy() for boards in generated)
    rng = np.random.default_rng(0)
    inputs[rng.random(inputs.shape) < 0.04] = 0
    expected = [brute_force(board, limit=5) for board in inputs]
    assert len(set(expected)) >= 4
    np.testing.assert_array_equal(sudoku.solutions(inputs, limit=5), expected)
    np.testing.assert_array_equal(sudoku.solutions(labels), 1)


def test_solver_searches_where_singles_end():
    """A published hard board (Inkala, 2010), and the same with a given changed."""
    rows = (
        "005300000 800000020 070010500 400005300 010070006 003200080 060500009 004000030 000009700"
    )
    board = np.array([[[int(digit) for digit in row] for row in rows.split()]], np.uint8)
    assert sudoku.solutions(board).tolist() == [1]
    states = sudoku._propagate(sudoku._candidates(board))
    assert (np.bitwise_count(states) > 1).any()
    board[0, 0, 2] = 9
    assert sudoku.solutions(board).tolist() == [min(2, brute_force(board[0]))]


def test_solver_knows_contradictions():
    board = np.zeros((2, 9, 9), np.uint8)
    board[0, 0, [0, 5]] = 3
    assert sudoku.solutions(board).tolist() == [0, 2]


# The generator.


def test_generated_boards_keep_their_promise(generated):
    inputs, labels = generated
    assert inputs.shape == labels.shape == (1000, 9, 9)
    assert inputs.dtype == labels.dtype == np.uint8
    sudoku.validate(inputs, labels, "generated")
    assert len({board.tobytes() for board in inputs}) == 1000
    assert [brute_force(board) for board in inputs[:60]] == [1] * 60
    np.testing.assert_array_equal(sudoku.solutions(inputs), 1)


def test_generated_boards_have_the_givens_of_satnet(generated):
    givens = (generated[0] > 0).sum(axis=(1, 2))
    assert givens.min() >= 31 and givens.max() <= 42
    assert abs(givens.mean() - 36.2) < 4 * 1.66 / 1000**0.5
    assert len(np.unique(givens)) >= 9


def test_generated_boards_are_diverse(generated):
    """Every digit in every cell about equally often, as inputs and as labels."""
    inputs, labels = generated
    for boards, expected in ((labels, 1000 / 9), (inputs, 1000 / 9 * 36.2 / 81)):
        number = (boards[..., None] == np.arange(1, 10)).sum(axis=0)
        assert np.abs(number - expected).max() < 5 * expected**0.5


def test_the_result_does_not_depend_on_processes_or_count(generated):
    for processes in (1, 2):
        # Two chunks: the first one is always drawn in this process.
        inputs, labels = sudoku.generate(300, seed=1, processes=processes)
        np.testing.assert_array_equal(inputs, generated[0][:300])
        np.testing.assert_array_equal(labels, generated[1][:300])
    assert (sudoku.generate(10, seed=2, processes=1)[1] != generated[1][:10]).any()


def test_impossible_requests_are_named():
    with pytest.raises(ValueError, match=r"0 Sudoku boards.*count >= 1"):
        sudoku.generate(0, seed=0)
    with pytest.raises(ValueError, match=r"seed -1.*seed >= 0"):
        sudoku.generate(1, seed=-1)


# Checking and decoding.


def swap_rows(inputs, labels):
    labels[1, [2, 5]] = labels[1, [5, 2]]  # rows of different boxes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: y.__setitem__((1, 4, 2), 0), r"board 1 has a label with a blank.*row 4"),
        (lambda x, y: y.__setitem__((1, 4, 2), 10), r"board 1 has labels with a digit above 9"),
        (lambda x, y: x.__setitem__((1, 4, 2), 10), r"board 1 has inputs with a digit above 9"),
        (
            lambda x, y: x.__setitem__((1, 4), [7, 0, 0, 0, 0, 0, 0, 0, 7]),
            r"here: board 1 has the digit 7 twice in (row 4|column \d|box \d) of the input",
        ),
        (
            lambda x, y: y.__setitem__((1, 4, 2), y[1, 4, 3]),
            r"board 1 has the digit \d twice in row 4 of the label.*at most once.*labels\[1\]",
        ),
        (swap_rows, r"board 1 has the digit \d twice in box \d of the label"),
        (
            lambda x, y: (x.__setitem__(1, 0), x.__setitem__((1, 8, 3), y[1, 8, 3] % 9 + 1)),
            r"here: board 1 has a label that contradicts a given in row 8, column 3",
        ),
    ],
)
def test_validate_names_board_and_row(generated, spoil, message):
    inputs, labels = (boards[:3].copy() for boards in generated)
    spoil(inputs, labels)
    with pytest.raises(ValueError, match=message):
        sudoku.validate(inputs, labels, "here")


def test_validate_names_a_digit_twice_in_a_column(generated):
    labels = generated[1][:2].copy()
    labels[1] = np.roll(np.arange(1, 10), 0)  # nine equal rows
    with pytest.raises(ValueError, match=r"board 1 has the digit 1 twice in column 0"):
        sudoku.validate(np.zeros_like(labels), labels, "here")


def test_validate_names_shapes(generated):
    inputs, labels = generated
    with pytest.raises(ValueError, match=r"found labels uint8 \[2, 9, 9\] beside 3 inputs"):
        sudoku.validate(inputs[:3], labels[:2], "here")
    with pytest.raises(ValueError, match=r"found inputs int64.*astype"):
        sudoku.validate(inputs.astype(np.int64), labels, "here")


def test_decode(generated):
    inputs, labels = generated
    decoded = sudoku.decode(inputs, labels)
    np.testing.assert_array_equal(decoded["input"], inputs)
    np.testing.assert_array_equal(decoded["target"], labels - 1)
    assert decoded["valid"].all() and decoded["valid"].shape == labels.shape


# Loading.


@pytest.mark.parametrize("form", ["npy", "npz", "pt"])
def test_load_every_form(generated, tmp_path, form):
    inputs, labels = (boards[:12] for boards in generated)
    path = str(tmp_path)
    if form == "npy":
        write(tmp_path, inputs, labels)
    elif form == "npz":
        path = str(tmp_path / "sudoku.npz")
        np.savez(path, features=one_hot(inputs), labels=one_hot(labels))
    else:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        torch.save(torch.tensor(one_hot(inputs)), tmp_path / "features.pt")
        torch.save(torch.tensor(one_hot(labels)), tmp_path / "labels.pt")
    sizes = {"train_examples": 9, "test_examples": 2}
    train, test = (sudoku.load(path, data_dir="", split=s, **sizes) for s in source.SPLITS)
    assert (len(train), len(test)) == (9, 2)
    assert repr(test) == "GridSource(name='sudoku', split='test', count=2)"
    for loaded, offset in ((train, 0), (test, 9)):
        for index in range(len(loaded)):
            np.testing.assert_array_equal(loaded[index]["input"], inputs[offset + index])
            np.testing.assert_array_equal(loaded[index]["target"] + 1, labels[offset + index])


def test_load_names_what_is_wrong_with_files(generated, tmp_path):
    inputs, labels = (boards[:4].copy() for boards in generated)

    def load(path, **sizes):
        sizes = {"train_examples": 2, "test_examples": 2, **sizes}
        return sudoku.load(str(path), data_dir="", split="train", **sizes)

    with pytest.raises(FileNotFoundError, match=r"none is neither an .npz file nor a folder"):
        load(tmp_path / "none")
    write(tmp_path, inputs, labels)
    assert len(load(tmp_path)) == 2
    with pytest.raises(ValueError, match=r"has 4 boards. Required.*9000 \+ 1000. Set them to at"):
        sudoku.load(str(tmp_path), data_dir="", split="train")
    with pytest.raises(ValueError, match=r"Split 'val' of sudoku was asked for"):
        sudoku.load(str(tmp_path), data_dir="", split="val")
    with pytest.raises(ValueError, match=r"train_examples -1 .*at least 1"):
        load(tmp_path, train_examples=-1)

    np.save(tmp_path / "features.npy", one_hot(inputs).reshape(4, 9, 81)[:, :, :80])
    with pytest.raises(ValueError, match=r"features: found shape \[4, 9, 80\].* Required: one-hot"):
        load(tmp_path)
    for value in (0.5, 1):  # nine times in each cell of the row
        wrong = one_hot(inputs)
        wrong[2, 3] = value
        np.save(tmp_path / "features.npy", wrong)
        with pytest.raises(ValueError, match=r"board 2 has a cell that is not one-hot in row 3"):
            load(tmp_path)
    np.save(tmp_path / "features.npy", one_hot(inputs))
    np.save(tmp_path / "labels.npy", one_hot(inputs))
    with pytest.raises(ValueError, match=r"labels: board 0 has a cell that is not one-hot in row"):
        load(tmp_path)
    (tmp_path / "labels.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"labels.npy cannot be read.*whole file of numbers"):
        load(tmp_path)
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels.npy is not there, though"):
        load(tmp_path)
    np.savez(tmp_path / "one.npz", features=one_hot(inputs))
    with pytest.raises(ValueError, match=r"holds the arrays features. Req.*features and labels"):
        load(tmp_path / "one.npz")


def test_missing_torch_names_the_extra(tmp_path, monkeypatch):
    for kind in ("features", "labels"):
        (tmp_path / f"{kind}.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'features.pt is.*pip install "wonn-jax\[torch\]"'):
        sudoku.load(str(tmp_path), data_dir="", split="train")


def test_torch_files_are_read_as_weights_only(generated, tmp_path, monkeypatch):
    """What the reader asks of PyTorch, where PyTorch is not installed."""

    class Tensor:
        def __init__(self, array):
            self.numpy = lambda: array

    def load(file, *, map_location, weights_only):
        assert (map_location, weights_only) == ("cpu", True)
        return Tensor(one_hot(generated["labels" in file][:4]))

    for kind in ("features", "labels"):
        (tmp_path / f"{kind}.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    loaded = sudoku.load(
        str(tmp_path), data_dir="", split="test", train_examples=3, test_examples=1
    )
    np.testing.assert_array_equal(loaded[0]["input"], generated[0][3])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_damaged_torch_file_is_named(tmp_path):
    for kind in ("features", "labels"):
        (tmp_path / f"{kind}.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"features.pt cannot be read"):
        sudoku.load(str(tmp_path), data_dir="", split="train")


def test_generated_set_is_prepared_once(tmp_path, monkeypatch):
    train, test = (sudoku.load(data_dir=tmp_path, split=s, **SMALL) for s in source.SPLITS)
    assert (len(train), len(test)) == (30, 8)
    inputs, labels = sudoku.generate(38, seed=0, processes=1)
    for loaded, offset in ((test, 0), (train, 8)):
        for index in range(len(loaded)):
            np.testing.assert_array_equal(loaded[index]["input"], inputs[offset + index])
            np.testing.assert_array_equal(loaded[index]["target"] + 1, labels[offset + index])
    monkeypatch.setattr(sudoku, "generate", lambda *a, **k: pytest.fail("generated again"))
    again = sudoku.load(data_dir=tmp_path, split="train", **SMALL)
    assert again.fingerprint == train.fingerprint != test.fingerprint


def test_interrupted_preparation_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    whole = sudoku.SudokuBuilder._generate_examples

    def interrupted(self, inputs, labels):
        yield next(whole(self, inputs, labels))
        raise KeyboardInterrupt

    monkeypatch.setattr(sudoku.SudokuBuilder, "_generate_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sudoku.load(data_dir=tmp_path, split="train", **SMALL)
    assert not list(tmp_path.rglob("dataset_info.json"))
    monkeypatch.setattr(sudoku.SudokuBuilder, "_generate_examples", whole)
    assert len(sudoku.load(data_dir=tmp_path, split="train", **SMALL)) == 30
