"""Sudokus in arrays of NumPy and PyTorch: digits, HRM's tokens, one-hot, strings."""

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from wonn_jax.data import source
from wonn_jax.data.documents import Document, check_fetched, damage, is_zip
from wonn_jax.data.sudoku_formats.characters import BLANKS, CELLS, plain
from wonn_jax.data.sudoku_formats.collection import Collection
from wonn_jax.data.sudoku_formats.lines import ANSWER
from wonn_jax.data.sudoku_formats.trees import PUZZLE

_INPUTS = re.compile(r"(?:all__)?(?:features?|inputs?|x|arr_0)", re.IGNORECASE)
_LABELS = re.compile(r"(?:all__)?(?:labels?|targets?|y|arr_1)", re.IGNORECASE)
_REQUIRED = f"a digit, or one of {' '.join(BLANKS)} - if blank"
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def is_array(document: Document) -> bool:
    """Whether a file is one of NumPy or PyTorch."""
    head = document.head()
    return _is_torch(document, head) or head.startswith((b"\x93NUMPY", *_PICKLE)) or is_zip(head)


def read_arrays(document: Document, answers: Document | None = None) -> Collection:
    """The Sudokus of an .npy, .npz or .pt file, or of two files that belong together.

    Args:
      document: the file of the puzzles; an .npz file may have the solutions as well.
      answers: the file of the solutions.

    Raises:
      OSError: a file cannot be read.
      ImportError: the file is one of PyTorch, which is not installed.
      ValueError: there are no such arrays in it.
    """
    found = _load(document)
    if answers is not None:
        where, _, name = document.where.rpartition("/")
        names = name, answers.where.rpartition("/")[2]
        names = names[0].partition(".")[0], names[1].partition(".")[0]
        pair = found, _load(answers)
    else:
        where = document.where
        names = _names(found, where) if isinstance(found, np.lib.npyio.NpzFile) else ("", "")
        pair = (found, None)
        if names[0]:
            arrays = [source.read_member(found, x, where) if x else None for x in names]
            pair = arrays[0], arrays[1]
    places = [f"{where}, {name}" if name else where for name in names]
    shifted = any(_is_shifted(x, places[0]) for x in pair if x is not None)
    inputs = _digits(pair[0], places[0], shifted, blanks=True)
    labels = None if pair[1] is None else _digits(pair[1], places[1], shifted, blanks=False)
    if labels is not None and len(labels) != len(inputs):
        raise ValueError(
            f"{where}: {len(inputs)} boards in {names[0]}, {len(labels)} in {names[1]}. Required: "
            "the solutions of the same boards, in the same order."
        )
    how = " and ".join(x for x in names if x)
    return Collection(where, inputs, labels, f"arrays {how}" if how else "")


def _load(document: Document) -> Any:
    """An array, or an open .npz file."""
    head, place = document.head(), document.place
    check_fetched(head, document.where)
    if _is_torch(document, head):
        return _load_torch(document)
    if head.startswith(_PICKLE):
        raise ValueError(
            f"{document.where} is a pickle, which can run any code. Required: arrays. Write them "
            "with numpy.savez(FILE, quizzes=..., solutions=...)."
        )
    plain = isinstance(place, Path) and (head[:6] == b"\x93NUMPY" or is_zip(head) or not head)
    return source.read_arrays(str(place) if plain else io.BytesIO(document.read()), document.where)


def _is_torch(document: Document, head: bytes) -> bool:
    page = head.lstrip().startswith(b"<")  # that a server has sent in its place
    named = document.where.endswith((".pt", ".pth")) and not page
    return named or (is_zip(head) and b"/data.pkl" in head)


def _load_torch(document: Document) -> np.ndarray:
    file = document.where
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{file} is a PyTorch file and PyTorch is not installed. Required: PyTorch, or the "
            "same arrays as .npy files, written where PyTorch is with numpy.save(FILE, "
            'torch.load(FILE).numpy()). Type: pip install "wonn-jax[torch]"'
        ) from error
    place = str(document.place) if isinstance(document.place, Path) else io.BytesIO(document.read())
    with damage(file):  # PyTorch does not compare checksums
        if is_zip(document.head()) and (wrong := zipfile.ZipFile(place).testzip()):
            raise zipfile.BadZipFile(f"the checksum of {wrong} differs")
    try:
        content = torch.load(place, map_location="cpu", weights_only=True)
        if hasattr(content, "numpy"):
            return content.numpy()
        reason = f"it holds a {type(content).__name__}"
    except pickle.UnpicklingError:
        reason = "it is damaged, or holds more than a tensor"
    except Exception as error:  # a damaged file raises almost anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    raise ValueError(
        f"{file} cannot be read: {reason}. Required: one tensor of integers or floats. Write it "
        "again with torch.save(tensor, FILE), or as .npy with numpy.save(FILE, tensor.numpy())."
    )


def _names(file: Any, where: str) -> tuple[str, str]:
    """Names of the arrays of puzzles and of solutions in an .npz file; '' for no solutions."""
    names = sorted(file)
    labels = [x for x in names if ANSWER.search(x) or _LABELS.fullmatch(x)]
    boards = [x for x in names if PUZZLE.search(x) or _INPUTS.fullmatch(x)]
    boards = [x for x in boards if x not in labels]
    alone = names == ["arr_0"] or any(map(PUZZLE.search, boards))  # without solutions
    if len(boards) != 1 or len(labels) > 1 or not (labels or alone):
        raise ValueError(
            f"{where} holds the arrays {', '.join(names) or 'none'}. Required: quizzes and "
            "solutions, features and labels, or such a pair. Write it with numpy.savez(FILE, "
            "quizzes=..., solutions=...)."
        )
    return boards[0], labels[0] if labels else ""


def _is_shifted(array: np.ndarray, where: str) -> bool:
    """Whether cells are HRM's tokens: 1 for a blank, a digit plus 1."""
    if array.dtype.kind not in "iuf" or array.ndim > 3:
        return False
    return "all__" in where or (array.size > 0 and array.max() == 10)


def _digits(array: np.ndarray, where: str, shifted: bool, *, blanks: bool) -> np.ndarray:
    """Digits, 0 for a blank, uint8 `[N, 9, 9]`, from any of the forms in the message below."""
    shape = list(array.shape)
    if not array.size:
        pass
    elif array.dtype.kind in "SU":
        boards = _from_strings(array, where)
        if boards is not None:
            return boards
    elif array.dtype.kind in "biuf":
        if array.shape in ((9, 9), (81,), (81, 9), (81, 10), (9, 9, 10)) or _is_one_hot(array):
            array = array[None]
        if array.ndim > 2 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.ndim > 1 and array[0].size == 81:
            return _from_numbers(array.reshape(-1, 9, 9), where, shifted, blanks)
        for classes in (9, 10):
            if array.ndim > 1 and array[0].size == 81 * classes and array.shape[-1] % classes == 0:
                return _from_one_hot(array.reshape(-1, 9, 9, classes), where, blanks)
    raise ValueError(
        f"{where}: found shape {shape} of {array.dtype}. Required: one-hot [N, 9, 9, 9] (row, "
        "column, digit), digits [N, 9, 9] or [N, 81] with 0 for a blank, or strings of 81. "
        f"{_conversion(array)}"
    )


def _conversion(array: np.ndarray) -> str:
    """What to type to make one of these forms of another array."""
    shape = array.shape
    if array.dtype.kind in "SU":
        lengths = sorted({*map(len, array.flat)})
        if lengths and lengths != [81]:
            sizes = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else lengths[0]
            return f"Complete the strings, which have {sizes} characters."
    if 0 in shape:
        return "Write the file again, with boards."
    if len(shape) == 4 and shape[1:] == (10, 9, 9):
        return "Put the digits last, with array.transpose(0, 2, 3, 1)."
    if len(shape) > 1 and 2 in shape[:2]:  # perhaps puzzles and solutions
        pair = ("array[:, 0]", "array[:, 1]") if shape[1] == 2 else ("array[0]", "array[1]")
        return (
            "Puzzles and solutions go into arrays of their own: numpy.savez(FILE, "
            f"quizzes={pair[0]}, solutions={pair[1]})."
        )
    return (
        "Reshape it, or make it of text with numpy.array([[int(c) for c in row] for row in text])."
    )


def _is_one_hot(array: np.ndarray) -> bool:
    """Whether an array is a single Sudoku, one-hot, and not nine of them."""
    return array.shape == (9, 9, 9) and array.max() == 1 and bool((array.sum(-1) <= 1).all())


def _from_strings(array: np.ndarray, where: str) -> np.ndarray | None:
    """From strings of 81, 9 or one character; None if they are not."""
    if array.dtype.kind == "U":
        array = np.array(list(map(plain, array.flat))).reshape(array.shape)
        _check_ascii(array, where)
    data = np.atleast_1d(np.ascontiguousarray(array.astype("S")))
    single = data.size * data.itemsize == 81
    if not single and data.size * data.itemsize != 81 * len(data):
        return None
    characters = data.view(np.uint8).reshape(-1, 9, 9)
    boards = CELLS[characters]
    right = boards < 10
    wrong = "" if right.all() else chr(characters[~right][0])
    found = "no character" if wrong == "\0" else f"the character {wrong!r}"
    Collection(where, boards).check_cells(right, found, _REQUIRED)
    return boards


def _check_ascii(array: np.ndarray, where: str) -> None:
    for number, text in enumerate(array.flat):
        if not text.isascii():
            wrong = next(c for c in text if not c.isascii())
            raise ValueError(
                f"{where}: string {number} (counted from 0) has the character {wrong!r}. Required: "
                f"{_REQUIRED}. Correct or remove it."
            )


def _from_numbers(boards: np.ndarray, where: str, shifted: bool, blanks: bool) -> np.ndarray:
    """From digits `[N, 9, 9]`, where 0, −1 or NaN is a blank, or from HRM's tokens."""
    if boards.dtype.kind == "f" and np.nanmax(boards) <= 1 and (boards % 1 != 0).any():
        raise ValueError(
            f"{where}: found digits scaled to {np.nanmin(boards):.3g} to {np.nanmax(boards):.3g}. "
            "Required: digits, 0 for a blank. Scale them back: (9 * array).round() if a blank is "
            "0, (9 * array + 4.5).round() if it is -0.5."
        )
    if not blanks and boards.min() == 0 and boards.max() == 8:
        raise ValueError(
            f"{where}: found solutions of the numbers 0 to 8. Required: digits 1 to 9. Add 1 to "
            "them."
        )
    least = int(shifted)
    blank = np.zeros_like(boards, bool) if shifted else (boards == -1) | (boards != boards)
    right = blank | ((boards >= least) & (boards <= 9 + least) & (boards % 1 == 0))
    Collection(where, boards).check_cells(
        right,
        "" if right.all() else f"the value {boards[~right][0]}",
        "1 for a blank, or a digit plus 1 (HRM's tokens)" if shifted else "a digit, 0 for a blank",
    )
    return np.where(blank, least, boards).astype(np.uint8) - np.uint8(least)


def _from_one_hot(boards: np.ndarray, where: str, blanks: bool) -> np.ndarray:
    """From one-hot `[N, 9, 9, 9]`, all zeros for a blank, or `[N, 9, 9, 10]`, whose first is it."""
    if _is_transposed(boards):
        raise ValueError(
            f"{where}: found one-hot [N, 9, 9, 9] whose second axis is the digit. Required: (row, "
            "column, digit). Put the digits last, with array.transpose(0, 2, 3, 1)."
        )
    ones = (boards == 1).sum(axis=-1)
    right = ((boards == 0) | (boards == 1)).all(axis=-1) & (ones <= 1)
    ten = boards.shape[-1] == 10
    Collection(where, boards).check_cells(
        right if blanks and not ten else right & (ones == 1),
        "a cell that is not one-hot",
        "a single 1 among zeros" + (", or all zeros for a blank" if blanks and not ten else ""),
    )
    digits = np.argmax(boards, axis=-1) + (0 if ten else ones)
    return digits.astype(np.uint8)


def _is_transposed(boards: np.ndarray) -> bool:
    """Whether boards are Sudokus only if the digit is the second axis; the first ones tell."""
    first = boards[:256]
    if first.shape[1:] != (9, 9, 9):
        return False
    return not _has_boxes(first) and _has_boxes(first.transpose(0, 2, 3, 1))


def _has_boxes(boards: np.ndarray) -> bool:
    """Whether every digit is at most once in each box."""
    return bool((boards.reshape(-1, 3, 3, 3, 3, 9).sum(axis=(2, 4)) <= 1).all())
