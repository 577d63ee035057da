"""Lines of texts with Sudokus: rows of cells, whole Sudokus, parts of a frame, titles."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wonn_jax.data.sudoku_formats.characters import (
    BLANKS,
    SPREADSHEET,
    plain,
    spreadsheet_number,
    wrong_character,
)

_SIZES = (9, 10, 18, 81, 82, 162, 163)  # a row, also with a label; two rows; a Sudoku; two
_CELL = re.compile(r"[0-9]?|[0-9]\.0*|[._*xX?~-]|u?[1-9]{1,9}")
_NULL = re.compile(r"\b(?:null|none|nil|nan|n/a|na|undefined|empty)\b", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SEPARATORS = r"\s|,;:!\"'`\[\](){}<>/\\+="
"""Characters between cells, for a set of a regular expression."""

_RUN = re.compile(r"(?<![\w.*?~-])[\d._*xX?~-]{81}(?![\w.*?~-])")
# What may be meant as a Sudoku: cells, or with other characters among them.
_LONG = re.compile(r"(?<![\w.*?~-])[\d._*xX?~-]{27,}(?![\w.*?~-])")
_WORD = re.compile("[^" + SEPARATORS + "]{27,}")
ANSWER = re.compile(
    r"(?<![a-zA-Z])(?:solutions?|solved|answers?|outputs?|expected|lösung(?:en)?)(?![a-zA-Z])",
    re.IGNORECASE,
)
"""What titles and names of solutions contain."""


class Damaged(ValueError):
    """What is wrong whatever the meaning of the other lines."""


def plain_lines(text: str) -> list[tuple[int, str]]:
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


class Line(NamedTuple):
    """What a line, or a part of one, is: 'title', 'frame', or 'cells', with what stands in them."""

    number: int
    kind: str
    text: str = ""
    cells: tuple[str, ...] = ()


def parse(lines: Iterable[tuple[int, str]], *, dashes: bool, bars: bool = False) -> list[Line]:
    """The meaning of lines.

    Args:
      lines: from `plain_lines`.
      dashes: whether '-' is a blank cell.
      bars: whether nine of them alone are a frame nevertheless.
    """
    found: list[Line] = []
    for number, line in lines:
        found += _parse_line(number, line, dashes, bars)
    return found


def _parse_line(number: int, line: str, dashes: bool, bars: bool) -> list[Line]:
    if not _RUN.search(line):  # HoDoKu has a plus before digits that were filled in
        unmarked = re.sub(r"\+(?=[1-9._*xX?])", "", line)
        line = unmarked if _RUN.search(unmarked) else line
    if match := SPREADSHEET.search(line):
        raise Damaged(f", line {number}{spreadsheet_number(match[0])}")
    _check_rest(number, _RUN.sub(" " * 81, line), alone=True)
    runs = [m for m in _RUN.finditer(line) if set(m[0]) - set("-~")]
    only = re.sub(rf"[{SEPARATORS}]", "", line)  # cells, if the line has nothing else
    if runs and (len(only) % 81 or len(only) == 81 * len(runs)):
        _check_rest(number, _RUN.sub(" " * 81, line))
        before = line[: runs[0].start()] if len(runs) == 1 else ""
        title = before if re.search(r"[=:>(]\s*[\"'\[]*$", before) else " "
        whole = Line(number, "cells", cells=tuple("".join(m[0] for m in runs)))
        alone = not re.search(r"\w", _RUN.sub("", line))  # below a title, perhaps
        return [whole] if alone else [Line(number, "title", title), whole]
    title, rest = unwrapped(line)
    found = [Line(number, "title", title)] if title else []
    if is_title(rest):
        _check_rest(number, rest)
        return [Line(number, "title", rest)]
    core = re.sub(rf"[{SEPARATORS.replace('+=', '')}]", "", rest)
    if not dashes and re.search(r"\d", core):
        rest = re.sub(r"[.:'*+|]*-{3,}[-.:'*+|]*", " | ", rest)
    empty = re.fullmatch(r"\s*([,;\t])(\s*\1){7,8}\s*", rest) or rest.count("|") > 8
    if not core and not (empty and split_cells(number, rest, dashes)):
        return found
    if is_frame(core, dashes and not bars):
        return [*found, Line(number, "frame")]
    cells = split_cells(number, rest, dashes)
    if cells is None:
        cells = characters_of(number, line, rest, dashes)
    return [*found, Line(number, "cells", cells=cells)]


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
            raise Damaged(f", line {number}{wrong_character(column, character)}")
    for match in _LONG.finditer(text):
        size = len(match[0])
        whole = alone and (size % 9 == 0 or match[0] == text.strip())
        if re.search(r"\d", match[0]) and not whole:
            raise (Damaged if " " * 81 in text else ValueError)(wrong_size(number, size))


def _is_sign(character: str) -> bool:
    """Whether a character can be a cell."""
    return character.isdecimal() or character in BLANKS + "-"


def unwrapped(line: str) -> tuple[str, str]:
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


def is_title(line: str) -> bool:
    """Whether a line has words, or at least more letters than cells."""
    line = re.sub(r"\bu(?=[1-9]\b)", "", line)  # before digits that a player placed
    letters = sum(c.isalpha() and c not in "xX" for c in line)
    cells = sum(c in "123456789" + BLANKS for c in line)
    fields = {x.strip(" \"'") for x in re.split("[,;\t]", line)}
    names = len(fields) > 8 and all(re.fullmatch(r"[A-Za-z]+_?\d+|", x) for x in fields)
    return bool(re.search(r"[^\W\d_xX]{3}", line)) or letters > cells or names


def is_frame(core: str, dashes: bool) -> bool:
    """Whether the characters of a line, without separators, draw a frame."""
    if re.search(r"[^-=+~_*.]", core):
        return False
    if len(set(core)) == 1 and core[0] in BLANKS + "-" * dashes and len(core) in _SIZES:
        return False
    return bool(re.search(r"[-=+~]", core)) or (len(core) > 9 and set(core) in ({"_"}, {"*"}))


def split_cells(number: int, line: str, dashes: bool) -> tuple[str, ...] | None:
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
            raise Damaged(_wrong_fields(number, fields, wrong))
    tokens = re.split(rf"[{SEPARATORS}{'' if dashes else '-'}]+", line)
    tokens = [x.strip("*") or x[:1] for x in tokens if x]
    if len(tokens) in _SIZES and all(map(_CELL.fullmatch, tokens)):
        return None if {*map(len, tokens)} == {9} else tuple(tokens)
    return None


def characters_of(number: int, line: str, rest: str, dashes: bool) -> tuple[str, ...]:
    """The cells of a line in which each of them is one character."""
    separators = re.compile(rf"[{SEPARATORS}{'' if dashes else '-'}]")
    cells = separators.sub("", rest)
    if wrong := re.search(rf"[^\d{re.escape(BLANKS)}-]", cells):
        column = line.find(wrong[0]) + 1
        raise ValueError(f", line {number}" + wrong_character(column, wrong[0]))
    return tuple(cells)


def wrong_size(number: int, cells: int) -> str:
    """What to say of a line with some other number of cells, after the file's name."""
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
    return wrong_size(number, len(fields))
