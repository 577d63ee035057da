"""Mazes whose floors are drawn with _ between bars, as in `|_  |`."""

import math

UPRIGHT = "|│"


def open_floors(lines: list[str]) -> tuple[list[str], str] | None:
    """Walls as cells of their own, `[2H + 1][2W + 1]`; None for drawings of another form.

    The first line has the upper walls. A cell of a later line has a floor if there is `_` in it,
    and a wall to its right if a bar follows. A letter in a cell as wide as itself leaves no room
    for a floor: there is none, but at the bottom of the maze.
    """
    top, rows = lines[0], lines[1:]
    if not rows or set(top) - set(" _") or "_" not in top:
        return None
    bars = [i for row in rows for i, c in enumerate(row) if c in UPRIGHT]
    if not bars or any(row.lstrip()[:1] not in tuple(UPRIGHT + "_") for row in rows):
        return None
    left, right = min(bars), max(bars)
    rows = [row.ljust(right + 1) for row in rows]
    top = top.ljust(right + 1)
    gap = _width(top, rows, left, right)
    if not gap:
        return None
    starts = range(left, right, gap)
    ceiling = "+".join(_level(top, i, gap) for i in starts)
    drawn = [f"+{ceiling}+"]
    for number, row in enumerate(rows):
        last = number == len(rows) - 1 and "_" in row
        side = row[left] if row[left] in UPRIGHT else " "
        cells = "".join(_content(row, i, gap) + _wall(row[i + gap]) for i in starts)
        floor = "+".join(_level(row, i, gap, closed=last) for i in starts)
        drawn += [side + cells, f"+{floor}+"]
    return drawn, f"cells {gap} characters wide, floors _ and walls |"


def _width(top: str, rows: list[str], left: int, right: int) -> int:
    """The distance of walls: the widest at which no floor covers part of a cell; 0 if none."""
    distance = math.gcd(
        right - left, *(i - left for row in rows for i, c in enumerate(row) if c in UPRIGHT)
    )
    for gap in range(distance, 1, -1):
        if distance % gap == 0 and all(
            len(set(line[i + 1 : i + gap]) & set(" _")) < 2 or _letter(line[i + 1 : i + gap])
            for line in [top, *rows]
            for i in range(left, right, gap)
        ):
            return gap
    return 0


def _letter(inside: str) -> str:
    return "".join(c for c in inside if c not in " _")


def _content(row: str, i: int, gap: int) -> str:
    return (_letter(row[i + 1 : i + gap]) or " ")[:1]


def _wall(character: str) -> str:
    return character if character in UPRIGHT else " "


def _level(row: str, i: int, gap: int, closed: bool = False) -> str:
    inside = row[i + 1 : i + gap]
    return "-" if "_" in inside or (closed and _letter(inside)) else " "
