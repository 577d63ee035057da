"""Mazes: read from text, judged by search, shown, drawn, and as frames of the report."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from wonn_jax.data import maze
from wonn_jax.tasks.maze import FREE, PATH, START
from wonn_jax.tasks.pictures import new_figure
from wonn_jax.tools.puzzles import PUZZLES
from wonn_jax.tools.puzzles import maze as puzzle
from wonn_jax.tools.puzzles.drawings import pictures

PLAIN = "#####\n#S  #\n# # #\n# #G#\n#####\n"
TOKENS = [[0, 0, 0, 0, 0], [0, 2, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 0, 3, 0], [0, 0, 0, 0, 0]]
SAME = {
    "hashes": PLAIN,
    "dots, carriage returns": PLAIN.replace(" ", ".").replace("\n", "\r\n"),
    "blocks": PLAIN.replace("#", "█").replace("G", "E"),
    "doubled": "".join(
        2 * c if c not in "SG\n" else {"S": "S ", "G": " G"}.get(c, c) for c in PLAIN
    ),
    "emoji": PLAIN.translate({35: "⬛\ufe0f", 32: "⬜", 83: "🟩", 71: "🟥"}),
    "zeros and ones": PLAIN.translate({35: "1", 32: "0"}),
    "commas": "\n".join(",".join(row) for row in PLAIN.translate({32: "0", 35: "1"}).split()),
    "spaced": "\n".join(" ".join(row) for row in PLAIN.replace(" ", ".").split()),
    "thin lines": "+---+---+\n| S     |\n+   +   +\n|   | G |\n+---+---+\n",
    "box drawing": "┌───────┐\n│ S     │\n│   ╷   │\n│   │ G │\n└───┴───┘\n".replace("╷", "│"),
    "a path drawn": "#####\n#Soo#\n# #o#\n# #G#\n#####\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_one_maze_drawn_in_many_ways(text):
    (found,) = puzzle.read_mazes(text, "maze.txt")
    np.testing.assert_array_equal(found, TOKENS)


MOVES = {  # of the shortest path, and the shape
    "a frame": ("+-----+\n|s #  |\n|  # e|\n|     |\n+-----+\n", 7, (5, 7)),
    "a box": ("╔═════╗\n║s #  ║\n║  # e║\n║     ║\n╚═════╝\n", 7, (5, 7)),
    "tabs": ("S\t.\t.\n#\t#\t.\nG\t.\t.\n", 6, (3, 3)),
    "empty cells of a spreadsheet": ("S\t\t\n#\t#\t\nG\t\t\n", 6, (3, 3)),
    "semicolons": ("S;0;0;\n1;1;0;\nG;0;0;\n", 6, (3, 3)),
    "pairs by chance": ("S.##..\n..##..\n....G.\n", 6, (3, 6)),
    "walls X, from B to E": ("XXXXX\nXBOOX\nXXXOX\nXEOOX\nXXXXX\n", 6, (5, 5)),
    "walls *": ("*****\n*S  *\n* * *\n*  E*\n*****\n", 4, (5, 5)),
    "from @ to X": ("#####\n#@..#\n##.X#\n#####\n", 3, (4, 5)),
    "from P to G": ("%%%%%\n%P .%\n% %G%\n%%%%%\n", 3, (4, 5)),
    "openings": ("#.###\n#...#\n###.#\n###.#\n", 5, (4, 5)),
    "openings of thin walls": (
        "+   +---+\n|   |   |\n+   +   +\n|       |\n+---+   +\n",
        6,
        (5, 5),
    ),
    "open lines": ("┌───┬───┐\n│ S │   │\n│   ╵   │\n│     G │\n└───────┘\n", 4, (5, 5)),
    "a Markdown table": ("| S | . | # |\n|---|---|---|\n| # | . | G |\n", 3, (2, 3)),
    "a block of code": ("```\nS.#\n#.G\n```\n", 3, (2, 3)),
    "JSON": ('[["S", ".", "#"], ["#", ".", "G"]]', 3, (2, 3)),
    "Python": ("maze = [[2, 0, 1],\n        [1, 0, 3]]\n", 3, (2, 3)),
    "NumPy": ("[[2 0 1]\n [1 0 3]]\n", 3, (2, 3)),
    "spaces cut off": ("#####\n#S  #\n# #\n#  G\n#####\n", 4, (5, 5)),
    "indented": ("    #####\n    #S G#\n    #####\n", 2, (3, 5)),
    "0 is the wall": ("0S0\n111\n0G0\n", 2, (3, 3)),
    "doubled blocks": ("██████████\n██S     ██\n██  ██G ██\n██████████\n", 3, (4, 5)),
    "floors": (" _____\n|S _  |\n|_    |\n|___|G|\n", 8, (7, 7)),
    "wide floors, openings": ("    ______\n|  |__   |\n|__    __|\n|__|__   |\n", 10, (7, 7)),
    "a start and an opening": ("#####\n#S  #\n### #\n### #\n", 4, (4, 5)),
    "start 1, goal 2": ("[[-1,-1,-1],[1,0,2],[-1,-1,-1]]", 2, (3, 3)),
    "mostly 1": ("S010111\n1101101\n0111101\n110111G\n", 9, (4, 7)),
    "mostly 0": ("S000100\n0100010\n0001000\n010000G\n", 9, (4, 7)),
    "joined cells": (
        "<ADJLIST_START> (0,0) <--> (0,1) ; (0,1) <--> (1,1) ; (1,1) <--> (1,0) ; <ADJLIST_END> "
        "<ORIGIN_START> (0,0) <ORIGIN_END> <TARGET_START> (1,0) <TARGET_END> <PATH_START> (0,0) "
        "(0,1) (1,1) (1,0) <PATH_END>\n",
        6,
        (5, 5),
    ),
    "a drawn path": ("#####\n#SXX#\n###X#\n#EXX#\n#####\n", 6, (5, 5)),
    "lines of code": ('"####",\n"#S.#",\n"#.G#",\n"####"\n', 2, (4, 4)),
    "C": ("int maze[3][3] = {\n {2,0,0},\n {1,1,0},\n {3,0,0}\n};\n", 6, (3, 3)),
    "JavaScript": ("const maze = [\n  [1,1,1,1],\n  [1,2,3,1], // row\n];\n", 1, (2, 4)),
    "a size above": ("3 4\nS..#\n.#..\n..#G\n", 5, (3, 4)),
    "words around": ("Example maze\n\n####\n#SG#\n####\n\nSome words follow.\n", 1, (3, 4)),
    "a chessboard": ("  abcd\n1 ####\n2 #SG#\n3 ####\n", 1, (3, 4)),
    "numbers above": ("   0 1 2 3\n0  # # # #\n1  # S G #\n2  # # # #\n", 1, (3, 4)),
    "aligned numbers": ("  1   1   1\n  2   0   3\n  1   1   1\n", 2, (3, 3)),
    "emoji": ("🌲🌲🌲\n🚶🌿🏁\n🌲🌲🌲\n", 2, (3, 3)),
    "a quotation": ("> ####\n> #SG#\n> ####\n", 1, (3, 4)),
    "corridors of two": ("+--+--+--+\n|S    |  |\n+  +  +  +\n|  |    G|\n+--+--+--+\n", 6, (5, 7)),
    "a ruled table": ("+---+---+\n| S | # |\n+---+---+\n| . | G |\n+---+---+\n", 2, (2, 2)),
    "bars between": ("S|.|#\n-+-+-\n.|.|G\n", 3, (2, 3)),
    "a frame, spaces": ("+-------+\n| S . # |\n| . . G |\n+-------+\n", 3, (4, 5)),
    "full width": ("＃＃＃＃＃\n＃Ｓ　Ｇ＃\n＃＃＃＃＃\n", 2, (3, 5)),
    "a map of Moving AI": (
        "type octile\nheight 3\nwidth 4\nmap\n@@@@\n@SG@\n@@@@\n",
        1,
        (3, 4),
    ),
    "one line each": ("#####\n\n#S..#\n\n#..G#\n\n#####\n", 3, (4, 5)),
    "an empty line inside": ("S.#.\n...#\n\n#..G\n", 5, (3, 4)),
    "floats": ("1.0 1.0 1.0\n2.0 0.0 3.0\n", 2, (2, 3)),
    "numpy.savetxt": ("2.000e+00 0.000e+00\n1.000e+00 3.000e+00\n", 2, (2, 2)),
    "words of truth, places": ("True,False\nFalse,False\nstart 0 1\ngoal 1 0\n", 2, (2, 2)),
    "a table of pandas": (",0,1,2,3,4\n0,1,1,1,1,1\n1,2,0,0,0,3\n", 4, (2, 5)),
    "a Markdown table with labels": (
        "|  | 0 | 1 | 2 | 3 | 4 |\n|---|---|---|---|---|---|\n| 0 | S | . | # | . | G |\n"
        "| 1 | # | . | . | . | # |\n",
        6,
        (2, 5),
    ),
    "numbered lines": ("0 ####\n1 #SG#\n2 ####\n", 1, (3, 4)),
    "numbered lines of an editor": ("1: S..\n2: #.#\n3: ..G\n", 4, (3, 3)),
    "YAML": ("maze:\n  - [1, 1, 1]\n  - [2, 0, 3]\n", 2, (2, 3)),
    "a string of JSON": ('{"maze": "#\u2588#\\nS.G\\n"}', 2, (2, 3)),
    "a string of Python": ('maze = """\\\n####\n#SG#\n"""\n', 1, (2, 4)),
    "HTML": ("<pre>\nS.#<br>\n#.G<br>\n</pre>\n", 3, (2, 3)),
    "coloured": ("\x1b[31m####\x1b[0m\n#SG#\n", 1, (2, 4)),
    "commas, spaces at the end": ("S, , \n#,#, \nG, , \n", 6, (3, 3)),
    "commas at the end": ("S,.,#,\n#,.,G,\n", 3, (2, 3)),
    "a Markdown table, an empty row": (
        "|S|#|#|\n|-|-|-|\n| | | |\n|#|#|G|\n",
        4,
        (3, 3),
    ),
    "a Markdown table, an empty header": ("| | | |\n|-|-|-|\n|S|#|#|\n|.|.|G|\n", 3, (2, 3)),
    "emoji in JSON": ('["\\ud83d\\udfe9\\u2b1c", "\\u2b1b\\ud83d\\udfe5"]', 2, (2, 2)),
    "half blocks": ("█ ▀▀█\n█▄▄ █\n▀▀▀ ▀\n", 6, (5, 5)),
    "white walls": ("⬜⬜⬜⬜⬜⬜⬜⬜⬜\n⬜🟩⬛⬛⬛⬛⬛🟥⬜\n⬜⬜⬜⬜⬜⬜⬜⬜⬜\n", 6, (3, 9)),
    "red walls": ("🟥🟥🟥🟥\n🟥🚶🏁🟥\n", 1, (2, 4)),
    "from O to X": ("######\n#O   #\n#   X#\n######\n", 4, (4, 6)),
    "from 8 to 9": ("8001\n1009\n", 4, (2, 4)),
    "the wall is 0": ("000000000\n021111130\n000000000\n", 6, (3, 9)),
    "joined cells in a list": (
        "['<ADJLIST_START>', '(0,0)', '<-->', '(1,0)', ';', '<ADJLIST_END>',\n"
        "'<ORIGIN_START>', '(1,0)', '<TARGET_START>', '(0,0)']\n",
        2,
        (5, 3),
    ),
    "spaced, free cells blank": ("# # # #\n# S   #\n#   G #\n# # # #\n", 2, (4, 4)),
}


@pytest.mark.parametrize(("text", "moves", "shape"), MOVES.values(), ids=MOVES.keys())
def test_mazes_of_public_places(text, moves, shape):
    (tokens,) = puzzle.read_mazes(text, "maze.txt")
    assert (puzzle.search_maze(tokens).moves, tokens.shape) == (moves, shape)


PLACES = {  # S in row 0, column 2, and G in row 1, column 0
    "lines": "...\n...\nstart: 0,2\nend: 1,0\n",
    "words": "Start at row 0, column 2; goal at (1, 0)\n\n...\n...\n",
    "JSON": '{"grid": [[0, 0, 0], [0, 0, 0]], "start": [0, 2], "end": [1, 0]}',
    "JSON, a path beside": (
        '{"start": [0, 2], "path": [[0, 2], [1, 0]], "end": {"x": 0, "y": 1},\n'
        ' "maze": ["...", "..."]}'
    ),
    "Python": "maze = [[0, 0, 0], [0, 0, 0]]\nstart_pos = np.array([0, 2])\nend_pos = (1, 0)\n",
    "LeetCode": "maze = [[0,0,0],[0,0,0]], start = [0,2], destination = [1,0]\n",
    "letters": "S=(0,2)\nG=(1,0)\n...\n...\n",
    "by their sign": "..S\nG..\nstart: 0,2\n",
    "0 is the wall": "start 0 2 goal 1 0\n111\n101\n",
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES.keys())
def test_start_and_goal_by_coordinates(text):
    (tokens,) = puzzle.read_mazes(text, "maze.txt")
    np.testing.assert_array_equal(tokens[0], [1, 1, 2])
    assert tokens[1, 0] == 3


def test_coordinates_count_the_cells_between_thin_walls(tmp_path):
    path = tmp_path / "maze.txt"
    path.write_text("+---+---+\n|       |\n+   +   +\n|   |   |\n+---+---+\n")
    ((tokens,), origin, _) = PUZZLES["maze"].load(str(path), start="0,0", goal="(1, 1)")
    np.testing.assert_array_equal(tokens, TOKENS)
    assert "start in row 0, column 0; goal in row 1, column 1, counted from 0" in origin


def test_places_of_several_mazes():
    one = '{"grid": [[0, 0], [0, 0]], "start": [%d, 0], "end": [%d, 1]}\n'
    found = puzzle.read_mazes(one % (0, 1) + one % (1, 0), "mazes.jsonl")
    np.testing.assert_array_equal(found, [[[2, 1], [1, 3]], [[1, 3], [2, 1]]])


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        (".#\n.G\n", "2,0", r"start 2,0 \(row, column, counted from 0\) is outside; the rows"),
        (".#\n.G\n", "0,1", "start 0,1 .* is a wall. Type --start=ROW,COLUMN of a free cell"),
        ("..\n..\ngoal: 0,1\n", "0,1", "start 0,1 .* is the other end"),
        (".S\n.G\nstart: 0,0\n", "", "start 0,0 .* is not where the drawing has it"),
        ("start: 0,0\n.G\n\n.G\n", "", "1 coordinates of a start for 2 mazes"),
        ("..\n.G\n", "", "no start .*--start=SIGN; .*--start=ROW,COLUMN, counted from 0"),
    ],
)
def test_wrong_coordinates(text, start, message):
    with pytest.raises(ValueError, match=f"maze.txt.* {message}"):
        puzzle.read_mazes(text, "maze.txt", puzzle.Marks(start=start))


def test_it_is_said_how_a_drawing_was_read(tmp_path):
    path = tmp_path / "maze.txt"
    path.write_text(MOVES["a frame"][0])
    boards, origin, _ = PUZZLES["maze"].load(str(path))
    assert boards[0].shape == (5, 7)
    assert origin.splitlines()[1].split(None, 2)[2] == (
        "5×7 cells; a frame around one character for each cell; walls # + - |, free space, start "
        "s, goal e"
    )


def test_given_signs(tmp_path):
    path = tmp_path / "maze.txt"
    path.write_text("iy~o\n.~~.\n")
    with pytest.raises(ValueError, match=r"maze.txt, line 1, column 2: 'y' is not .* --walls=y"):
        PUZZLES["maze"].load(str(path))
    signs = {"walls": "y", "free": "~", "start": "i", "goal": "o"}
    ((tokens,), *_) = PUZZLES["maze"].load(str(path), **signs)
    np.testing.assert_array_equal(tokens, [[2, 0, 1, 3], [1, 1, 1, 1]])
    with pytest.raises(ValueError, match="'y' is given two meanings"):
        PUZZLES["maze"].load(str(path), walls="y", free="y")


IMAGE = np.array([[0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 3, 0], [0, 0, 0, 0]])
COLOURS = np.array([[0, 0, 0], [255, 255, 255], [0, 200, 0], [220, 0, 0]], np.uint8)


PLANES = np.arange(4)[:, None, None] == IMAGE


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("side", [1, 10])
def test_a_picture(tmp_path, mode, side):
    pixels = COLOURS[IMAGE].repeat(side, 0).repeat(side, 1)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "maze.png")
    ((tokens,), origin, _) = PUZZLES["maze"].load(str(tmp_path / "maze.png"))
    np.testing.assert_array_equal(tokens, IMAGE)
    assert ("a pixel" if side == 1 else "10×10 pixels") in origin


@pytest.mark.parametrize("form", ["scaled", "JPEG", "margin"])
def test_a_picture_that_was_edited(tmp_path, form):
    image = Image.fromarray(COLOURS[IMAGE].repeat(12, 0).repeat(12, 1))
    if form == "scaled":
        image = image.resize((51, 51), Image.Resampling.BILINEAR)
    if form == "margin":
        page = Image.new("RGB", (61, 70), "white")
        page.paste(image, (5, 9))
        image = page
    image.save(tmp_path / "maze.png", "JPEG" if form == "JPEG" else "PNG")
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.png"))
    np.testing.assert_array_equal(tokens, IMAGE)


PERFECT = np.array(
    puzzle.read_mazes(
        "#########\n#S  #   #\n# # # # #\n# #   # #\n# ##### #\n"
        "# #   # #\n# # # # #\n#   #  G#\n#########\n",
        "",
    )[0]
)
GREYS = {"dark": (0, 0, 0), "dark grey": (90, 90, 90), "grey": (170, 170, 170), "blue": (0, 0, 255)}


def spaced_cells(board, cell, line, colour, outer, colours=COLOURS):
    """Cells of a side of `cell` pixels with lines between them, and outer ones of `outer`."""
    height, width = (n * (cell + line) - line + 2 * outer for n in board.shape)
    pixels = np.full((height, width, 3), colour, np.uint8)
    for (row, column), token in np.ndenumerate(board):
        top, left = (outer + k * (cell + line) for k in (row, column))
        pixels[top : top + cell, left : left + cell] = colours[token]
    return pixels


def thin_walls(board, cell, line, colours=COLOURS):
    """A board whose even rows and columns are `line` pixels wide, the others `cell`."""
    sizes = [[cell if i % 2 else line for i in range(n)] for n in board.shape]
    return colours[board].repeat(sizes[0], 0).repeat(sizes[1], 1)


def read_pixels(tmp_path, pixels, suffix=".png", **options):
    Image.fromarray(pixels).save(tmp_path / f"maze{suffix}", quality=85)
    ((tokens,), origin, _) = PUZZLES["maze"].load(str(tmp_path / f"maze{suffix}"), **options)
    return tokens, origin


@pytest.mark.parametrize("colour", GREYS.values(), ids=GREYS.keys())
@pytest.mark.parametrize(("line", "outer"), [(1, 1), (1, 0), (2, 1), (3, 3)])
def test_a_picture_with_lines_between_its_cells(tmp_path, colour, line, outer):
    tokens, origin = read_pixels(tmp_path, spaced_cells(PERFECT, 12, line, colour, outer))
    np.testing.assert_array_equal(tokens, PERFECT)
    assert "lines between cells left out" in origin or "a picture, 12×12" in origin


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_picture_whose_walls_are_lines(tmp_path, line, suffix):
    tokens, origin = read_pixels(tmp_path, thin_walls(PERFECT, 14, line), suffix)
    np.testing.assert_array_equal(tokens, PERFECT)
    assert "walls are lines between cells" in origin


def test_coordinates_in_a_picture_whose_walls_are_lines(tmp_path):
    pixels = thin_walls(np.minimum(PERFECT, 1), 14, 2)
    np.testing.assert_array_equal(
        read_pixels(tmp_path, pixels, start="0,0", goal="3,3")[0], PERFECT
    )


WALLS_AND_FREE = {
    "blue on white": ([30, 30, 200], [255, 255, 255]),
    "blue on black": ([30, 30, 200], [0, 0, 0]),
    "brown on beige": ([120, 70, 20], [245, 230, 200]),
    "grey on white": ([170, 170, 170], [255, 255, 255]),
    "black on grey": ([0, 0, 0], [100, 100, 100]),
    "white on black": ([255, 255, 255], [0, 0, 0]),
}


@pytest.mark.parametrize("pair", WALLS_AND_FREE.values(), ids=WALLS_AND_FREE.keys())
@pytest.mark.parametrize("draw", [thin_walls, None], ids=["lines", "blocks"])
def test_colours_of_walls(tmp_path, pair, draw):
    colours = np.array([*pair, [0, 200, 0], [220, 0, 0]], np.uint8)
    pixels = thin_walls(PERFECT, 14, 2 if draw else 14, colours)
    np.testing.assert_array_equal(read_pixels(tmp_path, pixels)[0], PERFECT)


def test_blurred_edges_of_coloured_walls_are_no_walls(tmp_path):
    colours = np.array([[30, 30, 200], [255, 255, 255], [0, 200, 0], [220, 0, 0]], np.uint8)
    for side in (7, 11):
        image = Image.fromarray(thin_walls(PERFECT, side, side, colours))
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)))
        np.testing.assert_array_equal(read_pixels(tmp_path, pixels)[0], PERFECT)


def test_colours_by_name(tmp_path):
    colours = np.array([[0, 0, 200], [255, 255, 0], [0, 0, 0], [255, 0, 255]], np.uint8)
    board = np.array([[1, 1, 0], [3, 1, 2], [1, 3, 2]])
    pixels = colours[board].repeat(9, 0).repeat(9, 1)
    with pytest.raises(ValueError, match="maze.png"):
        read_pixels(tmp_path, pixels)
    tokens, _ = read_pixels(
        tmp_path, pixels, walls="dark,blue", free="yellow,magenta", start="0,0", goal="2,1"
    )
    np.testing.assert_array_equal(tokens, [[2, 1, 0], [1, 1, 0], [1, 3, 0]])


def test_light_cells_at_the_edge_are_neither_a_margin_nor_walls(tmp_path):
    board = np.ones((6, 7), int)
    board[2, 1:6] = 0
    board[1, 2], board[4, 3] = 2, 3
    for outer in (0, 1):
        pixels = spaced_cells(board, 12, 1, (0, 0, 0), outer)
        np.testing.assert_array_equal(read_pixels(tmp_path, pixels)[0], board)


@pytest.mark.parametrize("side", [12, 7])
def test_a_third_coloured_cell_has_no_meaning(tmp_path, side):
    colours = np.array([*COLOURS, [0, 0, 200]], np.uint8)
    board = np.array([[2, 1, 4], [1, 1, 1], [1, 1, 3]])
    with pytest.raises(ValueError, match="'blue' is not a cell of a maze.*--walls=blue"):
        read_pixels(tmp_path, colours[board].repeat(side, 0).repeat(side, 1))


def test_faint_walls_are_not_taken_for_openings(tmp_path):
    pixels = thin_walls(PERFECT, 14, 2)
    pixels[7:13, 32:34] = 255  # a part of a wall
    with pytest.raises(ValueError, match="maze.png: it is not clear which lines .* are walls"):
        read_pixels(tmp_path, pixels)


def test_a_picture_of_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10)
    with pytest.raises(ValueError, match="maze.png is not a picture .*it has 4×4 pixels, too many"):
        read_pixels(tmp_path, COLOURS[IMAGE])


def test_an_open_board_of_pixels_is_not_taken_for_a_blurred_one(tmp_path):
    board = np.ones((40, 40), int)
    board[::9, ::7] = 0
    board[3, 3], board[30, 31] = 2, 3
    Image.fromarray(COLOURS[board]).save(tmp_path / "maze.png")
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.png"))
    np.testing.assert_array_equal(tokens, board)


OPENINGS = np.array([[0, 2, 0, 0], [0, 1, 1, 0], [0, 0, 3, 0]])


@pytest.mark.parametrize("dtype", [bool, np.uint8])
@pytest.mark.parametrize("walls", [0, 1])
def test_openings_of_an_array(tmp_path, dtype, walls):
    array = (OPENINGS > 0) == (walls == 0)
    np.save(tmp_path / "maze.npy", array if dtype is bool else 255 * array.astype(np.uint8))
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.npy"))
    np.testing.assert_array_equal(tokens, OPENINGS)


@pytest.mark.parametrize(
    "array",
    [
        IMAGE,
        IMAGE[None].astype(np.uint8),
        IMAGE.reshape(1, -1) + 1,  # the published layout
        COLOURS[IMAGE],
        COLOURS[IMAGE][None],
        IMAGE.astype(np.float16),
        IMAGE[..., None].astype(float),
        IMAGE[None, None],
        PLANES,
        PLANES.transpose(1, 2, 0).astype(float),
        PLANES[None].astype(np.uint8),
        PLANES[[0, 2, 3]],
        np.stack([~PLANES[0], PLANES[2], PLANES[3]]).astype(float),
        COLOURS[IMAGE].astype(float),
        (COLOURS[IMAGE] / 255).astype(np.float32),
        (COLOURS > 99)[IMAGE],
        COLOURS[IMAGE].transpose(2, 0, 1),
        (COLOURS[IMAGE] / 255).transpose(2, 0, 1)[None],
        np.array(["####", "#S.#", "#.G#", "####"]),
        np.array([b"####", b"#S.#", b"#.G#", b"####"]),
        np.array([list("####"), list("#S.#"), list("#.G#"), list("####")], "S1"),
        np.array(["####", "#S.#", "#.G#", "####"]).view("U1").reshape(4, 4),
    ],
    ids=[
        *("tokens", "several", "published", "colours", "pictures", "floats", "one channel"),
        *("a batch of one channel", "planes", "planes last", "a batch of planes"),
        *("planes without free cells", "planes with free ends", "floating-point colours"),
        *("colours to 1", "boolean colours", "channels first", "a batch with channels first"),
        *("strings", "bytes", "characters of one byte", "characters"),
    ],
)
def test_an_array(tmp_path, array):
    np.save(tmp_path / "maze.npy", array)
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.npy"))
    np.testing.assert_array_equal(tokens, IMAGE)


WALLS = (IMAGE == 0).astype(int)


@pytest.mark.parametrize(
    "arrays",
    [
        {"arr_0": IMAGE},
        {"inputs": IMAGE + 1, "labels": np.minimum(IMAGE + 1, 5)},
        {"maze": WALLS, "start": [1, 1], "goal": [2, 2]},
        {"grid": WALLS[None] == 1, "start_pos": [[1, 1]], "end_pos": [[2, 2]]},
    ],
    ids=["one", "with labels", "with places", "a batch with places"],
)
def test_an_archive_of_arrays(tmp_path, arrays):
    np.savez(tmp_path / "maze.npz", **arrays)
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.npz"))
    np.testing.assert_array_equal(tokens, IMAGE)


def test_a_list_of_connections(tmp_path):
    connected = np.zeros((2, 2, 2), bool)
    connected[0, :, 0][:1] = connected[1, 0, 0] = connected[0, 0, 1] = True
    places = {"start_pos": [0, 0], "end_pos": [1, 1]}
    np.savez(tmp_path / "maze.npz", connection_list=connected, **places)
    ((tokens,), *_) = PUZZLES["maze"].load(str(tmp_path / "maze.npz"))
    np.testing.assert_array_equal(tokens, TOKENS)


def test_arrays_that_are_no_mazes(tmp_path):
    for array, message in (
        (np.full((2, 2), 0.5), "holds 0.5; cells are integers"),
        (np.full((2, 2), np.nan), "holds nan"),
        (np.zeros((2, 5, 7, 9)), "no axis holds colours, or planes"),
    ):
        np.save(tmp_path / "maze.npy", array)
        with pytest.raises(ValueError, match=rf"maze.npy.* {message}"):
            PUZZLES["maze"].load(str(tmp_path / "maze.npy"))
    np.savez(tmp_path / "maze.npz", a=IMAGE, b=IMAGE)
    with pytest.raises(ValueError, match=r"arrays a, b; save the one with the maze"):
        PUZZLES["maze"].load(str(tmp_path / "maze.npz"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("maze.png", b"<html>", "maze.png is not a picture"),
        ("maze.npy", b"\x93NUMPY", "maze.npy is not an array"),
        (
            "maze.txt",
            b"S,0\n0\nG,0\n",
            r"line 2 has 1 cells, but line 1 has 2 \(cells between comm",
        ),
        ("maze.txt", b"[[0, 1], [2]]", "row 2 has 1 cells, but row 1 has 2"),
        ("maze.txt", b"0000\n0S10\n001G\n0000\n", "in two ways, .* --walls=0 --free=1"),
        ("maze.txt", b"|S_G|\n|_|_|\n", "has both _ and bars"),
        ("maze.txt", b"S.\n", "no goal"),
        ("maze.txt", b"S  \n\n  G\n", "no goal.* Empty lines separate mazes"),
        ("maze.txt", b"\x1b[40mS \x1b[0mG\n", "maze.txt has colours of a terminal"),
        ("maze.txt", "█S▀\n".encode(), "half blocks and 'S', which stands for two cells"),
        ("maze.txt", b"S.*.\n.*.G\n", r"has no walls, but free cells '\*' and '.'; .* --walls=."),
        ("maze.txt", b"S   #\n    G\n#   #\n", "a space in every second column"),
        ("maze.txt", b"S0G1001\n1111001\n0110110\n", "in two ways"),
    ],
)
def test_files_that_hold_no_maze(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        PUZZLES["maze"].load(str(tmp_path / name))


def test_an_open_maze_is_not_halved():
    assert puzzle.read_mazes("S...\n....\n..G.\n", "")[0].shape == (3, 4)
    assert puzzle.read_mazes("S.....\n##..##\n....G.\n..##..\n", "")[0].shape == (4, 6)


def test_several_mazes_of_several_sizes():
    found = puzzle.read_mazes("S.G\n\n\n" + PLAIN + "\n", "maze.txt")
    assert [x.shape for x in found] == [(1, 3), (5, 5)]
    titled = "Maze 1:\nS.G\nMaze 2:\n.SG.\n---\n" + PLAIN
    assert [x.shape for x in puzzle.read_mazes(titled, "")] == [(1, 3), (1, 4), (5, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no maze"),
        ("S..\n..\nG..\n", "line 2 has 2 characters, but line 1 has 3"),
        ("S?G\n", r"line 1, column 2: '\?' is not a cell"),
        ("S..\n...\n", "no goal"),
        ("...\n..G\n", "no start"),
        ("S.S\n..G\n", "2 start .*row 1 column 1, row 1 column 3"),
    ],
)
def test_malformed_mazes_are_refused(text, message):
    with pytest.raises(ValueError, match=rf"maze.txt.*{message}"):
        puzzle.read_mazes(text, "maze.txt")


def test_the_search_agrees_with_the_data():
    inputs, labels = maze.generate(20, 9, 9, min_path=5, seed=3)
    for board, label in zip(inputs.reshape(-1, 9, 9), labels.reshape(-1, 9, 9), strict=True):
        tokens = board.astype(int) - 1
        verdict = puzzle.judge_maze(tokens, label == 5)
        assert verdict.shortest and verdict.moves == (label == 5).sum() + 1


def test_judging_a_maze():
    tokens = np.array(puzzle.read_mazes("S...\n.##.\n...G\n", "")[0])
    marked = np.zeros_like(tokens, bool)
    assert not puzzle.judge_maze(tokens, marked).valid
    marked[0, 1:] = marked[1, 3] = True
    assert puzzle.judge_maze(tokens, marked) == (
        True,
        True,
        5,
        5,
        "5 moves, the minimum",
    )
    marked[1, 0] = True
    verdict = puzzle.judge_maze(tokens, marked)
    assert verdict.valid and not verdict.shortest and "1 other cell is marked" in verdict.reason
    marked[1, 1] = True
    assert "wall at row 2 column 2" in puzzle.judge_maze(tokens, marked).reason
    tokens = puzzle.read_mazes("S.G\n.#.\n...\n", "")[0]
    around = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1]], bool)
    assert "6 moves where 2 are enough" in puzzle.judge_maze(tokens, around).reason


def test_an_unsolvable_maze():
    found = puzzle.search_maze(puzzle.read_mazes("S.#.\n..#G\n", "")[0])
    assert found.moves == -1 and found.reached.sum() == 4


def test_a_shown_maze():
    (tokens,) = puzzle.read_mazes("S.#\n..G\n", "")
    marked = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert puzzle.show_maze(tokens, marked, False) == "S ··!!\n  ··G "
    assert "\x1b[48;2;142;68;173" in puzzle.show_maze(tokens, marked, True)


def test_verdicts_for_people():
    kind = PUZZLES["maze"]
    (tokens,) = kind.read("S..\n.#.\n..G\n", "")
    answer = tokens.copy()
    assert not kind.judge(tokens, answer).solved
    answer[0, 1:] = answer[1, 2] = PATH
    solved, text = kind.judge(tokens, answer)
    assert solved and "a shortest path, 4 moves" in text
    # Start and goal are not marked cells, whatever is predicted there.
    answer[tokens == START] = PATH
    assert kind.judge(tokens, answer).solved
    answer[1, 0] = PATH
    solved, text = kind.judge(tokens, answer)
    assert not solved and text.startswith("not the shortest path")
    answer[1, 1] = PATH
    assert kind.judge(tokens, answer).text.startswith("not solved: it goes through a wall")
    kind.check_solvable(tokens, "a")
    with pytest.raises(
        ValueError, match=r"a has no solution.*\(row 1, column 1\).* 1 of the 2 open.*column 3\)"
    ):
        kind.check_solvable(kind.read("S#G\n", "")[0], "a")


def test_the_path_is_shown_where_the_puzzle_is_free():
    (tokens,) = puzzle.read_mazes("S.#\n..G\n", "")
    path = np.array([[1, 1, 1], [0, 0.5, 1]])
    plain = puzzle.path_overlay(tokens, np.zeros((2, 3)))
    shown = puzzle.path_overlay(tokens, path)
    changed = (shown != plain).any(-1)
    np.testing.assert_array_equal(changed, [[0, 1, 1], [0, 1, 0]])  # not start and goal
    np.testing.assert_allclose(shown[1, 1], (plain[1, 1] + shown[0, 1]) / 2)
    assert tuple(np.rint(255 * shown[0, 2])) == (142, 68, 173)  # through a wall: purple


def test_frames_are_probabilities_of_the_path():
    (tokens,) = puzzle.read_mazes("S.#\n..G\n", "")
    probabilities = np.zeros((2, 2, 3, 5))
    probabilities[1, 0, 1, PATH] = 1
    frames = PUZZLES["maze"].frames(tokens, tokens, probabilities)["frames"]
    assert frames == [[[0, 0, 0], [0, 0, 0]], [[0, 255, 0], [0, 0, 0]]]
    overlays = PUZZLES["maze"].palette()["overlays"]
    assert overlays[FREE] and overlays[START] is None
    axes = new_figure(2, 2).subplots()
    PUZZLES["maze"].draw_step(axes, tokens, probabilities[1])
    assert axes.images[0].get_array().shape == (2, 3, 3)
