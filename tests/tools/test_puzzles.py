"""Puzzles from text, and what a search says of answers."""

import numpy as np
import pytest

from wonn_jax.data import maze
from wonn_jax.tools import puzzles

PLAIN = "#####\n#S  #\n# # #\n# #G#\n#####\n"
TOKENS = [[0, 0, 0, 0, 0], [0, 2, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 0, 3, 0], [0, 0, 0, 0, 0]]
SAME = {
    "hashes": PLAIN,
    "dots, carriage returns": PLAIN.replace(" ", ".").replace("\n", "\r\n"),
    "blocks": PLAIN.replace("#", "█").replace("G", "E"),
    "doubled": "".join(
        2 * c if c not in "SG\n" else {"S": "S ", "G": " G"}.get(c, c) for c in PLAIN
    ),
    "emoji": PLAIN.translate({35: "⬛\ufe0f", 32: "⬜", 83: "🟥", 71: "🟩"}),
    "zeros and ones": PLAIN.translate({35: "1", 32: "0"}),
    "commas": "\n".join(",".join(row) for row in PLAIN.translate({32: "0", 35: "1"}).split()),
    "spaced": "\n".join(" ".join(row) for row in PLAIN.replace(" ", ".").split()),
    "thin lines": "+---+---+\n| S     |\n+   +   +\n|   | G |\n+---+---+\n",
    "box drawing": "┌───────┐\n│ S     │\n│   ╷   │\n│   │ G │\n└───┴───┘\n".replace("╷", "│"),
    "a path drawn": "#####\n#Soo#\n# #o#\n# #G#\n#####\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_one_maze_drawn_in_many_ways(text):
    (found,) = puzzles.read_mazes(text, "maze.txt")
    np.testing.assert_array_equal(found, TOKENS)


def test_an_open_maze_is_not_halved():
    assert puzzles.read_mazes("S...\n....\n..G.\n", "")[0].shape == (3, 4)
    assert puzzles.read_mazes("S.....\n##..##\n....G.\n..##..\n", "")[0].shape == (4, 6)


def test_several_mazes_of_several_sizes():
    found = puzzles.read_mazes("S.G\n\n\n" + PLAIN + "\n", "maze.txt")
    assert [x.shape for x in found] == [(1, 3), (5, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no maze"),
        ("S..\n..\nG..\n", "line 2 has 2 characters, but line 1 has 3"),
        ("S?G\n", r"line 1, column 2: '\?' is no part"),
        ("S..\n...\n", "no goal"),
        ("...\n..G\n", "no start"),
        ("S.S\n..G\n", "2 start .*row 1 column 1, row 1 column 3"),
    ],
)
def test_what_is_no_maze(text, message):
    with pytest.raises(ValueError, match=rf"maze.txt.*{message}"):
        puzzles.read_mazes(text, "maze.txt")


def test_the_search_agrees_with_the_data():
    inputs, labels = maze.generate(20, 9, 9, min_path=5, seed=3)
    for board, label in zip(inputs.reshape(-1, 9, 9), labels.reshape(-1, 9, 9), strict=True):
        tokens = board.astype(int) - 1
        verdict = puzzles.judge_maze(tokens, label == 5)
        assert verdict.shortest and verdict.moves == (label == 5).sum() + 1


def test_judging_a_maze():
    tokens = np.array(puzzles.read_mazes("S...\n.##.\n...G\n", "")[0])
    marked = np.zeros_like(tokens, bool)
    assert not puzzles.judge_maze(tokens, marked).valid
    marked[0, 1:] = marked[1, 3] = True
    assert puzzles.judge_maze(tokens, marked) == (
        True,
        True,
        5,
        5,
        "5 moves, as few as there can be",
    )
    marked[1, 0] = True
    verdict = puzzles.judge_maze(tokens, marked)
    assert verdict.valid and not verdict.shortest and "1 cells beside" in verdict.reason
    marked[1, 1] = True
    assert "wall, at row 2 column 2" in puzzles.judge_maze(tokens, marked).reason
    tokens = puzzles.read_mazes("S.G\n.#.\n...\n", "")[0]
    around = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1]], bool)
    assert "6 moves where 2 are enough" in puzzles.judge_maze(tokens, around).reason


def test_an_unsolvable_maze():
    found = puzzles.search_maze(puzzles.read_mazes("S.#.\n..#G\n", "")[0])
    assert found.moves == -1 and found.reached.sum() == 4


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
    (found,) = puzzles.read_sudokus(text, "")
    assert "".join(map(str, found.ravel())) == GIVEN.replace(".", "0")


def test_a_shown_sudoku_reads_back():
    (board,) = puzzles.read_sudokus(GIVEN, "")
    (again,) = puzzles.read_sudokus(puzzles.show_sudoku(board, board, False), "")
    np.testing.assert_array_equal(board, again)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 cells"),
        (GIVEN[:-1], "80 cells"),
        (GIVEN.replace("7", "q", 1), "column 5: 'q'"),
        ("55" + GIVEN[2:], "2 times 5 in row 1 .*row 1 column 1 and row 1 column 2"),
    ],
)
def test_what_is_no_sudoku(text, message):
    with pytest.raises(ValueError, match=message):
        puzzles.read_sudokus(text, "board.txt")


def test_judging_a_sudoku():
    given, solved = puzzles.read_sudokus(GIVEN + "\n" + SOLVED, "")
    assert puzzles.judge_sudoku(given, solved)[:2] == (True, 1)
    assert "blank" in puzzles.judge_sudoku(given, given).reason
    wrong = solved.copy()
    wrong[0, [2, 3]] = wrong[0, [3, 2]]
    assert "column" in puzzles.judge_sudoku(given, wrong).reason
    wrong = solved.T.copy()
    assert "given" in puzzles.judge_sudoku(given, wrong).reason
    assert puzzles.judge_sudoku(np.zeros((9, 9), int), solved).completions == 2


def test_a_shown_maze():
    (tokens,) = puzzles.read_mazes("S.#\n..G\n", "")
    marked = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert puzzles.show_maze(tokens, marked, False) == "S ··!!\n  ··G "
    assert "\x1b[48;2;142;68;173" in puzzles.show_maze(tokens, marked, True)
