"""Sudoku: boards with 31 to 42 givens and one solution, as in the data set of SATNet.

Files in many forms are read (see `sudoku_formats`); other data sets are generated and stored by
TFDS. In this module a board is uint8 `[9, 9]` with digits 1 to 9, and 0 for a blank.
"""

import dataclasses
import functools
import os

import numpy as np
import tensorflow_datasets as tfds

from wonn_jax.config import register
from wonn_jax.data import source
from wonn_jax.data.base import Augmentation, BoardData
from wonn_jax.data.layouts import Part, parts_of
from wonn_jax.data.sudoku_formats import Collection, read_part

# Givens are 31 + Binomial(11, 0.47): 31 to 42, with mean 36.2, as in SATNet's data set.
MIN_GIVENS, MAX_GIVENS, GIVENS_SHARE = 31, 42, 0.47

GENERATED = {"train": 9000, "test": 1000}
"""Boards of a split that are generated if no number is given."""

_CHUNK_BOARDS = 256  # boards generated together; the boards of a seed depend on it
_CHECKED = 2**15  # boards checked together
_TRIALS = 1024  # puzzles, or search states, that the solver processes at a time

_ALL = np.uint16(2**9 - 1)
_GRID = np.arange(81).reshape(9, 9)
_BOXES = _GRID.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
# The cells of the 27 units (rows, columns, boxes), [27, 9]; the three units of a cell, [81, 3].
_UNITS = np.concatenate([_GRID, _GRID.T, _BOXES])
_UNITS_OF = np.stack([np.flatnonzero(np.any(cell == _UNITS, axis=1)) for cell in range(81)])


def solutions(inputs: np.ndarray, limit: int = 2) -> np.ndarray:
    """Number of solutions of each board, counted exactly up to `limit`; see `solve`.

    Args:
        inputs: digits, 0 for a blank, uint8 `[N, 9, 9]`.
        limit: a board with this many solutions is not searched further.

    Returns:
        int `[N]`, from 0 to `limit`.
    """
    return solve(inputs, limit)[0]


def solve(inputs: np.ndarray, limit: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Number of solutions of each board, counted exactly up to `limit`, and one of them.

    Depth-first search with propagation of naked and hidden singles: an undecided board branches
    at a cell with the fewest candidates until every branch is solved or contradictory.

    Args:
        inputs: digits, 0 for a blank, uint8 `[N, 9, 9]`.
        limit: a board with this many solutions is not searched further.

    Returns:
        int `[N]`, from 0 to `limit`; and digits, uint8 `[N, 9, 9]`, all 0 without a solution.
    """
    found = np.zeros(len(inputs), int)
    boards = np.zeros((len(inputs), 81), np.uint8)
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
        boards[top_owner[solved]] = _decided(top[:, solved])
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
    return np.minimum(found, limit), boards.reshape(-1, 9, 9)


def _decided(states: np.ndarray) -> np.ndarray:
    """The digits of candidates `[81, N]` that are one each, uint8 `[N, 81]`."""
    return (np.bitwise_count(states - np.uint16(1)) + 1).T.astype(np.uint8)


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
    return _decided(states).reshape(-1, 9, 9)


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
    check(Collection(where, inputs, labels))


def check(found: Collection) -> None:
    """Raises a ValueError unless givens are consistent and the solutions of the file right.

    A Sudoku of a text may have no solution beside it; one that is there must be complete, correct
    and agree with the givens.
    """
    for start in range(0, len(found), _CHECKED):
        _check(found[start : start + _CHECKED])


def _check(found: Collection) -> None:
    puzzle, label = ("input", "label") if found.lines is None else ("puzzle", "solution")
    found.check_cells(found.inputs <= 9, f"{puzzle}s with a digit above 9", "digits 0 to 9")
    _check_units(found, found.inputs, puzzle)
    if found.labels is None:
        return
    absent = ~found.solved[:, None, None]
    right = (found.labels <= 9), absent | (found.labels > 0)
    found.check_cells(right[0], f"{label}s with a digit above 9", "digits 0 to 9")
    found.check_cells(right[1], f"a {label} with a blank cell", "a digit in every cell")
    _check_units(found, found.labels, label)
    found.check_cells(
        absent | (found.inputs == 0) | (found.inputs == found.labels),
        f"a {label} that contradicts a given",
        f"the digit of the {puzzle} wherever it has one",
    )


def contradictory(inputs: np.ndarray) -> np.ndarray:
    """Boards with a digit twice in a row, column or box, uint8 `[N, 9, 9]` to bool `[N]`."""
    parts = [_twice(inputs[k : k + _CHECKED]) for k in range(0, len(inputs), _CHECKED)]
    return np.concatenate([np.zeros(0, bool), *(twice.any(axis=0) for twice in parts)])


def _twice(boards: np.ndarray) -> np.ndarray:
    """Digits, as bits, that are at least twice in a unit, uint16 `[27, N]`."""
    return _tally(np.where(boards.reshape(-1, 81).T > 0, _candidates(boards), np.uint16(0)))[1]


def _check_units(found: Collection, boards: np.ndarray, kind: str) -> None:
    """Raises a ValueError that names the first digit that is twice in a row, column or box."""
    twice = _twice(boards)
    if twice.any():
        board, unit = np.argwhere(twice.T)[0]
        place = f"{('row', 'column', 'box')[unit // 9]} {unit % 9 + found.base}"
        bits = int(twice[unit, board])
        digit = (bits & -bits).bit_length()
        raise ValueError(
            f"{found.name(board)} has the digit {digit} twice in {place} of the {kind} (counted "
            f"from {found.base}). Required: every digit at most once in a row, column and box. "
            f"{found.advice(board)}"
        )


def completed(found: Collection) -> np.ndarray:
    """The solutions of checked Sudokus, uint8 `[N, 9, 9]`: the file's, or else the only one.

    Raises:
        ValueError: a Sudoku without a solution beside it has none, or several.
    """
    missing = np.flatnonzero(~found.solved)
    if not len(missing):
        assert found.labels is not None
        return found.labels
    labels = np.zeros_like(found.inputs) if found.labels is None else found.labels.copy()
    for start in range(0, len(missing), _CHECKED):
        chunk = missing[start : start + _CHECKED]
        number, labels[chunk] = solve(found.inputs[chunk])
        if (number != 1).any():
            first = np.argmax(number != 1)
            many = "several solutions, and the file gives none" if number[first] else "no solution"
            raise ValueError(
                f"{found.name(chunk[first])} has {many}. Required: one solution, or the right one "
                f"beside the puzzle. {found.advice(chunk[first])}"
            )
    return labels


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
    """Sudoku boards, read from `path` or generated; `load` says more."""

    train_examples: int = 9000  # generated, or the first of `path`; 0: all of them
    test_examples: int = 1000

    @property
    def shape(self) -> tuple[int, int]:
        return 9, 9

    def training_examples(self) -> int | None:
        return None if self.path else self.train_examples or GENERATED["train"]

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
    """Loads one split of Sudoku, read or generated.

    `path` is a file, a folder or a zip archive in a form of `sudoku_formats`: SATNet's arrays
    (`features` and `labels`, .npy, .npz or .pt), HRM's layout
    (`{train,test}/all__{inputs,labels}.npy`), csv files with names of columns (`quizzes` and
    `solutions`, `puzzle` and `solution`, `question` and `answer`) or without, and others. Files or
    folders whose names begin with `train` and `test` are these splits, of which at most
    `train_examples` and `test_examples` boards are taken, the first ones. Of other files, the
    first `train_examples` are for training and the next `test_examples` for the test. Where a file
    gives no solution, the only one is computed.

    Args:
        path: of the boards; empty to generate them, once, into `data_dir`.
        data_dir: where TFDS keeps generated data sets. Not used with `path`.
        split: "train" or "test".
        train_examples: number of boards; 0 for all of the split; of a file without splits, for all
            that the test leaves; for 9000 that are generated.
        test_examples: likewise; of a file without splits, 0 is a tenth, at most 1000.
        seed: seed of the generator. Not used with `path`.

    Raises:
        FileNotFoundError: a file of `path` does not exist.
        ImportError: .pt files cannot be read because PyTorch is not installed.
        ValueError: the boards do not pass `check`, are too few, or have no or several solutions
            and the file gives none.
    """
    source.check_request("sudoku", split, train_examples or 1, test_examples or 1)
    if path:
        inputs, labels, origin = _read(path, split, train_examples, test_examples)
    else:
        config = SudokuConfig(
            train_examples=train_examples or GENERATED["train"],
            test_examples=test_examples or GENERATED["test"],
            seed=seed,
        )
        inputs, labels = source.prepared(SudokuBuilder, config, data_dir, split)
        origin = ""
    decoded = decode(inputs, labels)
    arrays = decoded["input"], decoded["target"], decoded["valid"]
    return source.GridSource("sudoku", split, *arrays, origin=origin)


def _read(
    path: str, split: str, train_examples: int, test_examples: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Inputs, labels, digits, uint8 `[N, 9, 9]`, and where they come from; see `load`."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{path} is neither an .npz file nor a folder nor any other file: it does not exist. "
            "Required: Sudokus with their solutions. Use --config.data.path=FILE_OR_FOLDER, or "
            "leave it out to generate boards."
        )
    parts, separate = parts_of(path, split)
    found = _collections(tuple(parts), tuple(part.changed for part in parts))
    total = sum(map(len, found))
    start, stop = 0, (train_examples if split == "train" else test_examples) or total
    if not separate:
        test = test_examples or max(1, min(GENERATED["test"], total // 10))
        train = train_examples or total - test
        if train < 1 or train + test > total:
            raise ValueError(
                f"{path} has {total} boards. Required: train_examples + test_examples = "
                f"{train_examples} + {test_examples}. Set them to at most {total} together, at "
                "least one of each; or to 0, for a tenth of the boards in the test: "
                "--config.data.train_examples=0 --config.data.test_examples=0."
            )
        start, stop = (0, train) if split == "train" else (train, train + test)
    inputs, labels, origins = [], [], []
    for collection in found:
        part = collection[max(start, 0) : max(stop, 0)]
        start, stop = start - len(collection), stop - len(collection)
        if len(part):
            check(part)
            inputs.append(part.inputs)
            labels.append(completed(part))
            computed = int((~part.solved).sum())
            origins.append(_origin(part, len(collection), computed))
    if len(inputs) == 1:
        return inputs[0], labels[0], origins[0]
    return np.concatenate(inputs), np.concatenate(labels), "; ".join(origins)


def _origin(part: Collection, total: int, computed: int) -> str:
    """Where boards come from, for people."""
    notes = [part.how] if part.how else []
    notes += [f"{len(part):,} of {total:,} boards"] if len(part) < total else []
    notes += [f"{computed:,} solutions computed"] if computed else []
    return part.where + (f" ({'; '.join(notes)})" if notes else "")


@functools.lru_cache(maxsize=1)
def _collections(
    parts: tuple[Part, ...], changed: tuple[tuple[float, ...], ...]
) -> list[Collection]:
    """What files hold; the second split of the same files does not read them again.

    Args:
        parts: the files.
        changed: when, so that files that have changed since are read again.
    """
    return [read_part(part) for part in parts]
