"""Bad Sudokus: text for `solve`, arrays for training."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.inputs.puzzles import no_puzzle, puzzle
from experiments.faults.runs import ROOT

_ROWS, _COLUMNS = np.indices((9, 9))
_PATTERN = (3 * (_ROWS % 3) + _ROWS // 3 + _COLUMNS) % 9  # a complete board


@st.composite
def complete(draw: st.DrawFn) -> np.ndarray:
    """A complete, correct board."""
    return np.array(draw(st.permutations(range(1, 10))))[_PATTERN]


@st.composite
def bad_text(draw: st.DrawFn) -> tuple[str, str]:
    """What is wrong, and the text of a board."""
    board = draw(complete())
    row, column = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    shown = set(draw(st.lists(st.integers(0, 80), min_size=20, max_size=40))) | {9 * row + column}
    faults = ["twice in a row", "twice in a column", "twice in a box", "no digit fits"]
    fault = draw(
        st.sampled_from([*faults, "a cell too few", "a cell too many", "a letter", "a 10"])
    )
    digit = board[row, column]
    givens = np.where(np.isin(9 * _ROWS + _COLUMNS, list(shown)), board, 0)
    other = (row + 3) % 9, (column + 3) % 9
    if fault == "twice in a row":
        givens[row, other[1]] = digit
    elif fault == "twice in a column":
        givens[other[0], column] = digit
    elif fault == "twice in a box":
        givens[row // 3 * 3 + (row + 1) % 3, column // 3 * 3 + (column + 1) % 3] = digit
    elif fault == "no digit fits":  # eight digits in the row, the ninth in the column
        givens[:] = 0
        givens[row] = board[row]
        givens[row, column] = 0
        givens[other[0], column] = digit
    blank = draw(st.sampled_from("0._*"))
    cells = [str(x) if x else blank for x in givens.flat]
    if fault == "a cell too few":
        del cells[9 * row + column]
    elif fault == "a cell too many":
        cells.insert(9 * row + column, "5")
    elif fault == "a letter":
        cells[9 * row + column] = draw(st.sampled_from("qwzäЖ漢!"))
    elif fault == "a 10":
        cells[9 * row + column] = " 10 "
    if draw(st.booleans()):
        return fault, "".join(cells)
    width = draw(st.sampled_from(["", " ", ","]))
    return fault, "\n".join(width.join(cells[i : i + 9]) for i in range(0, len(cells), 9))


@st.composite
def text_inputs(draw: st.DrawFn) -> Input:
    """A bad Sudoku, in a file or piped in."""
    fault, text = draw(bad_text())
    return puzzle(draw, "sudoku", fault, text + draw(st.sampled_from(["", "\n"])))


@st.composite
def array_inputs(draw: st.DrawFn) -> Input:
    """Training on SATNet's arrays, which are bad."""
    labels = draw(complete())
    board, cell = draw(st.integers(0, 11)), (draw(st.integers(0, 8)), draw(st.integers(0, 8)))
    labels = np.repeat(labels[None], 12, 0)
    inputs = np.where(draw(st.integers(0, 2)) == (_ROWS + _COLUMNS) % 3, labels, 0)
    fault = draw(
        st.sampled_from(["label", "given", "blank label", "one array", *damage.ODD_ARRAYS])
    )
    if fault == "label":
        labels[board][cell] = labels[board][cell] % 9 + 1
    elif fault == "given":
        inputs[board][cell] = labels[board][cell] % 9 + 1
    elif fault == "blank label":
        labels[board][cell] = 0
    features, answers = ((x[..., None] == np.arange(1, 10)).astype("u1") for x in (inputs, labels))
    arrays = {"features": features, "labels": answers}
    if fault in damage.ODD_ARRAYS:
        arrays[draw(st.sampled_from(["features", "labels"]))] = damage.ODD_ARRAYS[fault]
    if fault == "one array":
        del arrays[draw(st.sampled_from(["features", "labels"]))]
    name = draw(st.sampled_from(["sudokus.npz", "sudokus"]))
    files: dict[str, Content] = {name: damage.npz(arrays)}
    if name == "sudokus":
        files = {f"{name}/{kind}.npy": damage.npy(x) for kind, x in arrays.items()}
    return Input(f"arrays: {fault}", "wonn_jax.main", _train(name), ("sudokus",), {}, files)


@st.composite
def no_arrays(draw: st.DrawFn) -> Input:
    """Training on something else than arrays."""
    name = draw(st.sampled_from(["sudokus.npz", "sudokus/features.npy"]))
    return Input(
        "arrays: another kind of file",
        "wonn_jax.main",
        _train(name.partition("/")[0]),
        ("sudokus",),
        {},
        {name: draw(damage.whole_or_gone()), "sudokus/labels.npy": damage.npy(np.zeros(3))},
    )


def _train(name: str) -> tuple[str, ...]:
    fields = {
        "data.path": f"{HERE}/{name}",
        "data.train_examples": 8,
        "data.test_examples": 4,
        "model.width": 8,
        "model.heads": 2,
        "model.steps": 2,
        "train.length": "1 steps",
        "train.batch_size": 4,
    }
    config = f"--config={ROOT / 'configs' / 'sudoku.py'}"
    flags = (f"--config.{field}={value}" for field, value in fields.items())
    return (config, f"--workdir={Path(HERE, 'new')}", *flags)


def inputs() -> st.SearchStrategy[Input]:
    return text_inputs() | no_puzzle("sudoku") | array_inputs() | no_arrays()
