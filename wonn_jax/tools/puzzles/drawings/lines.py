"""Lines of a drawing without what people write around it: captions, sizes, labels, quotes."""

import re
from collections import Counter
from typing import NamedTuple

_TRANSLATED = {
    **{0xFF01 + i: 0x21 + i for i in range(94)},  # full-width forms of ASCII
    0x3000: " ",
    0xA0: " ",
    **dict.fromkeys((0xFE0F, 0xFE0E, 0x200B, 0x2060, 0xFEFF)),
}
_FENCED = re.compile(
    r"""^[ >]*(```|~~~)[^\n]*\n(?P<fenced>.*?)(?:^[ >]*\1|\Z)|("{3}|'{3})\\?\n?(?P<quoted>.*?)\3""",
    re.DOTALL | re.MULTILINE,
)
"""What stands in a block of code in Markdown, or between triple quotes in Python."""
_MARKUP = re.compile(r"<br\s*/?>|</?(?:pre|code)\b[^>]*>|\x1b\[[\d;]*[mK]", re.IGNORECASE)
_BREAK = re.compile(r"\s*([-=~*—–])\1{2,}\s*")
_SIZE = re.compile(r"\s*(\d+)\s*[\s,x×]\s*(\d+)\s*")


class Line(NamedTuple):
    """A line and its number in the text, from 1."""

    number: int
    text: str


def numbered_lines(text: str) -> list[Line]:
    """The lines that may be of a drawing: those within fences if there are any, without quotes."""
    plain = _MARKUP.sub("", re.sub(r"\r\n?|\u2028", "\n", text.translate(_TRANSLATED)))
    parts = [found.span(found.lastgroup or 0) for found in _FENCED.finditer(plain)]
    lines = []
    for begin, end in parts or [(0, len(plain))]:
        first = plain.count("\n", 0, begin) + 1
        part = enumerate(plain[begin:end].split("\n"), first)
        lines += [*(Line(number, line) for number, line in part), Line(0, "")]
    written = [line.text for line in lines if line.text.strip()]
    if written and all(line.lstrip().startswith("> ") for line in written):
        lines = [Line(n, line.partition("> ")[2]) for n, line in lines]
    return [Line(n, _unquoted(line)) for n, line in lines]


def _unquoted(line: str) -> str:
    """A line that holds a single string of code or list of YAML, without quotes or brackets."""
    listed = re.fullmatch(r"\s*(?:-\s+)?\[([^\[\]]+)\],?\s*", line)
    line = listed[1] if listed else line
    found = re.fullmatch(r"\s*(?:[-+.]\s*)?([\"'`])([^\"'`]{2,})\1\s*(?:\\n)?[,;+.\\]?\s*", line)
    return found[2].removesuffix("\\n") if found else line


def blocks(lines: list[Line]) -> tuple[list[list[Line]], list[str]]:
    """Groups of lines between empty lines, rules and lines of words; and those words.

    A line of spaces as long as others is a row of free cells.
    """
    drawn = [line.text for line in lines if line.text.strip() and not _is_prose(line.text)]
    widths = Counter(map(len, drawn))
    usual = widths.most_common(1)[0][0] if widths else 0
    groups: list[list[Line]] = [[]]
    captions = []
    texts = ["", *(line.text for line in lines), ""]
    for line, around in zip(lines, zip(texts, texts[2:], strict=False), strict=False):
        width = len(line.text)
        caption = _is_prose(line.text) and width != usual
        rule = _BREAK.fullmatch(line.text) and width not in map(len, around)
        captions += [line.text.strip()] if caption else []
        if caption or rule or (not line.text.strip() and not widths[width]):
            groups.append([])
        else:
            groups[-1].append(line)
    return [group for group in groups if group], captions


def _is_prose(line: str) -> bool:
    """Whether a line holds a word, such as 'Maze' or 'height', not only signs of cells."""
    words = re.findall(r"\b(?!(?i:true|false)\b)[A-Za-z][a-z]{2,}", line)
    return any(len(set(word)) > 2 for word in words)


def without_size(lines: list[Line]) -> tuple[list[Line], str]:
    """The lines without a first one that gives the numbers of rows and columns."""
    found = _SIZE.fullmatch(lines[0].text)
    rest = lines[1:]
    if not found or not rest or len(rest[0].text) == len(lines[0].text) == len(rest[-1].text):
        return lines, ""
    numbers = {int(found[1]), int(found[2])}
    if {len(rest), (len(rest) - 1) / 2} & numbers:
        return rest, f"size {found[0].strip()} in the line above"
    return lines, ""


def without_labels(lines: list[Line]) -> tuple[list[Line], bool]:
    """The lines without numbers or letters of their rows and columns, as on a chessboard."""
    top = lines[0].text
    above = len(lines) > 2 and _counts_up(top.split(), top.strip())
    if not above:
        return _without_numbers(lines)
    end = len(lines) - (lines[-1].text.split() == top.split())
    rows = [re.match(r"\s*(\d+|[A-Za-z])([ |:]?\s?)", line.text) for line in lines[1:end]]
    labels = [row[1] if row else "" for row in rows]
    if not _counts_up(labels) and not _counts_up(labels[::-1]):
        return lines, False
    cut = min(len(lines[0].text) - len(lines[0].text.lstrip()), *(r.end() for r in rows if r))
    cut = max(cut, *(r.end(1) for r in rows if r))
    tail = [
        re.search(rf"\s+{re.escape(label)}$", line.text[cut:])
        for label, line in zip(labels, lines[1:end], strict=True)
    ]
    closed = all(tail)
    return [
        Line(line.number, line.text[cut : cut + t.start()] if closed and t else line.text[cut:])
        for line, t in zip(lines[1:end], tail, strict=True)
    ], True


def _without_numbers(lines: list[Line]) -> tuple[list[Line], bool]:
    """The lines without numbers of lines before them, which no cells could be."""
    rows = [re.fullmatch(r"\s*(\d+)(?:[:.)|]\s?|\s)(.*)", line.text) for line in lines]
    found = [row for row in rows if row]
    numbers = [row[1] for row in found]
    if len(found) < max(len(lines), 3) or not _counts_up(numbers):
        return lines, False
    if int(numbers[-1]) < 4 and any(c.isdigit() for row in found for c in row[2]):
        return lines, False
    return [Line(n, row[2]) for (n, _), row in zip(lines, found, strict=True)], True


def unlabelled(cells: list[list[str]]) -> list[list[str]]:
    """The rows of a table without a first row and a first column of labels, which count up.

    Where the cell above the first column is empty, the column is one of labels too.
    """

    def numbered(labels: list[str]) -> bool:
        plain = [re.sub(r"^[A-Za-z_]+(?=\d)", "", label) for label in labels]
        return len(plain) > 4 and _counts_up(plain)

    corner = not cells[0][0].strip()
    if numbered(cells[0][corner:]):
        return [row[corner:] for row in cells[1:]]
    return [row[1:] for row in cells] if numbered([row[0] for row in cells]) else cells


def _counts_up(words: list[str], joined: str = "") -> bool:
    """Whether words are 0 1 2 …, 1 2 3 … or a b c …, also without spaces between them."""
    words = list(joined) if len(words) == 1 and joined else words
    codes = [int(w) if w.isdecimal() else ord(w.lower()) if len(w) == 1 else -1 for w in words]
    if len(codes) < 2 or codes[0] not in (0, 1, ord("a")):
        return False
    return all(
        b == a + 1 or (joined and b == (a + 1) % 10) for a, b in zip(codes, codes[1:], strict=False)
    )
