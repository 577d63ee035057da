"""What the symbols of a maze mean, decided by all that stands on the board."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from wonn_jax.data import maze
from wonn_jax.tasks.maze import FREE, GOAL, START, WALL
from wonn_jax.tools.puzzles.base import FRAMES
from wonn_jax.tools.puzzles.drawings.grid import Grid, outermost

WALLS = "#Xx█▓▒■⬛🧱🌲🌳🪨🟫🔲%1Ww▮" + FRAMES
OPEN = " .·_⬜□░0Oo*•🌿🟦🟨🔳"
STARTS = "SsAa@🟥🔴🚶🏃🐭🐁🐀🤖🧍😀☻☺🧑"
GOALS = "GgEeFfBb🟩🟢🏁🧀🚩⚑🏆⭐🎯🚪💎🏠"
PAIRS = ("@X", "@>", "BE", "PG", "PE", "PT", "ST", "SX", "SD", "^$", "23", "IO", "🟢🔴", "🟩🟥")
"""Start and goal where these two stand on a board once each and nothing else says where to go."""


class Marks(NamedTuple):
    """Symbols whose meaning is given, each a string of single characters."""

    walls: str = ""
    free: str = ""
    start: str = ""
    goal: str = ""


UNMARKED = Marks()


class Reading(NamedTuple):
    """A maze as the network sees it, and how it was read.

    tokens: `[H, W]`: 0 wall, 1 free, 2 start, 3 goal.
    how: a line for people.
    """

    tokens: np.ndarray
    how: str


def interpret(grid: Grid, marks: Marks = UNMARKED) -> Reading:
    """Gives the symbols of a drawing their meaning.

    Raises:
      ValueError: an unknown symbol, a symbol with two given meanings, or a board without exactly
        one start and one goal.
    """
    meaning = _meanings(grid, marks)
    for place, symbol in np.ndenumerate(grid.symbols):
        if symbol not in meaning:
            raise ValueError(
                f"{grid.name_of(place)}: {symbol!r} is not a cell of a maze. Walls are # X 1 % "
                "█ ■ ⬛ + - |, free cells . 0 O _ □ ⬜ or a space, the start is S, A or @, the "
                "goal G, E, F or B; say what others are, for example "
                f"--walls={symbol} or --free={symbol}."
            )
    tokens = np.vectorize(meaning.__getitem__, otypes=[np.int32])(grid.symbols)
    notes = [grid.how] * bool(grid.how) + grid.notes
    notes += _take_openings(tokens)
    _check_ends(grid, tokens)
    if not any(marks) and (path := _drawn_path(grid, tokens, meaning)):
        tokens[grid.symbols == path] = FREE
        meaning = meaning | {path: FREE}
        notes.append(f"{path} is a path drawn from start to goal")
    if not any(marks) and meaning["1"] == WALL and (inverse := _inverted(grid, tokens)) is not None:
        tokens, meaning = inverse, meaning | {"0": WALL, "1": FREE}
        notes.append("0 is a wall and 1 free, since the free cells are joined only so")
    return Reading(tokens, _describe(grid, tokens, meaning, notes))


def _meanings(grid: Grid, marks: Marks) -> dict[str, int]:
    """From symbols to tokens: the usual ones, those that this board suggests, those given."""
    meaning = {
        **dict.fromkeys(WALLS, WALL),
        **dict.fromkeys(OPEN, FREE),
        **dict.fromkeys(STARTS, START),
        **dict.fromkeys(GOALS, GOAL),
    }
    count = Counter(grid.symbols.flat)
    if not _is_wall_here(count, meaning) and (ring := _ring(grid.symbols)):
        meaning[ring] = WALL  # drawn with a symbol that is free elsewhere
    if set(count) == {"0", "1"} and _ring(grid.symbols) == "0":
        meaning |= {"0": WALL, "1": FREE}
    if count["-1"] and count["1"] == count["2"] == 1:
        meaning |= {"-1": WALL, "0": FREE, "1": START, "2": GOAL}
    meaning["-1"] = WALL
    once = {symbol.upper() for symbol, n in count.items() if n == 1}
    ends = {meaning.get(symbol) for symbol in count if count[symbol] == 1} & {START, GOAL}
    alone = len([s for s in count if meaning.get(s) in (START, GOAL)]) != 2 or len(ends) != 2
    for start, goal in map(tuple, PAIRS) if alone else ():
        if {start, goal} <= once and _others_free(count, meaning, start, goal):
            meaning |= {start: START, start.lower(): START, goal: GOAL, goal.lower(): GOAL}
            break
    given: dict[str, int] = {}
    for symbols, token in zip(marks, (WALL, FREE, START, GOAL), strict=True):
        for symbol in symbols:
            if given.setdefault(symbol, token) != token:
                raise ValueError(
                    f"{symbol!r} is given two meanings by --walls, --free, --start and --goal; "
                    "give it one."
                )
    for token in {START, GOAL} & set(given.values()):  # the usual signs of a given end are open
        for symbol in [s for s, t in meaning.items() if t == token]:
            meaning[symbol] = FREE
    return meaning | given


def _is_wall_here(count: Counter[str], meaning: dict[str, int]) -> bool:
    return any(meaning.get(symbol) == WALL and n > 1 for symbol, n in count.items())


def _ring(symbols: np.ndarray) -> str:
    """The symbol that the outermost cells are, but for a few; '' if there is no such one."""
    if min(symbols.shape) < 3:
        return ""
    edge = outermost(symbols.shape)
    symbol, n = Counter(symbols[edge]).most_common(1)[0]
    inside = symbols[1:-1, 1:-1]
    around = n >= edge.sum() - 2 and (inside != symbol).any()
    return symbol if symbol not in " .·" and around else ""


def _others_free(count: Counter[str], meaning: dict[str, int], *ends: str) -> bool:
    """Whether no third symbol would be a start or a goal."""
    mine = {x for end in ends for x in (end, end.lower())}
    return not any(meaning.get(s) in (START, GOAL) and s not in mine for s in count)


def _take_openings(tokens: np.ndarray) -> list[str]:
    """Makes openings of an outer wall what is missing of start and goal, if they are as many."""
    missing = [token for token in (START, GOAL) if not (tokens == token).any()]
    openings = np.argwhere(outermost(tokens.shape) & (tokens == FREE))
    if not missing or len(openings) != len(missing) or min(tokens.shape) < 3:
        return []
    for token, place in zip(missing, openings, strict=True):
        tokens[tuple(place)] = token
    if len(missing) == 2:
        return ["start and goal at the two openings of the outer wall"]
    return [f"the {'start' if missing == [START] else 'goal'} at the opening of the outer wall"]


def _check_ends(grid: Grid, tokens: np.ndarray) -> None:
    for token, name, option in ((START, "start (S)", "start"), (GOAL, "goal (G)", "goal")):
        places = np.argwhere(tokens == token)
        if len(places) != 1:
            found = ", ".join(f"row {r + 1} column {c + 1}" for r, c in places[:4])
            raise ValueError(
                f"{grid.where}: the maze {grid.begins} has {len(places) or 'no'} "
                f"{name}{': ' + found if found else ''}; it must have one. "
                + (
                    "In a picture they are the green and the red cell, or the two openings of the "
                    f"outer wall; this one was read as {tokens.shape[0]}×{tokens.shape[1]} cells."
                    if grid.pictorial
                    else f"Where other signs stand for it, say which: --{option}=SIGN."
                )
            )


def _drawn_path(grid: Grid, tokens: np.ndarray, meaning: dict[str, int]) -> str:
    """The sign, otherwise of walls, that joins start and goal between other walls; '' if none."""
    if _solvable(tokens):
        return ""
    walls = {s for s in set(grid.symbols.flat) if meaning[s] == WALL}
    for symbol in sorted(walls & set("Xx+")) if len(walls) > 1 else ():
        if _solvable(np.where(grid.symbols == symbol, FREE, tokens)):
            return symbol
    return ""


def _inverted(grid: Grid, tokens: np.ndarray) -> np.ndarray | None:
    """The maze with 0 and 1 exchanged, where only so its free cells are joined; None otherwise.

    Raises:
      ValueError: both have a solution, and neither an outer wall of 1 nor the share of free cells
        that can be reached tells the two apart.
    """
    if set(grid.symbols[(tokens == WALL) | (tokens == FREE)].flat) != {"0", "1"}:
        return None
    exchanged = np.choose(tokens, [FREE, WALL, START, GOAL]).astype(np.int32)
    if not _solvable(exchanged):
        return None
    if not _solvable(tokens):
        return exchanged
    ring = _ring(grid.symbols)
    usual, other = _share_reached(tokens), _share_reached(exchanged)
    if not ring and other > 0.8 and usual < 0.5:
        return exchanged
    if ring == "0" or (not ring and usual < 0.8):
        raise ValueError(
            f"{grid.where}: the maze {grid.begins} can be read in two ways, with walls 1 or with "
            "walls 0: add --walls=1 --free=0, or --walls=0 --free=1."
        )
    return None


def _share_reached(tokens: np.ndarray) -> float:
    """The share of the open cells that can be reached from the start."""
    return float(_reached(tokens).sum() / (tokens != WALL).sum())


def _solvable(tokens: np.ndarray) -> bool:
    return bool(_reached(tokens)[tokens == GOAL].all())


def _reached(tokens: np.ndarray) -> np.ndarray:
    """The cells that can be reached from the start: booleans `[H, W]`."""
    return maze.distances((tokens != WALL)[None], (tokens == START)[None])[0] >= 0


def _describe(grid: Grid, tokens: np.ndarray, meaning: dict[str, int], notes: list[str]) -> str:
    """'5×7 cells; walls # +, free . and space, start S, goal G'."""
    rows, columns = tokens.shape
    present = sorted(set(grid.symbols.flat))

    def signs(token: int) -> str:
        found = ["space" if s.isspace() else s for s in present if meaning[s] == token]
        return " ".join(found[:8]) or "none"

    parts = [f"walls {signs(WALL)}, free {signs(FREE)}"]
    if not any("openings" in note for note in notes):
        parts[0] += f", start {signs(START)}, goal {signs(GOAL)}"
    return "; ".join([f"{rows}×{columns} cells", *notes, *parts])
