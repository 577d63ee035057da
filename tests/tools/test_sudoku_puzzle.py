"""Sudokus: read from text, judged by search, shown, drawn, and as frames of the report."""

import numpy as np
import pytest

from wonn_jax.tasks.pictures import new_figure
from wonn_jax.tools.puzzles import PUZZLES
from wonn_jax.tools.puzzles import sudoku as puzzle

GIVEN = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"


@pytest.mark.parametrize(
    "text",
    [
        GIVEN,
        "# a comment\n" + GIVEN.replace(".", "0"),
        "\n".join(GIVEN[i : i + 9] for i in range(0, 81, 9)),
        "\n".join(" ".join(GIVEN[i : i + 9].replace(".", "_")) for i in range(0, 81, 9)),
    ],
)
def test_one_sudoku_written_in_many_ways(text):
    (found,) = puzzle.read_sudokus(text, "")
    assert "".join(map(str, found.ravel())) == GIVEN.replace(".", "0")


def test_a_shown_sudoku_reads_back():
    (board,) = puzzle.read_sudokus(GIVEN, "")
    (again,) = puzzle.read_sudokus(puzzle.show_sudoku(board, board, False), "")
    np.testing.assert_array_equal(board, again)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 cells"),
        (GIVEN[:-1], "80 cells"),
        (GIVEN.replace("7", "q", 1), "column 5: 'q'"),
        (
            "55" + GIVEN[2:],
            "5 occurs 2 times in row 1 .*row 1 column 1 and row 1 column 2.*Required",
        ),
    ],
)
def test_malformed_sudokus_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        puzzle.read_sudokus(text, "board.txt")


def test_judging_a_sudoku():
    given, solved = puzzle.read_sudokus(GIVEN + "\n" + SOLVED, "")
    assert puzzle.judge_sudoku(given, solved)[:2] == (True, 1)
    assert "blank" in puzzle.judge_sudoku(given, given).reason
    wrong = solved.copy()
    wrong[0, [2, 3]] = wrong[0, [3, 2]]
    assert "column" in puzzle.judge_sudoku(given, wrong).reason
    wrong = solved.T.copy()
    assert "given" in puzzle.judge_sudoku(given, wrong).reason
    assert puzzle.judge_sudoku(np.zeros((9, 9), int), solved).completions == 2


def test_verdicts_for_people():
    kind = PUZZLES["sudoku"]
    given, solved = kind.read(GIVEN + "\n" + SOLVED, "")
    right, text = kind.judge(given, solved - 1)
    assert right and "the only one" in text
    # Given digits stay, whatever is predicted for their cells.
    assert kind.judge(given, np.where(given > 0, 0, solved - 1)).solved
    wrong = np.zeros_like(given)
    assert not kind.judge(given, wrong).solved
    assert "occurs" in kind.judge(given, wrong).text
    kind.check_solvable(given, "sudoku 1 of 1")
    impossible = given.copy()
    impossible[0, 2:4] = 1, 2  # consistent so far, but no completion
    impossible[1, 1] = 0
    impossible[0, 5] = 4
    with pytest.raises(ValueError, match="sudoku 1 of 1 has no solution.*Required: .*Compare"):
        kind.check_solvable(impossible, "sudoku 1 of 1")


def colours(axes) -> dict[str, int]:
    """How many digits are drawn in each colour."""
    found = [text.get_color() for text in axes.texts]
    return {colour: found.count(colour) for colour in set(found)}


def test_colours_of_drawn_digits():
    kind = PUZZLES["sudoku"]
    given, solved = kind.read(GIVEN + "\n" + SOLVED, "")
    black, blue, red = "#1b1b1b", "#3d7eff", "#d7263d"
    axes = new_figure(2, 2).subplots(1, 4)
    kind.draw(axes[0], given, None, solved - 1)
    assert colours(axes[0]) == {black: 30}
    chances = np.eye(9)[solved - 1]
    blank = np.argwhere(given == 0)[0]
    digit = solved[tuple(blank)]
    chances[tuple(blank)] = np.eye(9)[digit % 9]  # another digit
    kind.draw_step(axes[1], given, chances, solved - 1)
    assert colours(axes[1]) == {black: 30, blue: 50, red: 1}
    # Without the label, all digits that contradict each other are red.
    kind.draw_step(axes[2], given, chances)
    assert colours(axes[2])[red] > 1
    kind.draw_step(axes[3], given, np.eye(9)[solved - 1])
    assert colours(axes[3]) == {black: 30, blue: 51}


def test_frames_are_digits():
    given, solved = puzzle.read_sudokus(GIVEN + "\n" + SOLVED, "")
    data = PUZZLES["sudoku"].frames(given, solved - 1, np.zeros((2, 9, 9, 9)))
    np.testing.assert_array_equal(data["target"], solved)
    np.testing.assert_array_equal(data["frames"][1], np.where(given > 0, given, 1))
