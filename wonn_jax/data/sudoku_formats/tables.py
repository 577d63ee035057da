"""Sudokus in the columns of a table: csv, or 81 characters in each line; a million in seconds."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from wonn_jax.data.documents import Document, encoding_of
from wonn_jax.data.sudoku_formats.characters import (
    BLANKS,
    CELLS,
    SPREADSHEET,
    plain,
    spreadsheet_number,
    wrong_character,
)
from wonn_jax.data.sudoku_formats.collection import Collection
from wonn_jax.data.sudoku_formats.lines import ANSWER
from wonn_jax.data.sudoku_formats.trees import PUZZLE

_ROWS = 2**16  # that are converted together
_NOTE = re.compile(r"#|sep=.$", re.IGNORECASE)  # a comment, or the first line of Excel
_SUDOKU = re.compile(rf"[0-9{re.escape(BLANKS)} -]{{81}}")
_WRONG = re.compile(rf"[^0-9{re.escape(BLANKS)} -]")


class _Layout(NamedTuple):
    """Where Sudokus stand in a table.

    delimiter: between fields; '' for any number of spaces.
    header: names of the columns, if the table has them.
    puzzle, solution: number of their columns; −1 for none.
    before: lines before the first row.
    """

    delimiter: str
    header: list[str]
    puzzle: int
    solution: int
    before: int


def read_table(document: Document) -> Collection | None:
    """The Sudokus of a table; None if the file is none, or not in every line.

    A table has a line of names, or Sudokus of 81 characters from the first line on.

    Raises:
      OSError: the file cannot be read.
      ValueError: a table with names has something else where a Sudoku should be.
    """
    head = document.head()
    encoding = encoding_of(head, document.where)
    layout = _layout(head.decode(encoding, errors="ignore").splitlines()[:200])
    if layout is None:
        return None
    try:
        with document.open() as stream:
            lines = io.TextIOWrapper(stream, encoding, newline="")
            parts = list(_convert(lines, layout, document.where))
            lines.detach()
    except (_NotInEveryLine, UnicodeDecodeError, csv.Error):
        return None
    inputs, labels, numbers = (np.concatenate(x) for x in zip(*parts, strict=True))
    how = "" if not layout.header else "column" + "s" * (layout.solution >= 0)
    names = [layout.header[k] for k in (layout.puzzle, layout.solution) if k >= 0 and how]
    return Collection(
        document.where, inputs, labels, f"{how} {' and '.join(names)}".strip(), numbers
    )


class _NotInEveryLine(Exception):
    """A line without names of columns holds something else than the first one."""


def _layout(lines: list[str]) -> _Layout | None:
    """What the first lines of a file say about its columns; None if it is no table."""
    content = [(k, x) for k, x in enumerate(lines) if x.strip() and not _NOTE.match(x)]
    for delimiter in (",", ";", "\t", "|", "") if content else ():
        first, *others = [_fields(line, delimiter) for _, line in content]
        header = [name.strip() for name in first]
        if _sudokus(first):
            return _columns(delimiter, [], [first], content[0][0])
        rows = [row for row in others if len(row) == len(header) and _sudokus(row)]
        if rows and any(PUZZLE.search(x) or ANSWER.search(x) for x in header):
            return _columns(delimiter, header, rows, content[1][0])
    return None


def _columns(
    delimiter: str, header: list[str], rows: list[list[str]], before: int
) -> _Layout | None:
    """The columns of puzzles and solutions; None if a row may hold several puzzles.

    Args:
      delimiter, header, before: as in `_Layout`.
      rows: some, with Sudokus.
    """
    columns = sorted({k for row in rows for k in _sudokus(row)})
    if header:
        answers = [k for k in columns if ANSWER.search(header[k])]
        puzzles = [k for k in columns if PUZZLE.search(header[k]) and k not in answers]
        puzzles = puzzles or [k for k in columns if k not in answers]
        if not puzzles:
            return None
        return _Layout(delimiter, header, puzzles[0], (answers or [-1])[0], before)
    (fields,) = rows
    blank = [k for k in columns if not _complete(fields[k])]
    full = [k for k in columns if _complete(fields[k])]
    if len(columns) > 2 or len(blank) > 1 or _has_cells(fields, columns):
        return None
    puzzle, solution = [*blank, *full, -1][:2]
    return _Layout(delimiter, header, puzzle, solution, before)


def _fields(line: str, delimiter: str) -> list[str]:
    if not delimiter:
        return line.split()
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])


def _sudokus(fields: list[str]) -> list[int]:
    """Numbers of the fields that are Sudokus."""
    whole = [x if len(x) == 81 else x.strip() for x in fields]
    return [k for k, x in enumerate(whole) if _SUDOKU.fullmatch(x) and set(x) - set("-~ ")]


def _has_cells(fields: list[str], columns: Sequence[int]) -> bool:
    """Whether fields other than those of `columns` may be cells of a Sudoku."""
    others = [x for k, x in enumerate(fields) if k not in columns]
    return any(len(x) > 8 and not _WRONG.search(x) for x in others)


def _complete(field: str) -> bool:
    return all(c in "123456789" for c in field.strip())


def _convert(
    lines: io.TextIOWrapper, layout: _Layout, where: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Puzzles, solutions and line numbers, many rows at a time."""
    for _ in range(layout.before):
        next(lines)
    rows: Iterator[list[str]]
    uncommented = (x if "#" not in x else x.partition("#")[0] for x in lines)
    if layout.delimiter:
        source = lines if layout.header else uncommented
        rows = csv.reader(source, delimiter=layout.delimiter)
    else:
        rows = (line.split() for line in uncommented)
    first = layout.before + 1
    while block := list(itertools.islice(rows, _ROWS)):
        numbers = np.arange(first, first + len(block), dtype=np.int32)
        first += len(block)
        full = [any(row) for row in block]
        if not all(full):
            block, numbers = list(itertools.compress(block, full)), numbers[full]
        usual = (layout.puzzle, layout.solution)
        if not layout.header and any(len(x) > 1 and _has_cells(x, usual) for x in block):
            raise _NotInEveryLine
        if block:
            puzzles = _digits(block, layout.puzzle, layout, numbers, where)
            solutions = (
                _digits(block, layout.solution, layout, numbers, where)
                if layout.solution >= 0
                else np.zeros_like(puzzles)
            )
            yield puzzles, solutions, numbers


def _digits(
    rows: list[list[str]], column: int, layout: _Layout, numbers: np.ndarray, where: str
) -> np.ndarray:
    """The Sudokus in a column, digits, uint8 `[n, 9, 9]`; an empty solution is all blank."""
    empty = "." * 81 if column == layout.solution else ""
    texts = [row[column] if len(row) > column else "" for row in rows]
    if set(map(len, texts)) != {81}:
        texts = [x if len(x) == 81 else x.strip() or empty for x in texts]
    texts = list(map(plain, texts))
    data = "".join(texts).encode()
    if set(map(len, texts)) == {81} and len(data) == 81 * len(texts):
        digits = CELLS[np.frombuffer(data, np.uint8)].reshape(-1, 9, 9)
        if digits.max() < 10:
            return digits
    if not layout.header:
        raise _NotInEveryLine
    bad = next(k for k, x in enumerate(texts) if not _SUDOKU.fullmatch(x))
    place, text = f"{where}, line {numbers[bad]}, column {layout.header[column]!r}", texts[bad]
    if SPREADSHEET.fullmatch(text):
        raise ValueError(place + spreadsheet_number(text))
    if len(text) == 81 and (wrong := _WRONG.search(text)):
        raise ValueError(place + wrong_character(wrong.start() + 1, wrong[0], "character"))
    raise ValueError(
        f"{place}: found {len(text)} cells. Required: 81, a character each, with . or 0 for "
        "blanks. Correct or remove the line."
    )
