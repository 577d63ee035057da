"""Sudoku: boards with 31 to 42 givens and one solution, as in the data set of SATNet.

SATNet's files are read as they are; other data sets are generated and stored by TFDS. In this
module a board is uint8 `[9, 9]` with digits 1 to 9, and 0 for a blank.
"""

import dataclasses
import functools
import os
import pickle
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds

from wonn_jax.common.checks import at_least
from wonn_jax.config import register
from wonn_jax.data import source
from wonn_jax.data.base import Augmentation, BoardData

# Givens are 31 + Binomial(11, 0.47): 31 to 42, with mean 36.2, as in SATNet's data set.
MIN_GIVENS, MAX_GIVENS, GIVENS_SHARE = 31, 42, 0.47

_CHUNK_BOARDS = 256  # boards generated together; the boards of a seed depend on it
_TRIALS = 1024  # puzzles, or search states, that the solver processes at a time

_ALL = np.uint16(2**9 - 1)
_GRID = np.arange(81).reshape(9, 9)
_BOXES = _GRID.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
# The cells of the 27 units (rows, columns, boxes), [27, 9]; the three units of a cell, [81, 3].
_UNITS = np.concatenate([_GRID, _GRID.T, _BOXES])
_UNITS_OF = np.stack([np.flatnonzero(np.any(cell == _UNITS, axis=1)) for cell in range(81)])


def solutions(inputs: np.ndarray, limit: int = 2) -> np.ndarray:
    """Number of solutions of each board, counted exactly up to `limit`.

    Depth-first search with propagation of naked and hidden singles: an undecided board branches
    at a cell with the fewest candidates until every branch is solved or contradictory.

    Args:
        inputs: digits, 0 for a blank, uint8 `[N, 9, 9]`.
        limit: a board with this many solutions is not searched further.

    Returns:
        int `[N]`, from 0 to `limit`.
    """
    found = np.zeros(len(inputs), int)
    owner = np.arange(len(inputs))
    states = _candidates(inputs)
    while len(owner):
        # Newest states first, as in a depth-first search: this keeps the stack short.
        states, top = states[:, :-_TRIALS], states[:, -_TRIALS:]
        owner, top_owner = owner[:-_TRIALS], owner[-_TRIALS:]
        top = _propagate(top)
        open_cells = (top & (top - np.uint16(1))) != 0
        solved = (top != 0).all(axis=0) & ~open_cells.any(axis=0)
        np.add.at(found, top_owner[solved], 1)
        branch = open_cells.any(axis=0) & (found[top_owner] < limit)
        top, top_owner, open_cells = top[:, branch], top_owner[branch], open_cells[:, branch]
        choices = np.where(open_cells, np.bitwise_count(top), 10)
        cell, column = np.argmin(choices, axis=0), np.arange(len(top_owner))
        digit = top[cell, column] & -top[cell, column]  # the lowest bit
        with_it, without_it = top.copy(), top
        with_it[cell, column] = digit
        without_it[cell, column] &= ~digit
        states = np.concatenate([states, without_it, with_it], axis=1)
        owner = np.concatenate([owner, top_owner, top_owner])
        keep = found[owner] < limit
        if not keep.all():
            states, owner = states[:, keep], owner[keep]
    return np.minimum(found, limit)


def _candidates(inputs: np.ndarray) -> np.ndarray:
    """Candidate digits as bits, uint16 `[81, N]`; boards are last, for NumPy's inner loops."""
    digits = inputs.reshape(-1, 81).T.astype(np.uint16)
    return np.where(digits > 0, np.uint16(1) << (np.maximum(digits, 1) - np.uint16(1)), _ALL)


def _propagate(states: np.ndarray) -> np.ndarray:
    """Candidates, uint16 `[81, N]`, after all singles are placed; all zero if contradictory."""
    states = states.copy()
    active = np.arange(states.shape[1])
    while len(active):
        before = states[:, active]
        # Naked singles: a decided digit leaves the other cells of its units.
        decided = np.where((before & (before - np.uint16(1))) == 0, before, np.uint16(0))
        taken, _ = _tally(decided)
        after = np.where(decided > 0, before, before & ~_over_units(taken))
        # Hidden singles: a digit with one place left in a unit goes there.
        placed, again = _tally(after)
        hidden = after & _over_units(placed & ~again)
        after = np.where(hidden > 0, hidden, after)
        # A digit without a place in some unit: every contradiction ends in this.
        after[:, (placed != _ALL).any(axis=0)] = 0
        changed = (after != before).any(axis=0)
        states[:, active] = after
        active = active[changed]
    return states


def _tally(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per unit, digits found in at least one and in at least two cells, uint16 `[27, N]`."""
    cells = states[_UNITS]
    once, twice = cells[:, 0].copy(), np.zeros_like(cells[:, 0])
    for position in range(1, 9):
        twice |= once & cells[:, position]
        once |= cells[:, position]
    return once, twice


def _over_units(digits: np.ndarray) -> np.ndarray:
    """Per cell, the union of the digits of its three units: `[27, N]` to `[81, N]`."""
    return digits[_UNITS_OF[:, 0]] | digits[_UNITS_OF[:, 1]] | digits[_UNITS_OF[:, 2]]


def repeated(board: np.ndarray) -> np.ndarray:
    """Cells whose digit is repeated in their row, column or box, bool `[9, 9]`; never blanks."""
    values = board.reshape(81)[_UNITS]
    again = (values[:, :, None] == values[:, None, :]).sum(-1) > 1
    cells = np.zeros(81, bool)
    np.logical_or.at(cells, _UNITS, again & (values > 0))
    return cells.reshape(9, 9)


def generate(
    count: int, seed: int, *, processes: int | None = None, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct random boards with exactly one solution.

    A complete board is filled by random choices, and the number of givens is 31 + Binomial(11,
    0.47). Uniformly random sets of that many cells are tried until the solver finds exactly one
    solution. Some of the boards cannot be solved by singles alone.

    Args:
        count: number of boards.
        seed: a non-negative integer; the first n boards of a seed do not depend on `count`.
        processes: see `source.collect`; does not change the result.
        progress: whether to show a progress bar.

    Returns:
        inputs and labels, digits, uint8 `[count, 9, 9]`.

    Raises:
        ValueError: if count < 1 or seed < 0.
    """
    if count < 1 or seed < 0:
        raise ValueError(
            f"{count} Sudoku boards with seed {seed} were asked for. Required: count >= 1 and "
            "seed >= 0. Raise the number of examples or the seed."
        )
    return source.collect(
        functools.partial(_draw, seed=seed),
        count,
        patience=4,
        hint="Lower the number of examples.",
        description="sudoku",
        processes=processes,
        progress=progress,
    )


def _draw(chunk: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Chunk `chunk` of the boards of `generate`, as inputs and labels."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, chunk))))
    labels = _complete(rng, _CHUNK_BOARDS)
    givens = MIN_GIVENS + rng.binomial(MAX_GIVENS - MIN_GIVENS, GIVENS_SHARE, len(labels))
    inputs = np.zeros_like(labels)
    missing = np.arange(len(labels))
    while len(missing):
        # The fewer boards are left, the more trials each of them gets at a time.
        trial = np.repeat(missing, max(1, _TRIALS // len(missing)))
        rank = np.argsort(rng.random((len(trial), 81)), axis=1)
        shown = (rank < givens[trial, None]).reshape(-1, 9, 9)
        puzzles = np.where(shown, labels[trial], np.uint8(0))
        unique = solutions(puzzles) == 1
        winner, first = np.unique(trial[unique], return_index=True)
        inputs[winner] = puzzles[unique][first]
        missing = np.setdiff1d(missing, winner)
    return inputs, labels


def _complete(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random complete boards, uint8 `[count, 9, 9]`.

    Repeatedly, a cell with the fewest candidates gets a random one of them, and singles are
    propagated; a contradictory board starts again. The distribution over complete boards is not
    uniform, but every board is possible.
    """
    states = np.full((81, count), _ALL)
    while True:
        states = _propagate(states)
        states[:, (states == 0).any(axis=0)] = _ALL
        choices = np.bitwise_count(states)
        todo = np.flatnonzero((choices > 1).any(axis=0))
        if not len(todo):
            break
        number = choices[:, todo]
        cell = np.argmin(np.where(number > 1, number, 10) + rng.random(number.shape), axis=0)
        digits = states[cell, todo, None] & (np.uint16(1) << np.arange(9, dtype=np.uint16))
        pick = np.argmax((digits > 0) * (1 - rng.random(digits.shape)), axis=1)
        states[cell, todo] = np.uint16(1) << pick.astype(np.uint16)
    return (np.bitwise_count(states - np.uint16(1)) + 1).T.reshape(-1, 9, 9).astype(np.uint8)


def validate(inputs: np.ndarray, labels: np.ndarray, where: str) -> None:
    """Raises a ValueError unless the labels are complete, correct and agree with the givens.

    Args:
        inputs: digits, 0 for a blank, uint8 `[N, 9, 9]`.
        labels: digits 1 to 9, uint8 `[N, 9, 9]`.
        where: file or function, for the error message.
    """
    for kind, boards in (("inputs", inputs), ("labels", labels)):
        if boards.shape != (len(inputs), 9, 9) or boards.dtype != np.uint8:
            raise ValueError(
                f"{where}: found {kind} {boards.dtype} {list(boards.shape)} beside {len(inputs)} "
                "inputs. Required: uint8 [N, 9, 9] for both, of the same boards. Pass digits with "
                ".astype(numpy.uint8)."
            )
        _check_cells(boards <= 9, where, f"{kind} with a digit above 9", "digits 0 to 9")
    _check_cells(labels > 0, where, "a label with a blank cell", "a digit in every cell")
    _check_units(inputs, where, "input")
    _check_units(labels, where, "label")
    _check_cells(
        (inputs == 0) | (inputs == labels),
        where,
        "a label that contradicts a given",
        "the digit of the input wherever it has one",
    )


def _check_cells(right: np.ndarray, where: str, found: str, required: str) -> None:
    """Raises a ValueError that names board, row and column of the first False, `[N, 9, 9]`."""
    if not right.all():
        board, row, column = np.argwhere(~right)[0]
        raise ValueError(
            f"{where}: board {board} has {found} in row {row}, column {column} (counted from 0). "
            f"Required: {required}. Look at inputs[{board}] and labels[{board}]; remove or "
            "repair the board."
        )


def _check_units(boards: np.ndarray, where: str, kind: str) -> None:
    """Raises a ValueError that names the first digit that is twice in a row, column or box."""
    states = np.where(boards.reshape(-1, 81).T > 0, _candidates(boards), np.uint16(0))
    _, twice = _tally(states)
    if twice.any():
        board, unit = np.argwhere(twice.T)[0]
        place = f"{('row', 'column', 'box')[unit // 9]} {unit % 9}"
        bits = int(twice[unit, board])
        digit = (bits & -bits).bit_length()
        raise ValueError(
            f"{where}: board {board} has the digit {digit} twice in {place} of the {kind} "
            "(counted from 0). Required: every digit at most once in a row, column and box. Look "
            f"at {kind}s[{board}]; remove or repair the board."
        )


def decode(inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Converts digits to the tokens and classes of the network.

    Args:
        inputs: digits, 0 for a blank, uint8 `[..., 9, 9]`.
        labels: digits 1 to 9, uint8 `[..., 9, 9]`.

    Returns:
        input: the digits as tokens, 0 for a blank; target: classes 0 to 8, the digit - 1;
        valid: bool, True everywhere.
    """
    return {
        "input": inputs,
        "target": labels - np.uint8(1),
        "valid": np.ones(labels.shape, bool),
    }


@dataclasses.dataclass(eq=False, kw_only=True)
class SudokuConfig(tfds.core.BuilderConfig):
    """Settings of a generated data set; its name, and so its folder, contains all of them."""

    name: str = ""
    train_examples: int = 9000
    test_examples: int = 1000
    seed: int = 0

    def __post_init__(self):
        self.name = f"train{self.train_examples}-test{self.test_examples}-seed{self.seed}"


class SudokuBuilder(source.BoardBuilder):
    """Generated boards as a TFDS data set."""

    name = "sudoku"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Random Sudoku boards with one solution; see wonn_jax.data.sudoku."

    def board_shape(self) -> tuple[int, int]:
        return 9, 9

    def generate_boards(self, count: int) -> source.Boards:
        return generate(count, self.builder_config.seed, progress=True)


@register("sudoku")
@dataclasses.dataclass(frozen=True)
class Sudokus(BoardData):
    """Sudoku boards, SATNet's arrays (`path`) or generated; `load` says more."""

    train_examples: int = 9000
    test_examples: int = 1000

    @property
    def shape(self) -> tuple[int, int]:
        return 9, 9

    def check(self) -> None:
        super().check()
        at_least(1, "data", self, "train_examples", "test_examples")

    def training_examples(self) -> int | None:
        return self.train_examples

    def load(self, split: str, augment: Augmentation) -> source.GridSource:
        return load(
            self.place,
            data_dir=self.folder,
            split=split,
            train_examples=self.train_examples,
            test_examples=self.test_examples,
            seed=self.seed,
        )


def load(
    path: str = "",
    *,
    data_dir: str | os.PathLike,
    split: str,
    train_examples: int = 9000,
    test_examples: int = 1000,
    seed: int = 0,
) -> source.GridSource:
    """Loads one split of Sudoku, SATNet's or generated.

    Args:
        path: SATNet's arrays, `features` and `labels`, one-hot `[N, 9, 9, 9]`: a folder with
            features.npy and labels.npy or features.pt and labels.pt, or an .npz file with both;
            empty to generate, once, into `data_dir`.
        data_dir: where TFDS keeps generated data sets. Not used with `path`.
        split: "train" (the first `train_examples` boards of `path`) or "test" (the next
            `test_examples`).
        train_examples: number of boards.
        test_examples: number of boards.
        seed: seed of the generator. Not used with `path`.

    Raises:
        FileNotFoundError: a file of `path` does not exist.
        ImportError: .pt files cannot be read because PyTorch is not installed.
        ValueError: the boards do not pass `validate`, or are too few.
    """
    source.check_request("sudoku", split, train_examples, test_examples)
    if path:
        inputs, labels = _read(path)
        if len(inputs) < train_examples + test_examples:
            raise ValueError(
                f"{path} has {len(inputs)} boards. Required: train_examples + test_examples = "
                f"{train_examples} + {test_examples}. Set them to at most {len(inputs)} together."
            )
        test = slice(train_examples, train_examples + test_examples)
        part = slice(train_examples) if split == "train" else test
        inputs, labels = inputs[part], labels[part]
    else:
        config = SudokuConfig(train_examples=train_examples, test_examples=test_examples, seed=seed)
        inputs, labels = source.prepared(SudokuBuilder, config, data_dir, split)
    decoded = decode(inputs, labels)
    return source.GridSource("sudoku", split, decoded["input"], decoded["target"], decoded["valid"])


def _read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Validated inputs and labels of SATNet's files, digits, uint8 `[N, 9, 9]`."""
    if path.endswith(".npz") and os.path.isfile(path):
        with np.load(path) as file:
            missing = {"features", "labels"} - set(file)
            if missing:
                raise ValueError(
                    f"{path} holds the arrays {sorted(file)}. Required: features and labels. "
                    "Write it with numpy.savez(path, features=..., labels=...)."
                )
            arrays = file["features"], file["labels"]
    elif os.path.isfile(os.path.join(path, "features.npy")):
        arrays = _read_pair(path, "npy", source.read_array)
    elif os.path.isfile(os.path.join(path, "features.pt")):
        arrays = _read_pair(path, "pt", _load_torch)
    else:
        raise FileNotFoundError(
            f"{path} is neither an .npz file nor a folder with features.npy or features.pt. "
            "Required: SATNet's features and labels in one of these forms. Use "
            "--config.data.path=FILE_OR_FOLDER, or leave it out to generate boards."
        )
    inputs = _digits(arrays[0], f"{path}, features", blanks=True)
    labels = _digits(arrays[1], f"{path}, labels", blanks=False)
    validate(inputs, labels, path)
    return inputs, labels


def _read_pair(
    path: str, ending: str, read: Callable[[str], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    files = [os.path.join(path, f"{kind}.{ending}") for kind in ("features", "labels")]
    if not os.path.isfile(files[1]):
        raise FileNotFoundError(
            f"{files[1]} is not there, though {files[0]} is. Required: both. Copy the labels of "
            "the same boards next to the features."
        )
    return read(files[0]), read(files[1])


def _load_torch(file: str) -> np.ndarray:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{file} is a PyTorch file and PyTorch is not installed. Required: PyTorch, or the "
            'same arrays as .npy files. Type: pip install "wonn-jax[torch]"'
        ) from error
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True)
        return tensor.numpy()
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        raise ValueError(
            f"{file} cannot be read: {error}. Required: one tensor, written with torch.save. Copy "
            "or write it again."
        ) from error


def _digits(one_hot: np.ndarray, where: str, *, blanks: bool) -> np.ndarray:
    """From one-hot `[N, 9, 9, 9]` (row, column, digit - 1) to digits, uint8 `[N, 9, 9]`."""
    if one_hot.ndim != 4 or one_hot.shape[1:] != (9, 9, 9):
        raise ValueError(
            f"{where}: found shape {list(one_hot.shape)}. Required: one-hot [N, 9, 9, 9] (row, "
            "column, digit). Encode digits with (digits[..., None] == numpy.arange(1, 10))."
        )
    ones = (one_hot == 1).sum(axis=-1)
    right = ((one_hot == 0) | (one_hot == 1)).all(axis=-1) & (ones <= 1)
    _check_cells(
        right if blanks else right & (ones == 1),
        where,
        "a cell that is not one-hot",
        "a single 1 among zeros" + (", or all zeros for a blank" if blanks else ""),
    )
    return np.where(ones == 1, np.argmax(one_hot, axis=-1) + 1, 0).astype(np.uint8)
