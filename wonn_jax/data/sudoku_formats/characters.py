"""Characters of Sudokus: those of a cell, and others that mean the same."""

import re
import unicodedata

import numpy as np

BLANKS = ".0_*xX?~"
"""Characters of a blank cell; '-' is one more where it does not draw a frame."""

CELLS = np.full(256, 255, np.uint8)
CELLS[[ord(c) for c in BLANKS + "- "]] = 0
CELLS[ord("0") : ord("9") + 1] = range(10)
"""The digit that a byte means in a table or an array, 0 for a blank; 255 if it is no cell."""

_LIKE = {"|": "│┃║┆┇┊┋╎╏¦｜", "=": "─━═┄┅┈┉╌╍", ".": "·•・", "-": "–—−‐‑"}
_RAISED = ("<super>", "<sub>")  # powers, notes and pencil marks


class _Plain(dict[int, str]):
    """Characters in ASCII, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        self[code] = _plain(chr(code))
        return self[code]


_PLAIN = _Plain()


def plain(text: str) -> str:
    """A text in ASCII: '5' for '５', '٥' and '⑤', '|' for '║', '=' for '─', '.' for '⬜' and '·'.

    What has no such meaning stays as it is; superscripts are no digits.
    """
    return text if text.isascii() else text.translate(_PLAIN)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    for meaning, group in _LIKE.items():
        if character in group:
            return meaning
    if "\u2500" <= character <= "\u257f":
        return "+"
    if unicodedata.decomposition(character).startswith(_RAISED):
        return character
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    kind = unicodedata.category(character)
    if kind in ("Mn", "Me", "Cf"):  # what makes an emoji of a digit, and marks without a width
        return ""
    if kind in ("Zs", "So", "Sm"):
        return " " if kind == "Zs" else "."
    simple = unicodedata.normalize("NFKC", character)
    return simple if len(simple) == 1 else character


def wrong_character(number: int, character: str, place: str = "column") -> str:
    """What to say of a character that is no cell, after the name of the line."""
    return (
        f", {place} {number}: {character!r} is not a cell of a Sudoku. Required: a digit, or one "
        "of . 0 _ * x ? - if blank. Correct the character."
    )


SPREADSHEET = re.compile(r"\b\d[.,]?\d*E\+[78]\d\b", re.IGNORECASE)
"""81 digits as spreadsheets write them, of which they keep 15: 5.30070000600195E+80."""


def spreadsheet_number(text: str) -> str:
    """What to say of such a number, after the name of the line."""
    return (
        f": found {text}, a number of which a spreadsheet has lost most digits. Required: 81 "
        "cells. Export the table again, with its columns formatted as text."
    )
