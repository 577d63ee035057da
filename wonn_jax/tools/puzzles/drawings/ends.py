"""Start and goal given by coordinates, beside a drawing or on the command line."""

import re
from collections.abc import Sequence

Place = tuple[int, int]
"""Row and column of a cell, counted from 0."""
Ends = dict[str, Place]
"""Places of 'start' and 'goal', where they are known."""

_WORDS = {
    "start": r"start|begin(?:ning)?|entrance|entry|source|src|origin|agent|player",
    "goal": r"goal|end|exit|finish|target|destination|dest|dst",
}
_LETTERS = {"start": "[SA]", "goal": "[GEB]"}
_PART = r"pos(?:ition)?|point|cell|node|state|coord(?:inate)?s?|loc(?:ation)?"
_LABEL = r"""["']?\b(row|r|y|i|col(?:umn)?|c|x|j)["']?\s*[:=]?\s*"""
_NUMBER = r"(\d+)(?:\.0*)?"
_LABELLED = rf"{_LABEL}{_NUMBER}\s*[,;]?\s*{_LABEL}{_NUMBER}"
_PAIR = rf"(?:{_LABEL})?{_NUMBER}\s*[,;]?\s*(?:{_LABEL})?(?<![\d.]){_NUMBER}"
_BARE = r"()(\d+)[ \t]*[,; \t][ \t]*()(\d+)[ \t]*(?=$|[,;]?[ \t]*[A-Za-z])"
_FORMS = (rf"[\w.]*[\[({{]+\s*{_PAIR}\s*[\])}}]", _LABELLED, _BARE)


def place_of(text: str) -> Place | None:
    """The place that '3,4', '(3, 4)' or 'row 3, column 4' names; None for other texts."""
    found = re.fullmatch(rf"\s*[\[({{]?\s*{_PAIR}\s*[\])}}]?\s*", text)
    return _place(*found.groups()) if found else None


def end_named(name: str) -> str | None:
    """Which end a variable of this name is the place of: 'start' for 'start_pos'."""
    for end, words in _WORDS.items():
        if re.fullmatch(rf"(?i)(?:{words})s?(?:_?(?:{_PART})s?)?", name):
            return end
    return None


def ends_in(text: str) -> tuple[dict[str, list[Place]], str]:
    """The places that a text gives, as in 'start: 0, 4' or '"end": [3, 3]'.

    Returns:
      Places of 'start' and of 'goal' in their order, and the text with empty lines for those
      that gave them.
    """
    places: dict[str, list[Place]] = {}
    given = set()
    for name, words in _WORDS.items():
        word = rf"(?i:{words})(?:[_ -]?(?:{_PART}))?[\"']?[ \t]*(?:[:=]|is\b|at\b)*"
        named = rf"\b(?:{word}|{_LETTERS[name]}[\"']?[ \t]*[:=])[ \t]*"
        for form in _FORMS:
            for found in re.finditer(named + form, text, flags=re.M):
                places.setdefault(name, []).append(_place(*found.groups()))
                given |= {text.count("\n", 0, i) for i in (found.start(), found.end())}
    lines = text.split("\n")
    return places, "\n".join("" if i in given else line for i, line in enumerate(lines))


def _place(label: str | None, first: str, _: str | None, second: str) -> Place:
    row_first = not label or label[0] not in "cxj"
    return (int(first), int(second)) if row_first else (int(second), int(first))


def shared(places: dict[str, list[Place]], count: int, where: str) -> Sequence[Ends]:
    """The ends of each of several mazes in a text.

    Raises:
      ValueError: there are not as many places as mazes.
    """
    ends: list[Ends] = [{} for _ in range(count)]
    for name, found in places.items():
        if count == 1 and len(set(found)) == 1:
            found = found[:1]
        if len(found) != count:
            raise ValueError(
                f"{where} gives {len(found)} coordinates of a {name} for {count} mazes; give one "
                "for each."
            )
        for one, place in zip(ends, found, strict=True):
            one[name] = place
    return ends
