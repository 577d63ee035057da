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
_RULE = re.compile(r"\s*(\d+)\s*[\s,x×]\s*(\d+)\s*")


class Line(NamedTuple):
    """A line and its number in the text, from 1."""

    number: int
    text: str


def numbered_lines(text: str) -> list[Line]:
    """The lines that may be of a drawing: those within fences if there are any, without quotes."""
    plain = re.sub(r"\r\n?|\u2028", "\n", text.translate(_TRANSLATED))
    lines = [Line(number, line) for number, line in enumerate(plain.split("\n"), 1)]
    fences = [
        i for i, line in enumerate(lines) if line.text.lstrip(" >").startswith(("```", "~~~"))
    ]
    if fences:
        ends = [*fences[1::2], len(lines)] if len(fences) % 2 else fences[1::2]
        inside = [[*lines[a + 1 : b], Line(0, "")] for a, b in zip(fences[::2], ends, strict=True)]
        lines = [line for block in inside for line in block]
    written = [line.text for line in lines if line.text.strip()]
    if written and all(line.lstrip().startswith("> ") for line in written):
        lines = [Line(n, line.partition("> ")[2]) for n, line in lines]
    return [Line(n, _unquoted(line)) for n, line in lines]


def _unquoted(line: str) -> str:
    """A line of code or of Markdown that holds a single string, without its quotes."""
    found = re.fullmatch(r"\s*(?:[-+.]\s*)?([\"'`])([^\"'`]{2,})\1\s*(?:\\n)?[,;+.\\]?\s*", line)
    return found[2].removesuffix("\\n") if found else line


def blocks(lines: list[Line]) -> list[list[Line]]:
    """Groups of lines with empty lines between them."""
    groups: list[list[Line]] = [[]]
    for line in lines:
        if line.text:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group]


def without_captions(groups: list[list[Line]]) -> tuple[list[list[Line]], list[str]]:
    """The groups without lines of words, and those lines."""
    kept, captions = [], []
    for group in groups:
        drawn = [line for line in group if not _is_prose(line.text)]
        lengths = Counter(len(line.text) for line in drawn).most_common(1)
        rest = [
            line for line in group if line in drawn or (lengths and len(line.text) == lengths[0][0])
        ]
        captions += [line.text.strip() for line in group if line not in rest]
        kept += [rest] if rest else []
    return (kept, captions) if kept else (groups, [])


def _is_prose(line: str) -> bool:
    """Whether a line holds a word, such as 'Maze' or 'height', not only signs of cells."""
    return any(len(set(word)) > 2 for word in re.findall(r"[a-z]{3,}", line))


def without_size(lines: list[Line]) -> tuple[list[Line], str]:
    """The lines without a first one that gives the numbers of rows and columns."""
    found = _RULE.fullmatch(lines[0].text)
    rest = lines[1:]
    if not found or not rest or len(rest[0].text) == len(lines[0].text) == len(rest[-1].text):
        return lines, ""
    numbers = {int(found[1]), int(found[2])}
    if {len(rest), (len(rest) - 1) / 2} & numbers:
        return rest, f"size {found[0].strip()} in the line above"
    return lines, ""


def without_labels(lines: list[Line]) -> tuple[list[Line], bool]:
    """The lines without numbers or letters of their rows and columns, as on a chessboard."""
    if len(lines) < 3 or not _counts_up(lines[0].text.split(), lines[0].text.strip()):
        return lines, False
    end = len(lines) - (lines[-1].text.split() == lines[0].text.split())
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


def _counts_up(words: list[str], joined: str = "") -> bool:
    """Whether words are 0 1 2 …, 1 2 3 … or a b c …, also without spaces between them."""
    words = list(joined) if len(words) == 1 and joined else words
    codes = [int(w) if w.isdecimal() else ord(w.lower()) if len(w) == 1 else -1 for w in words]
    if len(codes) < 2 or codes[0] not in (0, 1, ord("a")):
        return False
    return all(
        b == a + 1 or (joined and b == (a + 1) % 10) for a, b in zip(codes, codes[1:], strict=False)
    )
