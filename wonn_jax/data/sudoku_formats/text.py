"""Sudokus in texts: grids of nine lines, or 81 characters, whatever stands around them.

People draw frames in many ways and write blanks as dots, zeros, stars, dashes or spaces, with or
without separators, labels, titles, comments, pencil marks, colours of a terminal, emoji. A text is
read line by line: a line is a row of nine cells, a whole Sudoku, a part of a frame, or a title.
"""

import re
from collections.abc import Callable

from wonn_jax.data.sudoku_formats.boards import (
    Boards,
    Cells,
    Found,
    assemble,
    is_consistent,
    value_of,
)
from wonn_jax.data.sudoku_formats.lines import (
    ANSWER,
    SEPARATORS,
    Damaged,
    characters_of,
    is_frame,
    is_title,
    parse,
    plain_lines,
    split_cells,
    unwrapped,
)


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
    lines = plain_lines(text)
    # What a dash is shows only from all lines together: a frame, or a blank cell.
    ways: list[Callable[[], list[Found]]] = [
        lambda: assemble(parse(lines, dashes=False)),
        lambda: assemble(parse(lines, dashes=True)),
        lambda: assemble(parse(lines, dashes=True, bars=True), bars=True),
        lambda: _read_stream(lines),
        lambda: _read_spaces(lines),
    ]
    errors = []
    for read in ways:
        try:
            return read()
        except Damaged:
            raise
        except ValueError as error:
            errors.append(error)
    dashed = any(re.search(r"\d-|-\d", line) for _, line in lines)
    raise errors[1 if dashed else 0]


def _read_stream(lines: list[tuple[int, str]]) -> list[Found]:
    """Sudokus whose cells, one character each, are broken into lines anywhere.

    Raises:
      ValueError: they are not so many, or digits contradict each other.
    """
    cells: list[tuple[int, bool, str]] = []  # line, whether in a solution, character
    answers = False
    for number, line in lines:
        title, rest = unwrapped(line)
        core = re.sub(rf"[{SEPARATORS}]", "", rest)
        if title or is_title(rest):
            answers = bool(ANSWER.search(title or rest))
        if not core or is_title(rest) or is_frame(core, False):
            continue
        fields = split_cells(number, rest, dashes=False) or ()
        if len(fields) in (82, 163) or len(re.findall(r"(?<!\S)\d\.(?!\S)", rest)) > 2:  # floats
            raise ValueError
        cells += [(number, answers, x) for x in characters_of(number, line, rest, dashes=False)]
    if not cells or len(cells) % 81:
        raise ValueError
    boards = Boards()
    for k in range(0, len(cells), 81):
        number, boards.answers, _ = cells[k]
        boards.add([number], [x for _, _, x in cells[k : k + 81]])
    found = boards.finish()
    if not all(is_consistent(board.puzzle) for board in found):
        raise ValueError
    return found


# --- Spaces ---------------------------------------------------------------------------------------


def _read_spaces(lines: list[tuple[int, str]]) -> list[Found]:
    """Sudokus whose blanks are spaces: where a digit stands says which cell it is.

    Raises:
      ValueError: they are not.
    """
    lines = [(n, "" if is_title(s) else s.strip("\"',;")) for n, s in lines]
    lines = [
        (n, s) for n, s in lines if not (s.strip() and is_frame(re.sub(r"[\s|]", "", s), False))
    ]
    if any(re.search(r"[^1-9 |]", s) for _, s in lines):
        raise ValueError
    whole = [(n, s) for n, s in lines if s.strip()]
    if whole and all(len(s) == 81 and "|" not in s for _, s in whole):
        return [Found(n, [value_of(c) for c in s]) for n, s in whole]
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
                    return [value_of(row[p : p + 1]) for row in rows for p in places]
    raise ValueError
