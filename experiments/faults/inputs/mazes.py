"""Bad mazes: text for `solve`, arrays for training."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.inputs.puzzles import no_puzzle, puzzle
from experiments.faults.runs import KINDS

Board = list[str]  # lines of '#', '.', 'S', 'G'


@st.composite
def boards(draw: st.DrawFn, least: int = 3, most: int = 7) -> Board:
    """A maze with a way from start to goal: along its first row and last column."""
    height, width = draw(st.integers(least, most)), draw(st.integers(least, most))
    cells = draw(st.lists(st.sampled_from("#."), min_size=height * width, max_size=height * width))
    board = np.array(cells).reshape(height, width)
    board[0, :] = board[:, -1] = "."
    board[0, 0], board[-1, -1] = "S", "G"
    return ["".join(row) for row in board]


@st.composite
def bad_text(draw: st.DrawFn) -> tuple[str, str]:
    """What is wrong, and the text of a maze."""
    board = draw(boards())
    row, column = draw(st.integers(0, len(board) - 1)), draw(st.integers(0, len(board[0]) - 1))
    fault = draw(
        st.sampled_from(
            ["no start", "no goal", "two starts", "two goals", "walled in", "unknown character"]
            + ["uneven lines", "nothing but walls"]
        )
    )
    text = "\n".join(board)
    if fault == "no start":
        text = text.replace("S", ".")
    elif fault == "no goal":
        text = text.replace("G", "#")
    elif fault == "two starts":
        text = _put(board, 0, 1, "S")
    elif fault == "two goals":
        text = _put(board, len(board) - 1, 0, "G")
    elif fault == "walled in":
        text = text.replace(".", "#")
    elif fault == "unknown character":
        text = _put(board, row, column, draw(st.sampled_from("?%&{}~äЖ漢😀")))
    elif fault == "uneven lines":
        longer = board[row] + draw(st.sampled_from(["#", "##", ".#"]))
        text = "\n".join([*board[:row], longer, *board[row + 1 :]])
    else:
        text = "\n".join("#" * len(x) for x in board)
    return fault, text


def _put(board: Board, row: int, column: int, character: str) -> str:
    line = board[row]
    lines = [*board[:row], line[:column] + character + line[column + 1 :], *board[row + 1 :]]
    return "\n".join(lines)


@st.composite
def text_inputs(draw: st.DrawFn) -> Input:
    """A bad maze, perhaps after good ones, in a file or piped in."""
    fault, text = draw(bad_text())
    before = draw(st.lists(boards().map("\n".join), max_size=2))
    whole = "\n\n".join([*before, text]) + draw(st.sampled_from(["", "\n"]))
    return puzzle(draw, "maze", fault, whole)


def inputs() -> st.SearchStrategy[Input]:
    return text_inputs() | no_puzzle("maze") | array_inputs()


@st.composite
def array_inputs(draw: st.DrawFn) -> Input:
    """Training on arrays of the published layout, one of which is bad."""
    split, kind = (
        draw(st.sampled_from(["train", "test"])),
        draw(st.sampled_from(["inputs", "labels"])),
    )
    file = f"mazes/{split}/all__{kind}.npy"
    good = np.ones((40 if split == "train" else 16, 25), np.uint8)
    faults: dict[str, st.SearchStrategy[Content]] = {
        "another kind of file": damage.whole_or_gone(),
        "cut off": damage.cut(damage.npy(good)),
        "lies about its size": st.just(damage.lying_npy()),
        "codes of nothing": st.integers(6, 255).map(lambda x: damage.npy(good * np.uint8(x))),
        "no start": st.just(damage.npy(good * np.uint8(2))),
    }
    faults |= {name: st.just(damage.npy(x)) for name, x in damage.ODD_ARRAYS.items()}
    fault = draw(st.sampled_from(list(faults)))
    return Input(
        f"arrays: {fault}",
        "wonn_jax.main",
        tuple(KINDS["mazes"].flags(Path(HERE, "mazes"), Path(HERE, "new"))),
        ("mazes",),
        {"mazes": "mazes"},
        {file: draw(faults[fault])},
    )
