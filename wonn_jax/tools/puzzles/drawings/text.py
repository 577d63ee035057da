"""The mazes of a text, in whatever form it has them."""

import re

from wonn_jax.tools.puzzles.drawings.adjacency import joined_cells
from wonn_jax.tools.puzzles.drawings.cells import read_drawing
from wonn_jax.tools.puzzles.drawings.ends import Place, ends_in, shared
from wonn_jax.tools.puzzles.drawings.grid import Grid, array_of
from wonn_jax.tools.puzzles.drawings.lines import Line, blocks, numbered_lines
from wonn_jax.tools.puzzles.drawings.lists import escaped, grids_of, literals
from wonn_jax.tools.puzzles.drawings.symbols import UNMARKED, Marks, Reading, interpret

_OPEN = set(".·0_⬜□Oo🌿")
"""Signs of free cells other than spaces."""


def read_text(text: str, where: str, marks: Marks = UNMARKED) -> list[Reading]:
    """The mazes of a text: drawings with empty lines between them, lists of lists, joined cells.

    Args:
      text: with start and goal in the drawings, or as coordinates beside them.
      where: name of the text, for messages.
      marks: symbols whose meaning is known.

    Raises:
      ValueError: none, rows of different lengths, or as from `interpret`.
    """
    if tokens := joined_cells(text):
        how = "a list of joined cells"
        return [interpret(Grid(array_of(x), where, how=how, thin=True), marks) for x in tokens]
    if re.search(r"\x1b\[(?:\d+;)*(?:7|4\d|10\d)(?:;\d+)*m", text):
        raise ValueError(
            f"{where} has colours of a terminal behind its cells, which are not read; write it "
            "without them, with # for walls."
        )
    text = re.sub(r"\r\n?", "\n", text)
    places, rest = ends_in(text)
    if nested := literals(text):
        return _interpreted([grid for x in nested for grid in grids_of(x, where)], places, marks)
    if strings := escaped(text):
        rest = "\n\n".join(strings)
    return _read_drawings(*blocks(numbered_lines(rest)), where, places, marks)


def _read_drawings(
    groups: list[list[Line]],
    captions: list[str],
    where: str,
    places: dict[str, list[Place]],
    marks: Marks,
) -> list[Reading]:
    """The mazes of groups of lines, or the one that has empty lines between its rows."""
    if not groups:
        raise ValueError(
            f"{where} holds no maze. A maze is drawn with walls # and free cells . or spaces, with "
            "a start S and a goal G."
        )
    notes = [f"without the words {captions[0]!r}"] if captions else []

    def read(groups: list[list[Line]]) -> list[Reading]:
        grids = [read_drawing(group, where) for group in groups]
        grids[0].notes += notes
        return _interpreted(grids, places, marks)

    try:
        return read(groups)
    except ValueError as error:
        if len(groups) == 1:
            raise
        try:
            if _spread(groups):
                notes.append("without the empty lines between its rows")
                return read([[line for group in groups for line in group]])
        except ValueError:
            pass
        raise ValueError(f"{error} Empty lines separate mazes; remove those within one.") from error


def _interpreted(grids: list[Grid], places: dict[str, list[Place]], marks: Marks) -> list[Reading]:
    for grid, ends in zip(grids, shared(places, len(grids), grids[0].where), strict=True):
        grid.ends = ends
    return [interpret(grid, marks) for grid in grids]


def _spread(groups: list[list[Line]]) -> bool:
    """Whether groups of lines can be one maze with empty lines between its rows.

    Where free cells are spaces, an empty line may be a row of them, unless there is one after
    every row.
    """
    texts = [line.text for group in groups for line in group]
    regular = all(len(group) == 1 for group in groups) and len(groups) > 3
    return regular or bool(_OPEN & set("".join(texts)) and " " not in "".join(texts).strip())
