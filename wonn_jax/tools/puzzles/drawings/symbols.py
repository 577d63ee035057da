"""What the symbols of a maze mean, decided by all that stands on the board."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from wonn_jax.data import maze
from wonn_jax.tasks.maze import FREE, GOAL, START, WALL
from wonn_jax.tools.puzzles.base import FRAMES
from wonn_jax.tools.puzzles.drawings.ends import Ends, place_of
from wonn_jax.tools.puzzles.drawings.grid import Grid, outermost

WALLS = "#Xx█▓▒■⬛🧱🌲🌳🪨🟫🔲%1Ww▮" + FRAMES
OPEN = " .·_⬜□░0Oo*•🌿🟦🟨🔳c"
STARTS = "SsAa@🟩🟢🚶🏃🐭🐁🐀🤖🧍😀☻☺🧑"
GOALS = "GgEeFfBb🟥🔴🏁🧀🚩⚑🏆⭐🎯🚪💎🏠"
COLOURS = {
    **dict.fromkeys(("dark",), WALL),
    **dict.fromkeys(("light", "yellow", "cyan", "blue", "magenta"), FREE),
    "green": START,
    "red": GOAL,
}
"""Of the cells of a picture."""
_DARKNESS = ["dark", "blue", "magenta", "red", "green", "yellow", "cyan", "light"]
PAIRS = (
    "89",
    "🟥🏁",
    "🔴🏁",
    "@X",
    "@>",
    "BE",
    "PG",
    "PE",
    "PT",
    "ST",
    "SX",
    "SD",
    "^$",
    "23",
    "IO",
    "OX",
    "🔵🔴",
    "🟦🟥",
)
"""Start and goal where these two stand on a board once each and nothing else says where to go."""


OPPOSITES = (("1", "0"), ("⬛", "⬜"), ("■", "□"), ("dark", "light"))
"""Wall and free cell that are as often the other way round."""
SQUARES = set("🟥🟧🟨🟩🟦🟪🟫🔴🟢🔵")
"""Symbols that are start or goal only where they stand alone."""


class Marks(NamedTuple):
    """Symbols whose meaning is given: single characters, or several words between commas.

    `start` and `goal` may be places instead: 'ROW,COLUMN', counted from 0.
    """

    walls: str = ""
    free: str = ""
    start: str = ""
    goal: str = ""


UNMARKED = Marks()


class Reading(NamedTuple):
    """A maze as the network sees it, and how it was read.

    tokens: `[H, W]`: 0 wall, 1 free, 2 start, 3 goal.
    how: a line for people.
    name: of the maze, for messages.
    """

    tokens: np.ndarray
    how: str
    name: str


def interpret(grid: Grid, marks: Marks = UNMARKED) -> Reading:
    """Gives the symbols of a drawing their meaning.

    Raises:
      ValueError: an unknown symbol, a symbol with two given meanings, or a board without exactly
        one start and one goal.
    """
    told = {name: place for name in ("start", "goal") if (place := place_of(getattr(marks, name)))}
    signs = marks._replace(**dict.fromkeys(told, ""))
    meaning = _meanings(grid, signs, set(told))
    for place, symbol in np.ndenumerate(grid.symbols):
        if meaning.get(symbol, -1) < 0:
            raise ValueError(
                f"{grid.name_of(place)}: {symbol!r} is not a cell of a maze. Walls are # X 1 % "
                "█ ■ ⬛ + - |, free cells . 0 O _ □ ⬜ or a space, the start is S, A or @, the "
                "goal G, E, F or B; say what others are, for example "
                f"--walls={symbol} or --free={symbol}."
            )
    notes = [grid.how] * bool(grid.how) + grid.notes
    ends = grid.ends | told
    pair = _opposites(grid, meaning)
    if ends and pair and not any(signs[:2]) and _all_walls(grid, meaning, ends):
        meaning |= {pair[0]: FREE, pair[1]: WALL}
        notes.append(f"{pair[1]} is a wall and {pair[0]} free, since start and goal stand on it")
    tokens = np.vectorize(meaning.__getitem__, otypes=[np.int32])(grid.symbols)
    open_signs = sorted(set(grid.symbols[tokens == FREE].flat))
    if len(open_signs) > 1 and not (tokens == WALL).any() and not any(signs[:2]):
        raise ValueError(
            f"{grid.where}: the maze {grid.begins} has no walls, but free cells {open_signs[0]!r} "
            f"and {open_signs[1]!r}; say which are walls, for example --walls={open_signs[1]}."
        )
    notes += _put(grid, tokens, ends) if ends else []
    notes += _take_openings(tokens)
    _check_ends(grid, tokens)
    if not any(marks) and (path := _drawn_path(grid, tokens, meaning)):
        tokens[grid.symbols == path] = FREE
        meaning = meaning | {path: FREE}
        notes.append(f"{path} is a path drawn from start to goal")
    inverted = pair and not any(signs[:2]) and not ends and _inverted(grid, tokens, *pair)
    if pair and inverted:
        tokens = np.choose(tokens, [FREE, WALL, START, GOAL]).astype(np.int32)
        meaning = meaning | {pair[1]: WALL, pair[0]: FREE}
        notes.append(f"{pair[1]} is a wall and {pair[0]} free, {inverted}")
    return Reading(tokens, _describe(grid, tokens, meaning, notes), grid.name)


def _meanings(grid: Grid, marks: Marks, placed: set[str]) -> dict[str, int]:
    """From symbols to tokens: the usual ones, those that this board suggests, those given."""
    meaning = {
        **dict.fromkeys(WALLS, WALL),
        **dict.fromkeys(OPEN, FREE),
        **dict.fromkeys(STARTS, START),
        **dict.fromkeys(GOALS, GOAL),
        **COLOURS,
    }
    count = Counter(grid.symbols.flat)
    for square in [s for s in SQUARES if count[s] > 1]:
        meaning[square] = FREE if _is_wall_here(count, meaning) else WALL
    meaning |= _colours(count) if grid.pictorial else {}
    ring = _ring(grid.symbols)
    if ring and not grid.pictorial and not _is_wall_here(count, meaning):
        meaning[ring] = WALL  # drawn with a symbol that is free elsewhere
    for wall, free in (*OPPOSITES, _two_colours(count)):
        if set(count) == {wall, free} and ring == free:
            meaning |= {free: WALL, wall: FREE}
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
        words = symbols.split(",")
        for symbol in words if set(words) <= set(count) else symbols:
            if given.setdefault(symbol, token) != token:
                raise ValueError(
                    f"{symbol!r} is given two meanings by --walls, --free, --start and --goal; "
                    "give it one."
                )
    known = set(given.values()) | {{"start": START, "goal": GOAL}[name] for name in placed}
    for token in {START, GOAL} & known:  # the usual signs of a given end are open
        for symbol in [s for s, t in meaning.items() if t == token]:
            meaning[symbol] = FREE
    return meaning | given


def _two_colours(count: Counter[str]) -> tuple[str, str]:
    """The wall and the free cell of a picture with two colours but for start and goal; else ''."""
    found = sorted((s for s, n in count.items() if n > 1 and s in COLOURS), key=_DARKNESS.index)
    return (found[0], found[1]) if len(found) == 2 else ("", "")


def _colours(count: Counter[str]) -> dict[str, int]:
    """What the colours of several cells of a picture mean; unknown are three without dark walls."""
    single = {s for s, n in count.items() if n == 1 and s not in ("dark", "light", "green", "red")}
    unknown = dict.fromkeys(single & set(COLOURS), -1)  # a third cell of its own colour
    wall, free = _two_colours(count)
    if wall:
        return unknown | {wall: WALL, free: FREE}
    several = {s for s, n in count.items() if n > 1 and s in COLOURS}
    if len(several) > 2 and "dark" not in several:
        return unknown | dict.fromkeys(several, -1)
    return unknown | dict.fromkeys(several - {"dark"}, FREE)


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


def _opposites(grid: Grid, meaning: dict[str, int]) -> tuple[str, str] | None:
    """The symbols of walls and of free cells on a board where they may be the other way round."""
    used = {s for s in set(grid.symbols.flat) if meaning[s] in (WALL, FREE)}
    for wall, free in (*OPPOSITES, _two_colours(Counter(grid.symbols.flat))):
        if used == {wall, free} and (meaning[wall], meaning[free]) == (WALL, FREE):
            return wall, free
    return None


def _all_walls(grid: Grid, meaning: dict[str, int], ends: Ends) -> bool:
    """Whether all ends that are given by coordinates stand on walls."""
    inside = [p for p in ends.values() if all(np.less(p, grid.counted.shape))]
    return bool(inside) and all(
        meaning[grid.symbols.flat[grid.counted[place]]] == WALL for place in inside
    )


def _put(grid: Grid, tokens: np.ndarray, ends: Ends) -> list[str]:
    """Puts start and goal where coordinates say.

    Raises:
      ValueError: there is no such cell, it is a wall, or the drawing has that end elsewhere.
    """
    rows, columns = grid.counted.shape
    notes = []
    for name, (row, column) in ends.items():
        token = {"start": START, "goal": GOAL}[name]
        place = f"{grid.name}: the {name} {row},{column} (row, column, counted from 0)"
        option = f"Type --{name}=ROW,COLUMN"
        if row >= rows or column >= columns:
            raise ValueError(
                f"{place} is outside; the rows are 0 to {rows - 1}, the columns 0 to "
                f"{columns - 1}. {option}."
            )
        index = grid.counted[row, column]
        others = tokens == token
        others.flat[index] = False
        if others.any():
            raise ValueError(f"{place} is not where the drawing has it. {option}.")
        if tokens.flat[index] not in (FREE, token):
            kind = "a wall" if tokens.flat[index] == WALL else "the other end"
            raise ValueError(f"{place} is {kind}. {option} of a free cell.")
        tokens.flat[index] = token
        notes.append(f"{name} in row {row}, column {column}")
    notes[-1] += ", counted from 0"
    return notes


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
                    else f"Where other signs stand for it, say which: --{option}=SIGN; or say "
                    f"where it is: --{option}=ROW,COLUMN, counted from 0."
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


def _inverted(grid: Grid, tokens: np.ndarray, wall: str, free: str) -> str:
    """Why wall and free cells are the other way round on a board; '' if they are not.

    Raises:
      ValueError: both have a solution, and neither an outer wall nor the share of free cells that
        can be reached tells the two apart.
    """
    exchanged = np.choose(tokens, [FREE, WALL, START, GOAL])
    if not _solvable(exchanged):
        return ""
    if not _solvable(tokens):
        return "since the free cells are joined only so"
    ring = _ring(grid.symbols)
    if ring == free and outermost(grid.symbols.shape).sum() >= 20:
        return "by the outer wall"
    usual, other = _share_reached(tokens), _share_reached(exchanged)
    if not ring and other > 0.8 and usual < 0.5:
        return "since most free cells are joined only so"
    if ring == free or (not ring and usual < 0.8):
        raise ValueError(
            f"{grid.where}: the maze {grid.begins} can be read in two ways, with walls {wall} or "
            f"with walls {free}: add --walls={wall} --free={free}, or --walls={free} "
            f"--free={wall}."
        )
    return ""


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
    for token, name in ((START, "start"), (GOAL, "goal")):
        if (found := signs(token)) != "none":
            parts[0] += f", {name} {found}"
    return "; ".join([f"{rows}×{columns} cells", *notes, *parts])
