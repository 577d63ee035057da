"""Sudokus in texts: grids of nine lines, or 81 characters, whatever stands around them.

People draw frames in many ways and write blanks as dots, zeros, stars, dashes or spaces, with or
without separators, labels, titles, comments, pencil marks, colours of a terminal, emoji. A text is
read line by line: a line is a row of nine cells, a whole Sudoku, a part of a frame, or a title.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from wonn_jax.data.sudoku_formats.characters import (
    BLANKS,
    SPREADSHEET,
    plain,
    spreadsheet_number,
    wrong_character,
)

Cells = list[int]
"""The 81 cells of a Sudoku, row by row, 0 for a blank."""

_SIZES = (9, 10, 18, 81, 82, 162, 163)  # a row, also with a label; two rows; a Sudoku; two
_CELL = re.compile(r"[0-9]?|[0-9]\.0*|[._*xX?~-]|u?[1-9]{1,9}")
_NULL = re.compile(r"\b(?:null|none|nil|nan|n/a|na|undefined|empty)\b", re.IGNORECASE)
_SEPARATORS = r"\s|,;:!\"'`\[\](){}<>/\\+="
_RUN = re.compile(r"(?<![\w.*?~-])[\d._*xX?~-]{81}(?![\w.*?~-])")
_LONG = re.compile(r"(?<![\w.*?~-])[\d._*xX?~-]{27,}(?![\w.*?~-])")
_UNITS = [
    {("row", k // 9, 0), ("column", k % 9, 0), ("box", k // 27, k % 9 // 3)} for k in range(81)
]
"""Row, column and box of each cell."""

_WORD = re.compile(rf"[^{_SEPARATORS}]{{{27},}}")
ANSWER = re.compile(
    r"(?<![a-zA-Z])(?:solutions?|solved|answers?|outputs?|expected|lösung(?:en)?)(?![a-zA-Z])",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A Sudoku in a text.

    line: where it begins, counted from 1; 0 if that is not known.
    puzzle: its cells.
    solution: those of the solution that the text gives for it, if it gives one.
    """

    line: int
    puzzle: Cells
    solution: Cells | None = None


class _Damaged(ValueError):
    """What is wrong whatever the meaning of the other lines."""


def read_lines(text: str) -> list[Found]:
    """The Sudokus in a text.

    A title such as 'Solution' says that the next Sudoku is the solution of one before. Of cells
    with pencil marks, those with one mark are digits, the others blank.

    Args:
      text: any of the notations above.

    Raises:
      ValueError: no Sudoku, or not only whole ones; the message names the line, and goes on after
        the name of the file.
    """
    lines = _plain_lines(text)
    # What a dash is shows only from all lines together: a frame, or a blank cell.
    ways: list[Callable[[], list[Found]]] = [
        lambda: _assemble(_parse(lines, dashes=False)),
        lambda: _assemble(_parse(lines, dashes=True)),
        lambda: _assemble(_parse(lines, dashes=True, bars=True), bars=True),
        lambda: _read_stream(lines),
        lambda: _read_spaces(lines),
    ]
    errors = []
    for read in ways:
        try:
            return read()
        except _Damaged:
            raise
        except ValueError as error:
            errors.append(error)
    dashed = any(re.search(r"\d-|-\d", line) for _, line in lines)
    raise errors[1 if dashed else 0]


# --- Lines ----------------------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _plain_lines(text: str) -> list[tuple[int, str]]:
    """The numbered lines of a text in plain characters, without comments.

    Of a text with a section [Puzzle], such as SadMan's, that section alone.
    """
    lines = plain(_ANSI.sub("", text)).splitlines()
    name = re.compile(r"\s*\[\s*([A-Za-z]+)\s*\]\s*")
    sections = any((m := name.fullmatch(line)) and m[1].lower() == "puzzle" for line in lines)
    inside, found = not sections, []
    for number, line in enumerate(lines, 1):
        if sections and (title := name.fullmatch(line)):
            inside = title[1].lower() == "puzzle"
            line = title[1]
        if inside:
            found.append((number, line.partition("#")[0].rstrip(" ")))
    return found


class _Line(NamedTuple):
    """What a line, or a part of one, is: 'title', 'frame', or 'cells', with what stands in them."""

    number: int
    kind: str
    text: str = ""
    cells: tuple[str, ...] = ()


def _parse(lines: Iterable[tuple[int, str]], *, dashes: bool, bars: bool = False) -> list[_Line]:
    """The meaning of lines.

    Args:
      lines: from `_plain_lines`.
      dashes: whether '-' is a blank cell.
      bars: whether nine of them alone are a frame nevertheless.
    """
    found: list[_Line] = []
    for number, line in lines:
        found += _parse_line(number, line, dashes, bars)
    return found


def _parse_line(number: int, line: str, dashes: bool, bars: bool) -> list[_Line]:
    if not _RUN.search(line):  # HoDoKu has a plus before digits that were filled in
        unmarked = re.sub(r"\+(?=[1-9._*xX?])", "", line)
        line = unmarked if _RUN.search(unmarked) else line
    if match := SPREADSHEET.search(line):
        raise _Damaged(f", line {number}{spreadsheet_number(match[0])}")
    _check_rest(number, _RUN.sub(" " * 81, line), alone=True)
    runs = [m for m in _RUN.finditer(line) if set(m[0]) - set("-~")]
    only = re.sub(rf"[{_SEPARATORS}]", "", line)  # cells, if the line has nothing else
    if runs and (len(only) % 81 or len(only) == 81 * len(runs)):
        _check_rest(number, _RUN.sub(" " * 81, line))
        before = line[: runs[0].start()] if len(runs) == 1 else ""
        title = before if re.search(r"[=:>(]\s*[\"'\[]*$", before) else " "
        whole = _Line(number, "cells", cells=tuple("".join(m[0] for m in runs)))
        alone = not re.search(r"\w", _RUN.sub("", line))  # below a title, perhaps
        return [whole] if alone else [_Line(number, "title", title), whole]
    title, rest = _unwrapped(line)
    found = [_Line(number, "title", title)] if title else []
    if _is_title(rest):
        _check_rest(number, rest)
        return [_Line(number, "title", rest)]
    core = re.sub(rf"[{_SEPARATORS.replace('+=', '')}]", "", rest)
    if not dashes and re.search(r"\d", core):
        rest = re.sub(r"[.:'*+|]*-{3,}[-.:'*+|]*", " | ", rest)
    empty = re.fullmatch(r"\s*([,;\t])(\s*\1){7,8}\s*", rest) or rest.count("|") > 8
    if not core and not (empty and _split(number, rest, dashes)):
        return found
    if _is_frame(core, dashes and not bars):
        return [*found, _Line(number, "frame")]
    cells = _split(number, rest, dashes)
    if cells is None:
        cells = _characters(number, line, rest, dashes)
    return [*found, _Line(number, "cells", cells=cells)]


def _check_rest(number: int, text: str, alone: bool = False) -> None:
    """Raises a ValueError if a text that is no cells holds what was meant to be a Sudoku.

    That is final if a character is wrong, or the line has a whole Sudoku as well.

    Args:
      number: of its line.
      text: the line, without its whole Sudokus.
      alone: whether it may have cells, of rows, that are not broken within a row.
    """
    for match in _WORD.finditer(text):
        wrong = [k for k, c in enumerate(match[0]) if not _is_sign(c)]
        if re.search(r"\d", match[0]) and 0 < len(wrong) <= len(match[0]) / 10:
            column, character = match.start() + wrong[0] + 1, match[0][wrong[0]]
            raise _Damaged(f", line {number}{wrong_character(column, character)}")
    for match in _LONG.finditer(text):
        size = len(match[0])
        whole = alone and (size % 9 == 0 or match[0] == text.strip())
        if re.search(r"\d", match[0]) and not whole:
            raise (_Damaged if " " * 81 in text else ValueError)(_wrong_size(number, size))


def _is_sign(character: str) -> bool:
    """Whether a character can be a cell."""
    return character.isdecimal() or character in BLANKS + "-"


def _unwrapped(line: str) -> tuple[str, str]:
    """A line of a program without what stands around its cells, and the name before them."""
    opening = re.compile(
        r"\s*[\"']?[A-Za-z_][\w .\[\]*<>:]*[\"']?\s*[=:(]\s*(?=[\[{(\"']|[\w.]+\()"
    )
    title = ""
    while match := opening.match(line):
        title, line = title + match[0], line[match.end() :]
    line = re.sub(r",?\s*dtype=.*$", "", line)
    line = re.sub(r"^(\s*\|(?:[^|]*\|){9})\.\s*$", r"\1", line)  # the end of a row in LaTeX
    line = re.sub(r"([\"'])([^\"']*)\1", lambda m: m[2] if m[2].strip() else ".", line)
    line = re.sub(r"([\])}])[\s,;.]*$", r"\1", _NULL.sub(".", line))
    line = re.sub(r"(?<![^\s,;(\[|])-1(?:\.0*)?(?![^\s,;)\]|])", ".", line)  # a blank to NumPy
    line = re.sub(r"\b(\d)\.0*e\+00\b", r"\1", line, flags=re.IGNORECASE)  # numpy.savetxt
    label = re.compile(r"\s*(?:r(?:ow)?\s*([1-9])|([A-I]))(?=[\s|:.)])[:.)]?(?=[^A-Za-z]*$)", re.I)
    if match := label.match(line):
        number = match[1] or str(ord(match[2].upper()) - ord("A") + 1)
        line = number + " " + line[match.end() :]
    return title, line


def _is_title(line: str) -> bool:
    """Whether a line has words, or at least more letters than cells."""
    line = re.sub(r"\bu(?=[1-9]\b)", "", line)  # before digits that a player placed
    letters = sum(c.isalpha() and c not in "xX" for c in line)
    cells = sum(c in "123456789" + BLANKS for c in line)
    fields = {x.strip(" \"'") for x in re.split("[,;\t]", line)}
    names = len(fields) > 8 and all(re.fullmatch(r"[A-Za-z]+_?\d+|", x) for x in fields)
    return bool(re.search(r"[^\W\d_xX]{3}", line)) or letters > cells or names


def _is_frame(core: str, dashes: bool) -> bool:
    """Whether the characters of a line, without separators, draw a frame."""
    if re.search(r"[^-=+~_*.]", core):
        return False
    if len(set(core)) == 1 and core[0] in BLANKS + "-" * dashes and len(core) in _SIZES:
        return False
    return bool(re.search(r"[-=+~]", core)) or (len(core) > 9 and set(core) in ({"_"}, {"*"}))


def _split(number: int, line: str, dashes: bool) -> tuple[str, ...] | None:
    """The cells of a line that has something between each of them and the next."""
    outside = " []{}()\"'`"
    for delimiter in ("\t", ",", ";", r"\|", r"\|+"):
        fields = re.split(delimiter, line)
        if delimiter.startswith("\\"):
            fields = fields[not fields[0].strip() :]
            fields = fields[: len(fields) - (not fields[-1].strip())]
        fields = [re.sub(r"\*+([1-9])\*+", r"\1", x.strip(outside)) for x in fields]
        numbered = len(fields) in (82, 163) and fields[0].isdecimal()
        wrong = [k for k, x in enumerate(fields) if k >= numbered and not _CELL.fullmatch(x)]
        if len(fields) in _SIZES and not wrong:
            if delimiter.startswith("\\") and "-" in fields and not dashes:
                continue
            return tuple(fields)
        if "" in fields[1:-1] and len(delimiter) == 1:
            raise _Damaged(_wrong_fields(number, fields, wrong))
    tokens = re.split(rf"[{_SEPARATORS}{'' if dashes else '-'}]+", line)
    tokens = [x.strip("*") or x[:1] for x in tokens if x]
    if len(tokens) in _SIZES and all(map(_CELL.fullmatch, tokens)):
        return None if {*map(len, tokens)} == {9} else tuple(tokens)
    return None


def _characters(number: int, line: str, rest: str, dashes: bool) -> tuple[str, ...]:
    """The cells of a line in which each of them is one character."""
    separators = re.compile(rf"[{_SEPARATORS}{'' if dashes else '-'}]")
    cells = separators.sub("", rest)
    if wrong := re.search(rf"[^\d{re.escape(BLANKS)}-]", cells):
        column = line.find(wrong[0]) + 1
        raise ValueError(f", line {number}" + wrong_character(column, wrong[0]))
    return tuple(cells)


# --- Boards ---------------------------------------------------------------------------------------


def _wrong_size(number: int, cells: int) -> str:
    return (
        f", line {number} has {cells} cell{'s' * (cells != 1)}. Required: nine, a row, or 81, a "
        "whole Sudoku of 9×9, with . or 0 for blanks. Correct the line, or put # before what is no "
        "cell."
    )


def _wrong_fields(number: int, fields: Sequence[str], wrong: Sequence[int]) -> str:
    if len(fields) in _SIZES and wrong:
        return (
            f", line {number}: cell {wrong[0] + 1} is {fields[wrong[0]]!r}. Required: a digit, or "
            "nothing, . or 0 if blank. Correct the cell."
        )
    return _wrong_size(number, len(fields))


def _assemble(lines: list[_Line], bars: bool = False) -> list[Found]:
    """The Sudokus that rows, and lines with whole Sudokus, make.

    Args:
      lines: from `_parse`.
      bars: whether frames of dashes stand between boxes only, and are rows of blanks elsewhere.

    Raises:
      ValueError: there are none, or a line or Sudoku is not whole.
    """
    boards = _Boards()
    rows: list[tuple[int, int, tuple[str, ...]]] = []  # line, number of frames before, cells
    frames = 0
    for line in [*_unnumbered(lines), _Line(0, "title")]:
        if line.kind == "frame":
            if bars and len(rows) % 3:
                raise ValueError
            frames += 1
            continue
        size = len(line.cells)
        if size in (9, 10, 18):
            rows.append((line.number, frames, line.cells))
            continue
        if size % 81:
            raise ValueError(_wrong_size(line.number, size))
        boards.add_rows(rows, line.number)
        rows = []
        if line.kind == "title":
            boards.answers = bool(ANSWER.search(line.text))
        else:
            boards.add_line(line)
    return boards.finish()


def _unnumbered(lines: list[_Line]) -> list[_Line]:
    """Lines without the numbers of the rows of a table, or separators at the ends of all rows."""
    wide = [x for x in lines if len(x.cells) in (82, 163)]
    if not wide or len(wide) < sum(x.kind == "cells" for x in lines):
        return lines
    first = wide[0].cells[0]
    numbers = [str(int(first) + k) for k in range(len(wide))] if first in ("0", "1") else []
    if [x.cells[0] for x in wide] == numbers:
        part = slice(1, None)
    elif all(x.cells[-1] == "" for x in wide):
        part = slice(None, -1)
    else:
        return lines
    return [x._replace(cells=x.cells[part]) if x.cells else x for x in lines]


class _Boards:
    """Sudokus as they are found, in order."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.answers = False  # whether a title has announced solutions
        self._marked: list[bool] = []  # which of them have pencil marks

    def add(self, lines: Sequence[int], cells: Sequence[str], answers: bool = False) -> None:
        """A Sudoku, or the solution of one before.

        Args:
          lines: that of each row, or the only one.
          cells: what stands in them.
          answers: whether it may be a solution, even if no title says so.
        """
        _check_marks(lines, cells)
        values = [_value(cell) for cell in cells]
        solving = (answers or self.answers) and self.found
        if solving and not all(values):
            self._check_no_solution(lines[0], values)
        if solving and all(values):
            open_ = [k for k, x in enumerate(self.found) if x.solution is None] or [-1]
            fits = [k for k in open_ if _extends(self.found[k].puzzle, values)]
            chosen = (fits or open_[-1:])[0]
            self.found[chosen] = self.found[chosen]._replace(solution=values)
        else:
            self.found.append(Found(lines[0], values))
            self._marked.append(any(map(_is_marked, cells)))

    def _check_no_solution(self, line: int, values: Cells) -> None:
        """Raises a ValueError if a board has most digits of a solution of the last one."""
        puzzle, open_ = self.found[-1].puzzle, values.count(0)
        agrees = all(0 in pair or pair[0] == pair[1] for pair in zip(puzzle, values, strict=True))
        if agrees and open_ < min(27, puzzle.count(0)):
            raise _Damaged(
                f", line {line}: the solution has {open_} blank cell{'s' * (open_ > 1)}. Required: "
                "a digit in every cell. Complete or remove it."
            )

    def add_line(self, line: _Line) -> None:
        """One or several whole Sudokus in a line; a complete one may solve the one before."""
        cells = line.cells
        boards = [cells[k : k + 81] for k in range(0, len(cells), 81)]
        values = [[_value(x) for x in board] for board in boards]
        if len(boards) == 2 and all(values[0]) and not all(values[1]):
            boards, values = boards[::-1], values[::-1]
        self.add([line.number], boards[0])
        for k in range(1, len(boards)):
            solved = all(values[k]) and _extends(values[k - 1], values[k])
            self.add([line.number], boards[k], answers=solved or len(boards) == 2)

    def add_rows(self, rows: list[tuple[int, int, tuple[str, ...]]], end: int) -> None:
        """Rows of nine cells each; of eighteen, if two Sudokus stand side by side.

        Args:
          rows: line, number of frames before it, and cells of each.
          end: the line after them; 0 for the end of the text.
        """
        rows = _merged(_unlabelled(rows))
        usual = 18 if all(len(x[2]) == 18 for x in rows) else 9
        if wrong := next((x for x in rows if len(x[2]) != usual), None):
            raise ValueError(_wrong_size(wrong[0], len(wrong[2])))
        if len(rows) % 9:
            first, number = rows[len(rows) // 9 * 9][0], len(rows) % 9
            last = f" before line {end}, which is none" if end else ", and there is no more"
            raise ValueError(
                f": the Sudoku that begins in line {first} has {number} row{'s' * (number > 1)} of "
                f"nine cells{last}. Required: nine rows. Add those that are missing, or put # "
                "before lines that are no rows."
            )
        for k in range(0, len(rows), 9):
            lines = [line for line, _, _ in rows[k : k + 9]]
            left = [x for row in rows[k : k + 9] for x in row[2][:9]]
            right = [x for row in rows[k : k + 9] for x in row[2][9:]]
            values = [[_value(x) for x in side] for side in (left, right)]
            if right and not all(map(_is_consistent, values)):
                raise ValueError(_wrong_size(lines[0], 18))  # perhaps two rows of one Sudoku
            self.add(lines, left)
            if right:
                self.add(lines, right, answers=_extends(*values))

    def finish(self) -> list[Found]:
        """All of them; pencil marks of a Sudoku that stands before them are left out."""
        if not self.found:
            raise ValueError(
                " holds 0 cells. Required: 81 for each Sudoku, in one line or in nine lines of "
                "nine, with . or 0 for blanks. Give a file with a Sudoku."
            )
        kept: list[Found] = []
        for board, marked in zip(self.found, self._marked, strict=True):
            if marked:  # programs copy the Sudoku, then how far it is solved, then the marks
                while len(kept) > 1 and _extends(kept[-2].puzzle, kept[-1].puzzle):
                    kept.pop()
                if kept and _extends(kept[-1].puzzle, board.puzzle):
                    continue
            kept.append(board)
        return kept


def _is_marked(cell: str) -> bool:
    """Whether a cell has more than one digit or sign, and is no number such as 5.0."""
    return len(cell) > 1 and cell[1] != "."


def _check_marks(lines: Sequence[int], cells: Sequence[str]) -> None:
    """Raises a ValueError if cells of several digits are not the pencil marks of all open cells.

    Args:
      lines: that of each row of nine cells, or that of all cells.
      cells: what stands in them.
    """
    marks = {k: x for k, cell in enumerate(cells) if _is_marked(x := cell.removeprefix("u"))}
    if not marks:
        return
    values = [_value(x) for x in cells]
    wrong = [k for k, x in marks.items() if not _is_possible(x, k, values)]
    open_ = [k for k, x in enumerate(cells) if not _value(x)]
    if not wrong and len(marks) > 3 and all(_is_marked(cells[k]) for k in open_):
        return  # with fewer of them, one would have a single mark
    first = [*wrong, *marks][0]
    line, number = (lines[first // 9], first % 9) if len(lines) > 1 else (lines[0], first)
    raise ValueError(
        f", line {line}: cell {number + 1} is {cells[first]!r}. Required: one digit in each cell, "
        "and . or 0 if blank; or the pencil marks of all open cells, in ascending order, as in 359."
        " Correct the cell, or separate digits that belong to different cells."
    )


def _is_possible(marks: str, cell: int, values: Cells) -> bool:
    """Whether pencil marks ascend, and one of them at least is possible there."""
    if not all(a < b for a, b in itertools.pairwise(marks)):
        return False
    taken = {str(values[k]) for k in range(81) if k != cell and _UNITS[k] & _UNITS[cell]}
    return not set(marks) <= taken


def _value(cell: str) -> int:
    """The digit of a cell; 0 if it is blank, has several pencil marks, or a player filled it in."""
    digit = cell.partition(".")[0]
    return int(digit) if len(digit) == 1 and digit.isdecimal() else 0


def _extends(puzzle: Cells, board: Cells) -> bool:
    """Whether a board has all digits of a puzzle."""
    return all(a in (0, b) for a, b in zip(puzzle, board, strict=True))


def _is_consistent(board: Cells) -> bool:
    """Whether no digit is twice in a row, column or box."""
    seen = [(unit, x) for x, units in zip(board, _UNITS, strict=True) if x for unit in units]
    return len(set(seen)) == len(seen)


def _unlabelled(
    rows: list[tuple[int, int, tuple[str, ...]]],
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Rows without a line of column labels, labels of rows, and separators at the ends."""
    labels = [tuple(map(str, range(a, a + 9))) for a in (0, 1)]
    if len(rows) % 9:
        rows = [x for x in rows if x[2][-9:] not in labels]
    while len(rows) % 9 and rows and not any(rows[-1][2]):  # what spreadsheets add
        rows = rows[:-1]
    if len(rows) % 9:
        rows = [x for x in rows if any(x[2])]
    wide = [x[2] for x in rows if len(x[2]) == 10]
    if len(wide) == len(rows) and all(
        tuple(x[0] for x in wide[k : k + 9]) in labels for k in range(0, len(wide), 9)
    ):
        return [(line, frame, cells[1:]) for line, frame, cells in rows]
    if len(wide) >= len(rows) * 8 / 9 and not any(x[9] for x in wide):  # all but the last row
        return [(line, frame, cells[:9]) for line, frame, cells in rows]
    return rows


def _merged(
    rows: list[tuple[int, int, tuple[str, ...]]],
) -> list[tuple[int, int, tuple[str, ...]]]:
    """One row for each three lines, of which the middle one has the digits, in large drawings."""
    if len(rows) % 3 or not all(rows[k][1] == rows[k + 2][1] for k in range(0, len(rows), 3)):
        return rows
    outer = [row for k in (0, 2) for row in rows[k::3] if any(row[2])]
    if len(rows) > 9 and outer and len(outer) < len(rows) // 9:
        raise _Damaged(
            f", line {outer[0][0]} has digits, unlike the others above and below cells. Required: "
            "digits in the middle line of each row. Correct the line."
        )
    return rows if outer or not any(any(row[2]) for row in rows[1::3]) else rows[1::3]


def _read_stream(lines: list[tuple[int, str]]) -> list[Found]:
    """Sudokus whose cells, one character each, are broken into lines anywhere.

    Raises:
      ValueError: they are not so many, or digits contradict each other.
    """
    cells: list[tuple[int, bool, str]] = []  # line, whether in a solution, character
    answers = False
    for number, line in lines:
        title, rest = _unwrapped(line)
        core = re.sub(rf"[{_SEPARATORS}]", "", rest)
        if title or _is_title(rest):
            answers = bool(ANSWER.search(title or rest))
        if not core or _is_title(rest) or _is_frame(core, False):
            continue
        fields = _split(number, rest, dashes=False) or ()
        if len(fields) in (82, 163) or len(re.findall(r"(?<!\S)\d\.(?!\S)", rest)) > 2:  # floats
            raise ValueError
        cells += [(number, answers, x) for x in _characters(number, line, rest, dashes=False)]
    if not cells or len(cells) % 81:
        raise ValueError
    boards = _Boards()
    for k in range(0, len(cells), 81):
        number, boards.answers, _ = cells[k]
        boards.add([number], [x for _, _, x in cells[k : k + 81]])
    found = boards.finish()
    if not all(_is_consistent(board.puzzle) for board in found):
        raise ValueError
    return found


# --- Spaces ---------------------------------------------------------------------------------------


def _read_spaces(lines: list[tuple[int, str]]) -> list[Found]:
    """Sudokus whose blanks are spaces: where a digit stands says which cell it is.

    Raises:
      ValueError: they are not.
    """
    lines = [(n, "" if _is_title(s) else s.strip("\"',;")) for n, s in lines]
    lines = [
        (n, s) for n, s in lines if not (s.strip() and _is_frame(re.sub(r"[\s|]", "", s), False))
    ]
    if any(re.search(r"[^1-9 |]", s) for _, s in lines):
        raise ValueError
    whole = [(n, s) for n, s in lines if s.strip()]
    if whole and all(len(s) == 81 and "|" not in s for _, s in whole):
        return [Found(n, [_value(c) for c in s]) for n, s in whole]
    if len(whole) % 9:  # a row may be empty from end to end
        digits = [k for k, (_, s) in enumerate(lines) if s.strip()]
        whole = lines[digits[0] : digits[-1] + 1] if digits else []
        whole = whole if len(whole) == 9 else lines
    if not whole or len(whole) % 9 or max(len(s) for _, s in whole) < 7:
        raise ValueError
    found = [
        Found(whole[k][0], _placed([s for _, s in whole[k : k + 9]]))
        for k in range(0, len(whole), 9)
    ]
    rows = ("".join(map(str, x.puzzle[k : k + 9])) for x in found for k in range(0, 81, 9))
    if not any(re.search("0[1-9]", row) for row in rows):
        raise ValueError  # blanks at the ends of rows alone: cells that are missing
    return found


def _placed(rows: list[str]) -> Cells:
    """The cells of nine lines, where columns are equally far apart, boxes perhaps farther.

    Raises:
      ValueError: no distances fit.
    """
    digits = {k for row in rows for k, c in enumerate(row) if c.isdecimal()}
    walls = {k for row in rows for k, c in enumerate(row) if c == "|"}
    for step in range(1, 7):
        for gap in range(7):
            for first in range(7):
                places = [first + step * k + gap * (k // 3) for k in range(9)]
                before = {sum(p < wall for p in places) for wall in walls}
                if digits <= set(places) and not walls & set(places) and before <= {0, 3, 6, 9}:
                    return [_value(row[p : p + 1]) for row in rows for p in places]
    raise ValueError
