"""Mazes in half blocks, of which each stands for two cells, one above the other."""

HALVES = set("▀▄")
_CELLS = {"█": "##", "▀": "# ", "▄": " #", " ": "  "}


def upper_and_lower(lines: list[str], where: str) -> list[str]:
    """The rows of walls # and spaces, without the free half row below an odd number of rows.

    Raises:
      ValueError: another character, which stands for two cells.
    """
    width = max(map(len, lines))
    if others := sorted(set("".join(lines)) - set(_CELLS)):
        raise ValueError(
            f"{where} has half blocks and {others[0]!r}, which stands for two cells. Leave it out "
            "and type --start=ROW,COLUMN --goal=ROW,COLUMN, counted from 0."
        )
    rows = [
        "".join(_CELLS[c][half] for c in line.ljust(width)) for line in lines for half in (0, 1)
    ]
    outer = rows[-2].count("#") > width / 2 and not rows[-1].strip()
    return rows[:-1] if outer else rows
