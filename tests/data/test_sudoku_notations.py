"""Sudokus in the notations that people and programs write, and what is said of faulty ones."""

import json
import random

import numpy as np
import pytest

from wonn_jax.data.sudoku_formats import read_text

GIVEN = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
OTHER = "2..1.5..3.54...71..1.2.3.8.6.28.73.4.........1.53.98.6.2.7.1.6..81...24.7..4.2..1"
OTHER_SOLVED = "278145693354698712916273485692817354837564129145329876423751968581936247769482531"
FULL_WIDTH = GIVEN.translate({ord(c): ord(c) + 0xFEE0 for c in "123456789."})


def rows(board):
    return [board[k : k + 9] for k in range(0, 81, 9)]


def bands(board):
    """Rows in groups of three."""
    return [rows(board)[k : k + 3] for k in (0, 3, 6)]


def lines(board, form="{}{}{}{}{}{}{}{}{}"):
    return [form.format(*row) for row in rows(board)]


def boxed(board, form, rule, inner="", stripped=False):
    """A framed board; `inner` instead of `rule` between the boxes."""
    parts = [[form.format(*row) for row in band] for band in bands(board)]
    if stripped:
        parts = [[line.rstrip() for line in part] for part in parts]
    inside = f"\n{inner or rule}\n".join("\n".join(part) for part in parts)
    return f"{rule}\n{inside}\n{rule}\n" if rule else inside


def with_blank(board, blank):
    return board.replace(".", blank)


NUMBERS = [[int(c) for c in row] for row in rows(with_blank(GIVEN, "0"))]
ANSWERS = [[int(c) for c in row] for row in rows(SOLVED)]
NULLS = [[x or None for x in row] for row in NUMBERS]
PIPES = "| {} {} {} | {} {} {} | {} {} {} |"
CLIPBOARD = boxed(GIVEN, " |{}{}{}|{}{}{}|{}{}{}|", " *-----------*", " |---+---+---|")
DOUBLE = "╟───┼───┼───╫───┼───┼───╫───┼───┼───╢"


def marks(board):
    """The digits that each cell can have by the rules, as programs print them."""
    found = []
    for k, cell in enumerate(board):
        row, column = divmod(k, 9)
        seen = {
            board[j]
            for j in range(81)
            if j // 9 == row or j % 9 == column or (j // 27, j % 9 // 3) == (k // 27, k % 9 // 3)
        }
        found.append(cell if cell != "." else "".join(d for d in "123456789" if d not in seen))
    return found


MARKS = marks(GIVEN)
SINGLES = "".join(x if len(x) == 1 else "." for x in MARKS)
MARKED_ROWS = [
    " | ".join(" ".join(f"{x:6}" for x in MARKS[k : k + 3]) for k in range(9 * r, 9 * r + 9, 3))
    for r in range(9)
]
MARKED = (
    "*-----------------*\n"
    + "\n|------+------+------|\n".join(
        "\n".join(f"| {row} |" for row in MARKED_ROWS[k : k + 3]) for k in (0, 3, 6)
    )
    + "\n*-----------------*\n"
)
HODOKU = (
    ".---------------------.---------------------.---------------------.\n"
    + "\n:---------------------+---------------------+---------------------:\n".join(
        "\n".join(f"| {row} |" for row in MARKED_ROWS[k : k + 3]) for k in (0, 3, 6)
    )
    + "\n'---------------------'---------------------'---------------------'"
)

ONE = [(GIVEN, None)]
TWO = [(GIVEN, None), (OTHER, None)]
BOTH = [(GIVEN, SOLVED)]
TWO_SOLVED = [*BOTH, (OTHER, OTHER_SOLVED)]

FORMS = {
    # Lines and grids with any blank.
    **{f"81 {b!r}": (with_blank(GIVEN, b), ONE) for b in ".0_*xX?-~ ·⬜○"},
    **{f"nine lines {b!r}": ("\n".join(lines(with_blank(GIVEN, b))), ONE) for b in ".0_*xX?-~ –"},
    **{
        f"spaced {b!r}": ("\n".join(" ".join(row) for row in rows(with_blank(GIVEN, b))), ONE)
        for b in ".0_*x-"
    },
    **{
        f"framed {b!r}": (
            boxed(with_blank(GIVEN, b), PIPES, "+-------+-------+-------+"),
            ONE,
        )
        for b in ".0_*x- "
    },
    **{
        f"norvig {b!r}": (
            boxed(
                with_blank(GIVEN, b), "{} {} {} |{} {} {} |{} {} {} ", "", "------+------+------"
            ),
            ONE,
        )
        for b in ".0-"
    },
    **{f"in one line, {b!r}": ("/".join(lines(with_blank(GIVEN, b))), ONE) for b in ".0_-"},
    "windows": ("\r\n".join(lines(GIVEN)) + "\r\n", ONE),
    "bands apart": ("\n\n".join("\n".join(band) for band in bands(GIVEN)), ONE),
    "27 in a line": ("\n".join("".join(band) for band in bands(GIVEN)), ONE),
    "broken anywhere": (GIVEN[:40] + "\n" + GIVEN[40:], ONE),
    "one in a line": ("\n".join(with_blank(GIVEN, "0")), ONE),
    "row of dashes": ("\n".join(lines(with_blank(OTHER, "-"))), [(OTHER, None)]),
    "rule of nine dashes": ("\n---------\n".join("\n".join(x) for x in bands(GIVEN)), ONE),
    "empty row of spaces": (
        "\n".join(x.rstrip() for x in lines(with_blank(OTHER, " "))),
        [(OTHER, None)],
    ),
    "spaces between walls": (
        boxed(with_blank(OTHER, " "), "|{}{}{}|{}{}{}|{}{}{}|", "+---+---+---+"),
        [(OTHER, None)],
    ),
    "spaces, cut off": (
        boxed(with_blank(GIVEN, " "), " {}{}{} | {}{}{} | {}{}{}", "", "-------------", True),
        ONE,
    ),
    "sage": (boxed(with_blank(GIVEN, " "), "|{} {} {}|{} {} {}|{} {} {}|", "+-----+-----+"), ONE),
    # Programs.
    "clipboard": (CLIPBOARD, ONE),
    "clipboard twice, signed": (f"{CLIPBOARD}\n{CLIPBOARD} Simple Sudoku\n  Version 4.2n", ONE * 2),
    "SudoCue": ("#ARuud\n#DNo. 12\n#B03-08-2006\n" + "\n".join(lines(GIVEN)), ONE),
    "SadMan": (
        "[Puzzle]\n{}\n\n[State]\n{}\n[PencilMarks]\n{}\n".format(
            *("\n".join(lines(x)) for x in (GIVEN, SOLVED)), ",".join("1" * 9)
        ),
        ONE,
    ),
    "pencil marks": (MARKED, [(SINGLES, None)]),
    "clipboard with marks": (f"{CLIPBOARD}\n{CLIPBOARD}\n{MARKED}", ONE),
    "HoDoKu": (HODOKU, [(SINGLES, None)]),
    "HoDoKu in one line": (HODOKU.replace("\n", ""), [(SINGLES, None)]),
    "HoDoKu's library": (f":0702:9:{GIVEN.replace('7', '+7')}:913 914:r1c1<>2::", ONE),
    "SudoCue's progress": (
        "\n".join(
            " ".join(
                "u" + x if len(x) == 1 and GIVEN[k + j] == "." else x
                for j, x in enumerate(MARKS[k : k + 9])
            )
            for k in range(0, 81, 9)
        ),
        ONE,
    ),
    "Project Euler": (
        "\n".join(f"Grid 0{k}\n" + "\n".join(lines(x)) for k, x in enumerate((GIVEN, OTHER))),
        TWO,
    ),
    "rules of '='": ("\n========\n".join("\n".join(lines(x)) for x in (GIVEN, OTHER)), TWO),
    "Sudoku Exchange": (f"0000183b305c {GIVEN}  1.2\n0000d8c5b4e2 {OTHER}  3.4", TWO),
    "comments behind": (f"{GIVEN} # easy\n# next\n{OTHER} # 4.5", TWO),
    "OpenSudoku": (
        '<?xml version="1.0"?>\n<opensudoku>\n <created>2009-09-16</created>\n'
        f' <game data="{with_blank(GIVEN, "0")}" />\n <game data="{OTHER}" />\n</opensudoku>',
        TWO,
    ),
    "LaTeX": (
        "\\begin{sudoku}\n"
        + "\n".join(lines(with_blank(GIVEN, " "), "|{}|{}|{}|{}|{}|{}|{}|{}|{}|."))
        + "\n\\end{sudoku}",
        ONE,
    ),
    "R": (
        "     [,1] [,2] [,3] [,4] [,5] [,6] [,7] [,8] [,9]\n"
        + "\n".join(f"[{k},]   {'   '.join(x)}" for k, x in enumerate(rows(GIVEN), 1)),
        ONE,
    ),
    "Matlab": ("M = [" + "; ".join(" ".join(x) for x in rows(with_blank(GIVEN, "0"))) + "];", ONE),
    # Unicode.
    "double frame, spaces": (
        boxed(
            with_blank(GIVEN, " "),
            "║ {} │ {} │ {} ║ {} │ {} │ {} ║ {} │ {} │ {} ║\n" + DOUBLE,
            "╔═══╤═══╤═══╦═══╤═══╤═══╦═══╤═══╤═══╗",
        ),
        ONE,
    ),
    "three lines a row": (
        boxed(
            with_blank(GIVEN, " "),
            "║   │   │   ║   │   │   ║   │   │   ║\n"
            "║ {} │ {} │ {} ║ {} │ {} │ {} ║ {} │ {} │ {} ║\n"
            "║   │   │   ║   │   │   ║   │   │   ║\n" + DOUBLE,
            "╔═══╤═══╤═══╦═══╤═══╤═══╦═══╤═══╤═══╗",
        ),
        ONE,
    ),
    "emoji": (
        "\n".join(
            "".join(c if c == "⬜" else c + "\ufe0f\u20e3" for c in x)
            for x in rows(GIVEN.replace(".", "⬜"))
        ),
        ONE,
    ),
    "full width": (
        "\n".join(lines(FULL_WIDTH)),
        ONE,
    ),
    "circled": (GIVEN.translate({ord(str(k)): 0x245F + k for k in range(1, 10)}), ONE),
    "colours of a terminal": ("\n".join(f"\x1b[1m{x}\x1b[0m" for x in lines(GIVEN)), ONE),
    # Tables.
    "csv": ("\n".join(",".join(x) for x in rows(with_blank(GIVEN, "0"))), ONE),
    "csv, empty": ("\n".join(",".join(x).replace(".", "") for x in rows(GIVEN)), ONE),
    "tabs, empty": ("\n".join("\t".join(x).replace(".", "") for x in rows(GIVEN)), ONE),
    "csv, quoted": (
        "\n".join(",".join(f'"{c}"' for c in x) for x in rows(with_blank(GIVEN, " "))),
        ONE,
    ),
    "csv, an empty row": (
        "\n".join(",".join(x).replace(".", "") for x in rows(GIVEN[:18] + "." * 9 + GIVEN[27:])),
        [(GIVEN[:18] + "." * 9 + GIVEN[27:], None)],
    ),
    "csv, the first row empty, and some at the end": (
        "\n".join(";".join(x).replace(".", "") for x in rows("." * 9 + GIVEN[9:] + "." * 18)),
        [("." * 9 + GIVEN[9:], None)],
    ),
    "csv, named columns": (
        ",".join(f'"c{k}"' for k in range(9))
        + "\n"
        + "\n".join(",".join(x).replace(".", "") for x in rows(GIVEN)),
        ONE,
    ),
    "csv, comma at the end": (
        "\n".join(",".join(x) + "," for x in rows(with_blank(GIVEN, "0"))),
        ONE,
    ),
    "csv, floats": (
        "\n".join(",".join("" if c == "." else c + ".0" for c in x) for x in rows(GIVEN)),
        ONE,
    ),
    "pandas": (
        ",0,1,2,3,4,5,6,7,8\n"
        + "\n".join(f"{k},{','.join(x)}" for k, x in enumerate(rows(with_blank(GIVEN, "0")))),
        ONE,
    ),
    "81 columns": (f"{','.join(with_blank(GIVEN, '0'))}\n{','.join(OTHER).replace('.', '')}", TWO),
    "81 named columns": (
        f"{','.join(f'c{k}' for k in range(81))}\n{','.join(GIVEN)}\n{','.join(OTHER)}",
        TWO,
    ),
    "81 columns and the row": (f"0,{','.join(GIVEN)}\n1,{','.join(OTHER)}", TWO),
    "162 columns": (",".join(GIVEN + SOLVED), BOTH),
    "Markdown": (
        "| {} |\n{}|\n".format(" | ".join("123456789"), "|---" * 9)
        + "\n".join(lines(with_blank(GIVEN, " "), "|{}|{}|{}|{}|{}|{}|{}|{}|{}|")),
        ONE,
    ),
    "Markdown, first row above": (
        "\n".join(
            (f"|{'|'.join(x)}|" + ("\n" + "|---" * 9 + "|") * (k == 0))
            for k, x in enumerate(rows(with_blank(GIVEN, " ")))
        ),
        ONE,
    ),
    "Markdown, bold, labels": (
        "|   | A | B | C | D | E | F | G | H | I |\n"
        + "|---" * 10
        + "|\n"
        + "\n".join(
            f"| {k} | " + " | ".join(" " if c == "." else f"**{c}**" for c in x) + " |"
            for k, x in enumerate(rows(GIVEN), 1)
        ),
        ONE,
    ),
    "labels": (
        "    1 2 3   4 5 6   7 8 9\n  +-------+-------+-------+\n"
        + "\n".join(f"{'ABCDEFGHI'[k]} {x}" for k, x in enumerate(lines(GIVEN, PIPES))),
        ONE,
    ),
    "numbered rows": ("\n".join(f"Row {k}: {x}" for k, x in enumerate(lines(GIVEN), 1)), ONE),
    "solved, in one line": (" ".join(rows(SOLVED)), [(SOLVED, None)]),
    "JavaScript, cells on lines of any length": (
        "puzzle = [" + ", ".join(GIVEN[:50]) + ",\n" + ", ".join(GIVEN[50:]) + "]\n"
        "solution = [" + ", ".join(SOLVED[:30]) + ",\n" + ", ".join(SOLVED[30:]) + "]",
        BOTH,
    ),
    "puzzle;solution": (f"{GIVEN};{SOLVED}", BOTH),
    "solution,puzzle": (f"{SOLVED},{GIVEN}", BOTH),
    # Programs' own notations.
    "JSON": (json.dumps(NUMBERS, indent=1), ONE),
    "JSON, null": (json.dumps({"board": NULLS}), ONE),
    "JSON, empty strings": (json.dumps([[str(x or "") for x in row] for row in NULLS]), ONE),
    "JSON, a list": (json.dumps(sum(NUMBERS, [])), ONE),
    "JSON, strings of nine": (json.dumps({"grid": rows(GIVEN)}), ONE),
    "JSON, spaces": (json.dumps({"grid": with_blank(GIVEN, " "), "solution": SOLVED}), BOTH),
    "JSON, several": (json.dumps([GIVEN, OTHER]), TWO),
    "JSON, nested": (
        json.dumps({"new": {"grids": [{"value": NUMBERS, "solution": ANSWERS, "level": 3}]}}),
        BOTH,
    ),
    "JSON, cells": (
        json.dumps(
            {"grid": [[{"value": x, "given": True} if x else {} for x in r] for r in NULLS]}
        ),
        ONE,
    ),
    "JSON, pairs": (json.dumps([[1, GIVEN, SOLVED], [2, OTHER, OTHER_SOLVED]]), TWO_SOLVED),
    "JSON, columns": (
        json.dumps({"quizzes": [GIVEN, OTHER], "solutions": [SOLVED, OTHER_SOLVED]}),
        TWO_SOLVED,
    ),
    "JSON, columns with other names": (
        json.dumps({"data": [GIVEN, OTHER], "answers": [SOLVED, OTHER_SOLVED]}),
        TWO_SOLVED,
    ),
    "JSON of pandas": (
        json.dumps(
            {"puzzle": {"0": GIVEN, "1": OTHER}, "solution": {"0": SOLVED, "1": OTHER_SOLVED}}
        ),
        TWO_SOLVED,
    ),
    "JSON, full width": (json.dumps([list(row) for row in rows(FULL_WIDTH)]), ONE),
    "JSON, other fields": (
        json.dumps({"id": "123456789", "cages": [[1, 2], [3, 4]], "board": GIVEN}),
        ONE,
    ),
    "JSON, a name each": (json.dumps({"easy": GIVEN, "hard": OTHER}), TWO),
    "JSON Lines": (
        f"{json.dumps({'puzzle': GIVEN, 'solution': SOLVED})}\n{json.dumps({'puzzle': OTHER})}",
        [*BOTH, (OTHER, None)],
    ),
    "Python": (repr(NULLS), ONE),
    "Python, bytes": (repr(GIVEN.encode()), ONE),
    "Python, a program": ("board = [\n" + "\n".join(f"    {x}," for x in NUMBERS) + "\n]\n", ONE),
    "Python, NumPy": (
        "import numpy as np\ngrid = np.array([" + ",\n  ".join(map(str, NUMBERS)) + "], dtype=int)",
        ONE,
    ),
    "C": (
        "int grid[9][9] = {\n"
        + "\n".join("{" + ",".join(map(str, x)) + "}," for x in NUMBERS)
        + "\n};",
        ONE,
    ),
    "JavaScript": (
        "x = {\n startValues: [" + ",\n".join(json.dumps(x)[1:-1] for x in NULLS) + "],\n"
        " solution: [" + ",\n".join(json.dumps(x)[1:-1] for x in ANSWERS) + "]\n}",
        BOTH,
    ),
    "NumPy prints": (str(np.array(NUMBERS)), ONE),
    "NumPy prints floats": (str(np.array(NUMBERS, float)), ONE),
    "NumPy prints NaN": (str(np.array(NULLS, float)), ONE),
    "NumPy saves": (
        "\n".join(" ".join(f"{float(x):.18e}" for x in row) for row in NUMBERS),
        ONE,
    ),
    "-1": ("\n".join(", ".join(str(x or -1) for x in row) for row in NUMBERS), ONE),
    "-1.0 and spaces": (
        "\n".join("[ " + "  ".join(f"{float(x or -1)}" for x in row) + "]" for row in NUMBERS),
        ONE,
    ),
    "Prolog": (
        "problem(1, [\n"
        + ",\n".join(f"[{','.join(with_blank(x, '_'))}]" for x in rows(GIVEN))
        + "]).",
        ONE,
    ),
    "SQL": (
        f"INSERT INTO a VALUES (1, '{GIVEN}', '{SOLVED}'), (2, '{OTHER}', '{OTHER_SOLVED}');",
        TWO_SOLVED,
    ),
    "NumPy repr": (repr(np.array(NUMBERS, np.uint8)), ONE),
    "YAML": ("puzzle:\n" + "\n".join(f"  - {x}" for x in NUMBERS), ONE),
    # Words around them.
    "a letter": (f"Here is one:\n\n```\n{CLIPBOARD}```\n\nHave fun with these 30 digits!", ONE),
    "quoted": ("> " + "\n> ".join(lines(GIVEN)), ONE),
    "a name before": (f"puzzle: {GIVEN}\nsolution: {SOLVED}\n", BOTH),
    "titles of lines": (
        f"Puzzle 1\n{GIVEN}\nSolution\n{SOLVED}\nPuzzle 2\n{OTHER}\nSolution\n{OTHER_SOLVED}",
        TWO_SOLVED,
    ),
    "titles": (f"Puzzle:\n{CLIPBOARD}\nSolution:\n" + "\n".join(lines(SOLVED)), BOTH),
    "side by side": (
        "\n".join(
            f"{a}     {b}" for a, b in zip(lines(GIVEN, PIPES), lines(SOLVED, PIPES), strict=True)
        ),
        BOTH,
    ),
    "of several kinds": (f"{GIVEN}\n\n" + "\n".join(lines(OTHER)), TWO),
    "no blank": (f"{GIVEN}\n{SOLVED}", [(GIVEN, None), (SOLVED, None)]),
    "nothing but blanks": ("." * 81, [("." * 81, None)]),
}


def found_in(text):
    """Puzzles and solutions as strings."""
    found = read_text(text, "x")
    strings = [
        ["".join(map(str, board.ravel())) for board in boards]
        for boards in (found.inputs, found.labels)
    ]
    return [(p.replace("0", "."), s if int(s) else None) for p, s in zip(*strings, strict=True)]


@pytest.mark.parametrize("name", FORMS)
def test_notation(name):
    text, expected = FORMS[name]
    assert found_in(text) == expected


EMPTY = [",".join(x).replace(".", "") for x in rows(GIVEN)]
LARGE = FORMS["three lines a row"][0]
SOLVED_ROWS = "\n".join(" ".join(row) for row in rows(SOLVED))
SPACED = [" ".join(row) for row in rows(GIVEN)]
SHORT = GIVEN[:-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join(["55 3 . . 7 . . . .", *SPACED[1:]]), r"line 1: cell 1 is '55'\. Required: one"),
        ("\n".join([*SPACED[:8], ". . . . 8 . . 7 99"]), "line 9: cell 9 is '99'"),
        ("\n".join(["53 . . 7 . . . . .", *SPACED[1:]]), "line 1: cell 1 is '53'"),
        ("\n".join(["35 . . 7 . . . . .", *SPACED[1:]]), "line 1: cell 1 is '35'.*all open cells"),
        ("\n".join(SPACED).replace(" ", ",").replace("5", "55", 1), "line 1: cell 1 is '55'"),
        ("11," + ",".join(GIVEN[1:]), "line 1: cell 1 is '11'"),
        (
            "puzzle\n\n" + "\n".join(lines(GIVEN, PIPES)).replace("5", "55", 1),
            "line 3: cell 1 .*55",
        ),
        (MARKED.replace("12345 ", "21345 "), "line [0-9]+: cell 3 is '21345'.*ascending order"),
        (MARKED.replace("12345 ", "12335 "), "cell 3 is '12335'"),
        (SOLVED_ROWS.replace("6 7 8", "6 78 8", 1), "line 1: cell 5 is '78'"),
        (f"{GIVEN}\nSolution\n" + SOLVED_ROWS.replace("6 7 8", "6 78 8", 1), "line 3: cell 5 is"),
        ("\n".join(["5 5 3 . . 7 . . . .", *SPACED[1:]]), "line 1 has 10 cells"),
    ],
)
def test_several_digits_in_a_cell_are_the_marks_of_all_open_cells_or_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        read_text(text, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([GIVEN, SHORT, OTHER]), r"x, \[1\] has 80 cells\. Required: 81"),
        (repr([GIVEN, SHORT]), r"x, \[1\] has 80 cells"),
        (json.dumps({"puzzles": [GIVEN, GIVEN[:40]]}), r"x, puzzles\[1\] has 40 cells"),
        (json.dumps({"easy": GIVEN, "hard": OTHER + "1"}), "x, hard has 82 cells"),
        (
            json.dumps([{"puzzle": GIVEN, "solution": SOLVED[1:]}]),
            r"x, \[0\]\.solution has 80 cells",
        ),
        (json.dumps([{"puzzle": GIVEN, "solution": "5346789"}] * 2), r"\.solution has 7 cells"),
        (json.dumps([[GIVEN, SOLVED], [SHORT, SOLVED]]), r"x, \[1\]\[0\] has 80 cells"),
        (
            json.dumps({"a": [GIVEN, OTHER], "b": ["q" + GIVEN[1:]]}),
            r"x, b\[0\], character 1: 'q' is not a cell",
        ),
        (json.dumps([{"puzzle": GIVEN}, {"puzzle": None}]), r"x, \[1\]\.puzzle is None\. Required"),
        (json.dumps([{"puzzle": "", "solution": SOLVED}]), r"x, \[0\]\.puzzle is ''"),
        (
            json.dumps({"puzzle": GIVEN}) + "\n\n" + json.dumps({"puzzle": SHORT}),
            "x, line 3, puzzle",
        ),
        ("\n" + json.dumps({"puzzle": GIVEN}) + '\n{"puz', "x, line 3 is not JSON, unlike"),
        (json.dumps({"quizzes": [GIVEN, OTHER], "solutions": [SOLVED]}), "has 1 Sudoku, quizzes 2"),
        (json.dumps([NUMBERS, NUMBERS[:8]]), r"x, \[1\]: a Sudoku has rows of 9"),
        (json.dumps([NUMBERS, [row[:8] for row in NUMBERS]]), r"x, \[1\]: a Sudoku has rows of 8"),
        (json.dumps([sum(NUMBERS, []), sum(NUMBERS, [])[1:]]), r"x, \[1\] has 80 cells"),
        (json.dumps({"a": CLIPBOARD, "b": "\n".join(lines(GIVEN)[:8])}), "x, b has 72 cells"),
        (json.dumps([[[True, *NUMBERS[0][1:]], *NUMBERS[1:]]]), "row 1, column 1 .* is True"),
        (f"1,{GIVEN}\n2,{SHORT}\n", "x, line 2 has 80 cells"),
        (f"1,{SHORT},{SOLVED}\n2,{GIVEN},{SOLVED}", "x, line 1 has 80 cells"),
        (f"<p>{GIVEN}</p>\n<p>{SHORT}</p>", "x, line 2 has 80 cells"),
        # One wrong character, wherever the Sudoku stands.
        (
            f'<game data="{GIVEN}"/>\n<game data="{OTHER[:40]}q{OTHER[41:]}"/>',
            "x, line 2, column 53: 'q' is not a cell",
        ),
        (f"puzzle: {GIVEN[:60]}O{GIVEN[61:]}\nsolution: {SOLVED}", "line 1, column 69: 'O' is not"),
        # JSON that ends too early, or has a name without its first quote.
        (
            json.dumps([{"puzzle": GIVEN, "solution": SOLVED}])[:-1],
            "line 1 is not JSON: .*to the end",
        ),
        (
            json.dumps([{"puzzle": GIVEN, "solution": SOLVED}]).replace('"', "", 1),
            "is not JSON: .*",
        ),
        (json.dumps([[1, GIVEN, SOLVED], [2, OTHER, SOLVED]]).replace("[2", "2"), "is not JSON"),
        (json.dumps([GIVEN, OTHER], indent=1)[:-5], "x, line 3 is not JSON"),
        # A solution with a blank cell is not one more puzzle.
        (f"{GIVEN};{SOLVED[:9]}.{SOLVED[10:]}", "line 1: the solution has 1 blank cell. Required"),
        (f"{GIVEN}\nSolution:\n..{SOLVED[2:]}", "line 3: the solution has 2 blank cells"),
        (",".join(GIVEN + SOLVED).replace("6,7,8", "6,,8"), "the solution has 2 blank cells"),
        # Cells of tables: a comma too many or too few, another value.
        ("\n".join(EMPTY).replace(",1,9", ",,1,9"), "line 2 has 10 cells"),
        ("\n".join(EMPTY).replace(",,,1,9", ",,1,9"), "line 2 has 8 cells"),
        ("\n".join(EMPTY).replace("5,3", "5.7,3"), r"line 1: cell 1 is '5\.7'\. Required: a digit"),
        ("\n".join(EMPTY).replace("5,3", "12.0,3"), r"line 1: cell 1 is '12\.0'"),
        (f"0,{','.join(GIVEN)}\n1,{','.join(OTHER[:40])},,{','.join(OTHER[40:])}", "line 2 has 83"),
        (f"{','.join(GIVEN)}\n2,{','.join(OTHER)}", "line 2 has 82 cells"),
        # A row of blanks is no frame, and a drawing of three lines a row has digits in the middle.
        ("\n".join(lines(with_blank(OTHER, "-"))).replace("--", "---------\n--", 1), "line|row"),
        (LARGE.replace("║   │", "║ 8 │", 1), "line 2 has digits, unlike the others"),
        (f"{GIVEN};{SOLVED}\n5,3007E+80;5,34678912672195E+80", "line 2: found 5,3007E.80, a numb"),
    ],
)
def test_a_damaged_sudoku_among_others_is_not_left_out(text, message):
    with pytest.raises(ValueError, match=message):
        read_text(text, "x")


@pytest.mark.parametrize("count", [27, 80, 81, 82, 162])
def test_lists_of_many_objects(count):
    objects = [{"puzzle": GIVEN, "solution": SOLVED}] * count
    assert found_in(json.dumps(objects)) == BOTH * count
    assert found_in(json.dumps([{"value": NUMBERS}] * count)) == ONE * count
    assert (
        found_in(json.dumps({"id": list(range(count)), "puzzle": [GIVEN] * count})) == ONE * count
    )


@pytest.mark.parametrize("character", "²⁵₅½ⅤＡ")
@pytest.mark.parametrize("form", ["{}", "['{}']", '["{}"]', "[[{}]]", '{{"puzzle": "{}"}}'])
def test_what_is_no_decimal_digit_is_no_cell(form, character):
    board = character + GIVEN[1:]
    if "[[" in form:
        board = ", ".join(map(json.dumps, board))
    with pytest.raises(ValueError, match=r"is not a cell|row 1, column 1 of a Sudoku is"):
        read_text(form.format(board), "x")


def test_cells_broken_into_lines_and_separated_anyhow():
    """Whatever the first reader understood: cells, one after the other."""
    rng = random.Random(0)
    for _ in range(300):
        boards = rng.choices([GIVEN, OTHER], k=rng.choice([1, 1, 2, 3]))
        separator = rng.choice(["", " ", "  ", ",", ";", "|", "\t", ", "])
        width = rng.choice([1, 3, 9, 18, 27, 40, 81, 162])
        text = ""
        for number, cell in enumerate("".join(boards), 1):
            text += rng.choice(".0_*xX") if cell == "." else cell
            if number % width == 0:
                text += rng.choice(["\n", "\n\n", "\r\n"])
            elif number % 9 == 0 and rng.random() < 0.3:
                text += rng.choice(["|", " ", " | "])
            else:
                text += separator
        assert [puzzle for puzzle, _ in found_in(text)] == boards, repr(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^x holds 0 cells"),
        ("Grid 01\n", "x holds 0 cells"),
        (GIVEN[:-1], "x, line 1 has 80 cells. Required: nine.* or 81"),
        (GIVEN + "1", "x, line 1 has 82 cells"),
        (f"{GIVEN}\n{OTHER[:-1]}\n", "x, line 2 has 80 cells"),
        (f"puzzle: {GIVEN[:-1]}", "x, line 1 has 80 cells"),
        (f"{GIVEN},{SOLVED}\n{OTHER[:-1]},{SOLVED}\n", "x, line 2 has 80 cells"),
        (GIVEN.replace("7", "q", 1), "x, line 1, column 5: 'q' is not a cell"),
        (f"{GIVEN}\n{OTHER.replace('5', 'q', 1)}", "x, line 2, column 6: 'q' is not a cell"),
        ("\n".join([*lines(GIVEN)[:3], "8...6...", *lines(GIVEN)[4:]]), "line 4 has 8 cells"),
        ("\n".join([*lines(GIVEN)[:3], "8...6...3.", *lines(GIVEN)[4:]]), "line 4 has 10 cells"),
        ("\n".join(lines(GIVEN)[:8]), "begins in line 1 has 8 rows .*no more. Required: nine"),
        ("\n".join(lines(GIVEN) * 2 + ["." * 9]), "begins in line 19 has 1 row of"),
        (
            "Grid 1\n" + "\n".join(lines(GIVEN)[:8]) + "\nGrid 2\n" + "\n".join(lines(OTHER)),
            "begins in line 2 has 8 rows of nine cells before line 10, which is none",
        ),
        ("\n".join(lines(with_blank(GIVEN, "-")))[:-1], "line 9 has 8 cells"),
        ("\n".join(lines(with_blank(GIVEN, "0")))[:-1], "line 9 has 8 cells"),
        ("\n".join(" ".join(x) for x in lines(SOLVED))[:-2], "line 9 has 8 cells"),
        ("\n".join(["." * 16] * 16), "line 1 has 16 cells.*9×9"),
        (
            json.dumps({"board": NUMBERS[:8]}),
            "x, board: a Sudoku has rows of 9.*Required: nine rows",
        ),
        (json.dumps({"board": [[11, *NUMBERS[0][1:]], *NUMBERS[1:]]}), "column 1 .*is 11. Req"),
        (json.dumps({"board": NUMBERS})[:-3], "x, line 1 is not JSON: Expecting.*Required: JSON"),
    ],
)
def test_faults_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_text(text, "x")
