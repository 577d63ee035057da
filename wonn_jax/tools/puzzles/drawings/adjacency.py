"""Mazes as lists of joined cells, the tokens of the package maze-dataset."""

import re

_BEGIN = "<ADJLIST_START>"
_CELL = r"\(\s*(\d+)\s*,\s*(\d+)\s*\)"


def joined_cells(text: str) -> list[list[str]]:
    """The mazes of a text of tokens, each rows `[2H + 1][2W + 1]`; none for another text.

    `(0,0) <--> (0,1)` joins two cells, row before column, counted from 0;
    `<ORIGIN_START>` and `<TARGET_START>` come before start and goal. The tokens may be strings of
    a list.
    """
    plain = re.sub(r"""["'],?\s*["']|["']""", " ", text)
    boards = [_board(part) for part in plain.split(_BEGIN)]
    return [board for board in boards if board]


def _board(text: str) -> list[str]:
    joined = [tuple(map(int, x)) for x in re.findall(rf"{_CELL}\s*<-->\s*{_CELL}", text)]
    start = re.search(rf"<ORIGIN_START>\s*{_CELL}", text)
    goal = re.search(rf"<TARGET_START>\s*{_CELL}", text)
    if not (joined and start and goal):
        return []
    places = [tuple(map(int, found)) for found in re.findall(_CELL, text)]
    height, width = (max(axis) + 1 for axis in zip(*places, strict=True))
    board = [["#"] * (2 * width + 1) for _ in range(2 * height + 1)]
    for row, column in places:
        board[2 * row + 1][2 * column + 1] = "."
    for r0, c0, r1, c1 in joined:
        board[r0 + r1 + 1][c0 + c1 + 1] = "."
    for found, letter in ((start, "S"), (goal, "G")):
        board[2 * int(found[1]) + 1][2 * int(found[2]) + 1] = letter
    return ["".join(row) for row in board]
