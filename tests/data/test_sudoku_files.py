"""Files of Sudokus: tables, arrays, folders, archives; as data and as puzzles; what is wrong."""

import bz2
import gzip
import json
import lzma
import pickle
import zipfile

import numpy as np
import pytest

from wonn_jax.data import sudoku
from wonn_jax.data.layouts import parts_of
from wonn_jax.data.source import SPLITS
from wonn_jax.data.sudoku import Sudokus
from wonn_jax.data.sudoku_formats import tables
from wonn_jax.tools.puzzles import PUZZLES

STRINGS = (
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
    "2..1.5..3.54...71..1.2.3.8.6.28.73.4.........1.53.98.6.2.7.1.6..81...24.7..4.2..1",
    "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......",
)
INPUTS = np.array([[int(c) for c in x.replace(".", "0")] for x in STRINGS], np.uint8)
INPUTS = INPUTS.reshape(-1, 9, 9)
LABELS = sudoku.solve(INPUTS)[1]
ANSWERS = ["".join(map(str, x.ravel())) for x in LABELS]
ROWS = list(zip(STRINGS, ANSWERS, strict=True))
KAGGLE = "quizzes,solutions\n" + "".join(f"{a.replace('.', '0')},{b}\n" for a, b in ROWS)
ALL = {"train_examples": 0, "test_examples": 0}


def load(path, **sizes):
    """Inputs and labels of both splits together, as numbers of the boards above, and origins."""
    sources = [sudoku.load(str(path), data_dir="", split=s, **(ALL | sizes)) for s in SPLITS]
    numbers = []
    for source in sources:
        numbers.append([])
        for k in range(len(source)):
            (number,) = np.flatnonzero((source[k]["input"] == INPUTS).all((1, 2)))
            np.testing.assert_array_equal(source[k]["target"] + 1, LABELS[number])
            numbers[-1].append(int(number))
    return numbers, [source.origin for source in sources]


def solved(path):
    """Numbers of the boards that `solve` reads, and the line that it prints."""
    boards, origin, _ = PUZZLES["sudoku"].load(str(path))
    return [int(np.flatnonzero((b == INPUTS).all((1, 2)))[0]) for b in boards], origin


# Tables.


def table(form):
    return "".join(form.format(k, a, b) + "\n" for k, (a, b) in enumerate(ROWS))


TABLES = {
    "Kaggle": (KAGGLE, "columns quizzes and solutions"),
    "Kaggle 9M": ("puzzle,solution\n" + table("{1},{2}"), "columns puzzle and solution"),
    "Kaggle 3M": (
        "id,puzzle,solution,clues,difficulty\n" + table("{0},{1},{2},30,0.0"),
        "columns puzzle and solution",
    ),
    "Sudoku-Extreme": (
        "source,question,answer,rating\n" + table('"a, {0}",{1},{2},3'),
        "columns question and answer",
    ),
    "reversed": ("Solution;Puzzle\n" + table("{2};{1}"), "columns Puzzle and Solution"),
    "tabs": ("puzzle\tsolution\n" + table("{1}\t{2}"), "columns puzzle and solution"),
    "spaces": ("puzzle, solution\n" + table("{1}, {2}"), "columns puzzle and solution"),
    "quoted": ('"puzzle","solution"\n' + table('"{1}","{2}"'), "columns puzzle and solution"),
    "index": (",puzzle,solution\n" + table("{0},{1},{2}"), "columns puzzle and solution"),
    "blank spaces": (
        "puzzle,solution\n" + table("{1},{2}").replace(".", " "),
        "columns puzzle and solution",
    ),
    "Excel": (
        "sep=;\nPuzzle;Solution;\n" + table("{1};{2};") + ";;\n",
        "columns Puzzle and Solution",
    ),
    "long names": (
        "Unsolved_Sudoku,Solved_Sudoku\n" + table("{1},{2}"),
        "columns Unsolved_Sudoku and Solved_Sudoku",
    ),
    "RRN": (table("{1},{2}"), ""),
    "RRN, comments": ("# made from 49,151\n\n" + table("{1},{2}  # {0}"), ""),
    "with spaces": (table("{0} {1} {2} 1.5"), ""),
    "Lines": (
        "".join(json.dumps({"puzzle": a, "solution": b}) + "\n" for a, b in ROWS),
        "",
    ),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, name, encoding):
    text, how = TABLES[name]
    file = tmp_path / "a.csv"
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    notes = [f"{how}; {n} of 3 boards" if how else f"{n} of 3 boards" for n in (2, 1)]
    assert load(file) == ([[0, 1], [2]], [f"{file} ({note})" for note in notes])
    note = f"{how}; 3 with solutions" if how else "3 with solutions"
    assert solved(file) == ([0, 1, 2], f"3 of {file} ({note}, which are correct)")


def test_tables_are_converted_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_ROWS", 2)
    file = tmp_path / "a.csv"
    file.write_text(KAGGLE.replace("\n", "\n\n"))
    assert solved(file)[0] == [0, 1, 2]
    file.write_text(KAGGLE + f"{STRINGS[0]},{ANSWERS[1]}\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 5: the Sudoku has a solution that contra"):
        solved(file)


def test_some_solutions_may_be_missing(tmp_path):
    file = tmp_path / "a.csv"
    (a, b), (c, _), (d, e) = ROWS
    file.write_text(f"puzzle,solution\n{a},{b}\n{c},\n{d},{e}\n")
    numbers, (origin, _) = load(file)
    assert numbers == [[0, 1], [2]]
    assert "1 solutions computed" in origin
    file.write_text("\n".join(STRINGS))
    assert load(file)[0] == [[0, 1], [2]]
    assert solved(file)[1] == f"3 of {file}"


@pytest.mark.parametrize(
    ("puzzle", "answer", "message"),
    [
        (STRINGS[1][:-1], ANSWERS[1], r"line 3, column 'puzzle': found 80 cells\. Required: 81"),
        ("q" + STRINGS[1][1:], ANSWERS[1], r"line 3, column 'puzzle', character 1: 'q' is not"),
        (STRINGS[1][:-1] + "¹", ANSWERS[1], r"line 3, column 'puzzle', character 81: '¹' is not"),
        ("", ANSWERS[1], r"line 3, column 'puzzle': found 0 cells"),
        (STRINGS[1], ANSWERS[1] + "1", r"line 3, column 'solution': found 82 cells"),
        (STRINGS[1], ANSWERS[0], r"line 3: the .* solution that contradicts a given in row 1, col"),
        (STRINGS[1], STRINGS[1], r"line 3: the Sudoku has a solution with a blank cell in row 1"),
        (STRINGS[1], ANSWERS[1][:-2] + "11", r"line 3: .* 1 twice in row 9 of the solution"),
        ("22" + STRINGS[1][2:], ANSWERS[1], r"line 3: the Sudoku .*(2 twice in row 1|contradicts)"),
    ],
)
def test_wrong_rows_are_named(tmp_path, puzzle, answer, message):
    file = tmp_path / "a.csv"
    file.write_text(f"puzzle,solution\n{','.join(ROWS[0])}\n{puzzle},{answer}\n{','.join(ROWS[2])}")
    for read in (load, solved):
        with pytest.raises(ValueError, match=r"a\.csv, " + message):
            read(file)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (f"{STRINGS[0][1:]},{ANSWERS[0]}", "line 2, column 'puzzle': found 80 cells"),
        (f"{STRINGS[0]},{ANSWERS[0][1:]}", "line 2, column 'solution': found 80 cells"),
        (
            "5.30070000600195E+80,5.3E+80",
            "line 2, column 'puzzle': .*spreadsheet has lost.*as text",
        ),
    ],
)
def test_the_columns_of_a_table_do_not_depend_on_its_first_row(tmp_path, first, message):
    file = tmp_path / "a.csv"
    file.write_text(f"puzzle,solution\n{first}\n{','.join(ROWS[1])}\n")
    for read in (load, solved):
        with pytest.raises(ValueError, match=r"a\.csv, " + message):
            read(file)


def test_digits_of_other_scripts_in_a_table(tmp_path):
    file = tmp_path / "a.csv"
    wide = [x.translate({ord(c): ord(c) + 0xFEE0 for c in "123456789"}) for x in ROWS[1]]
    file.write_text(f"puzzle,solution\n{','.join(ROWS[0])}\n{','.join(wide)}\n")
    assert solved(file)[0] == [0, 1]
    np.save(tmp_path / "a.npy", np.array([STRINGS[0], wide[0]]))
    assert solved(tmp_path / "a.npy")[0] == [0, 1]


def test_rows_with_several_puzzles_are_no_table(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text(f"{STRINGS[0]}\n{STRINGS[1]} {STRINGS[2]}\n")
    assert solved(file)[0] == [0, 1, 2]


def test_data_needs_one_solution(tmp_path):
    file = tmp_path / "a.txt"
    several = STRINGS[0].replace("5", ".").replace("7", ".")
    none = "12345678." + "." * 8 + "9" + "." * 63
    for wrong, what in ((several, "several solutions, and the file gives none"), (none, "no sol")):
        file.write_text(f"{STRINGS[0]}\n{STRINGS[1]}\n{wrong}\n")
        with pytest.raises(ValueError, match=rf"a\.txt, line 3: the Sudoku has {what}"):
            load(file)
        load(file, train_examples=1, test_examples=1)  # those that are not used may be wrong
    # Beside a correct solution, there may be others.
    file.write_text(f"{several},{ANSWERS[0]}\n" * 2)
    source = sudoku.load(str(file), data_dir="", split="train", **ALL)
    np.testing.assert_array_equal(source[0]["target"] + 1, LABELS[0])


def test_sizes_of_files_without_splits(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(KAGGLE)
    assert load(file, train_examples=1, test_examples=1)[0] == [[0], [1]]
    assert load(file, train_examples=2)[0] == [[0, 1], [2]]
    assert load(file, test_examples=2)[0] == [[0], [1, 2]]
    for sizes in ({"train_examples": 3}, {"test_examples": 3}, {"train_examples": 9000}):
        with pytest.raises(ValueError, match=r"has 3 boards\..*at most 3 together.*_examples=0"):
            load(file, **sizes)


def test_a_file_that_changed_is_read_again(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(KAGGLE)
    assert load(file)[0] == [[0, 1], [2]]
    file.write_text("quizzes,solutions\n" + table("{1},{2}")[-164:] * 4)
    assert load(file)[0] == [[2, 2, 2], [2]]


# Arrays.


def one_hot(boards, classes=9):
    return (boards[..., None] == np.arange(10 - classes, 10)).astype(np.float32)


ARRAYS = {
    "digits": INPUTS,
    "flat": INPUTS.reshape(-1, 81).astype(int),
    "floats": np.where(INPUTS > 0, INPUTS, np.nan),
    "minus one": np.where(INPUTS > 0, INPUTS.astype(int), -1),
    "a channel": INPUTS[..., None],
    "tokens": INPUTS.reshape(-1, 81) + 1,
    "one-hot": one_hot(INPUTS),
    "one-hot of ten": one_hot(INPUTS, 10),
    "one-hot cells": one_hot(INPUTS).reshape(-1, 81, 9).astype(bool),
    "one-hot, flat": one_hot(INPUTS).reshape(-1, 729),
    "bytes": np.array([x.encode() for x in STRINGS]),
    "strings": np.array(STRINGS),
    "characters": np.array([list(x) for x in STRINGS]).reshape(-1, 9, 9),
}
SINGLE = {
    "digits": INPUTS[0],
    "flat": INPUTS[0].ravel(),
    "one-hot": one_hot(INPUTS[0]),
    "one-hot of ten": one_hot(INPUTS[0], 10),
    "a string": np.array(STRINGS[0]),
    "characters": np.array(list(STRINGS[0])).reshape(9, 9),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(tmp_path, name):
    np.save(tmp_path / "a.npy", ARRAYS[name])
    assert solved(tmp_path / "a.npy") == ([0, 1, 2], f"3 of {tmp_path}/a.npy")
    numbers, (origin, _) = load(tmp_path / "a.npy")
    assert numbers == [[0, 1], [2]] and "2 solutions computed" in origin


@pytest.mark.parametrize("name", SINGLE)
def test_an_array_of_one_board(tmp_path, name):
    np.save(tmp_path / "a.npy", SINGLE[name])
    assert solved(tmp_path / "a.npy")[0] == [0]


@pytest.mark.parametrize(
    ("names", "boards"),
    [
        (("quizzes", "solutions"), (INPUTS, LABELS)),
        (("puzzles", "solutions"), (INPUTS.reshape(-1, 81), LABELS.reshape(-1, 81))),
        (("features", "labels"), (one_hot(INPUTS), one_hot(LABELS))),
        (("features", "labels"), (one_hot(INPUTS, 10), one_hot(LABELS))),
        (("inputs", "labels"), (INPUTS + 1, LABELS + 1)),
        (("all__inputs", "all__labels"), (INPUTS[:, :1] * 0 + INPUTS + 1, LABELS + 1)),
        (("x", "y"), (np.array(STRINGS), np.array(ANSWERS))),
    ],
)
def test_archives_of_arrays(tmp_path, names, boards):
    file = tmp_path / "a.npz"
    np.savez(file, **dict(zip(names, boards, strict=True)))
    how = f"arrays {names[0]} and {names[1]}"
    assert load(file) == (
        [[0, 1], [2]],
        [f"{file} ({how}; 2 of 3 boards)", f"{file} ({how}; 1 of 3 boards)"],
    )
    assert solved(file) == ([0, 1, 2], f"3 of {file} ({how}; 3 with solutions, which are correct)")


def test_faulty_arrays_are_named(tmp_path):
    for array, message in (
        (
            np.zeros((3, 8, 9)),
            r"found shape \[3, 8, 9\] of float64\. Required: one-hot \[N, 9, 9, 9",
        ),
        (INPUTS + 0.5, r"board 0 has the value 5\.5 in row 0, column 0 \(counted from 0\)"),
        (np.where(INPUTS == 7, 11, INPUTS), r"board 0 has the value 11 in row 0, column 4"),
        (np.array(["5" * 80]), r"found shape \[1\] of <U80"),
        (INPUTS.astype(complex), r"found shape \[3, 9, 9\] of complex128"),
        (np.zeros((0, 9, 9)), r"found shape \[0, 9, 9\] of float64.*Write .* with boards"),
        (np.array(["5" * 80, "5" * 79]), r"found shape \[2\] of <U80.*which have 79 to 80"),
        (np.array([STRINGS[0], "5" * 80]), r"board 1 has no character in row 8, column 8"),
        (
            np.array([STRINGS[0], "²" + STRINGS[1][1:]]),
            r"string 1 \(counted from 0\) has the character '²'",
        ),
        (np.array(ROWS), r"found shape \[3, 2\] of <U81.*quizzes=array\[:, 0\], solutions="),
        (np.stack([INPUTS, LABELS]), r"found shape \[2, 3, 9, 9\].*quizzes=array\[0\]"),
        (INPUTS / 9, r"found digits scaled to 0 to 1\. Required.*\(9 \* array\)\.round\(\)"),
        (INPUTS / 9 - 0.5, r"found digits scaled to -0\.5 to 0\.5.*9 \* array \+ 4\.5"),
        (
            one_hot(LABELS).transpose(0, 3, 1, 2),
            r"found one-hot .* second axis is the digit.*transpose\(0, 2, 3, 1",
        ),
        (one_hot(INPUTS, 10).transpose(0, 3, 1, 2), r"found shape .*transpose\(0, 2, 3, 1\)"),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ValueError, match=r"a\.npy: " + message):
            solved(tmp_path / "a.npy")
    for arrays, message in (
        ({"a": INPUTS, "b": LABELS}, "holds the arrays a, b.*quizzes and solutions"),
        ({"quizzes": np.array(STRINGS, object)}, "a.npz, quizzes holds Python objects.*astype"),
        (
            {"quizzes": INPUTS, "solutions": LABELS - 1},
            "a.npz, solutions: found solutions of the numbers 0 to 8.*Add 1",
        ),
        ({"quizzes": INPUTS, "solutions": LABELS[:2]}, "3 boards in quizzes, 2 in solutions"),
        ({"quizzes": INPUTS, "solutions": LABELS[::-1]}, "board 0 has a label that contradicts"),
        ({"quizzes": INPUTS, "solutions": INPUTS}, "board 0 has a label with a blank cell"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match=message):
            solved(tmp_path / "a.npz")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(STRINGS))
    with pytest.raises(ValueError, match=r"a\.pkl is a pickle, which can run any code.*savez"):
        solved(tmp_path / "a.pkl")


def test_arrays_that_are_none_are_named(tmp_path):
    file = tmp_path / "a.npy"
    np.save(file, np.array(STRINGS, object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy holds Python objects.*array\.astype\(str\)"):
        solved(file)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    with pytest.raises(ValueError, match=r"a\.npy is a pointer of Git LFS.*git lfs pull"):
        solved(file)
    file.write_text("<!DOCTYPE html>\n<html><title>Sign in</title></html>")
    with pytest.raises(ValueError, match=r"a\.npy holds 0 cells.*is a web page\. Copy"):
        solved(file)
    file.write_bytes(gzip.compress(gzip.compress(KAGGLE.encode())))
    assert solved(file)[0] == [0, 1, 2]


def test_an_archive_of_one_array_needs_no_name(tmp_path):
    np.savez(tmp_path / "a.npz", np.array(STRINGS))
    assert solved(tmp_path / "a.npz") == ([0, 1, 2], f"3 of {tmp_path}/a.npz (arrays arr_0)")


@pytest.mark.parametrize("suffix", ["npy", "npz", "zip", "bz2", "xz", "gz"])
def test_whatever_is_damaged_is_named(tmp_path, suffix):
    """A changed byte is found, or changes nothing that is read, such as a date in an archive."""
    file = tmp_path / f"a.{suffix}"
    text = ("\n".join(STRINGS) + "\n").encode()
    if suffix == "npy":
        np.save(file, INPUTS.astype(">u8"))
    elif suffix == "npz":
        np.savez_compressed(file, quizzes=INPUTS, solutions=LABELS)
    elif suffix == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("a.csv", text)
    else:
        file.write_bytes({"bz2": bz2, "xz": lzma, "gz": gzip}[suffix].compress(text))
    data, rng = file.read_bytes(), np.random.default_rng(0)
    for trial in range(120):
        changed = bytearray(data[: rng.integers(len(data)) if trial % 4 == 0 else None])
        for _ in range(3 if changed else 0):
            changed[rng.integers(len(changed))] = rng.integers(256)
        file.write_bytes(changed)
        try:
            assert solved(file)[0] == [0, 1, 2]
        except (ValueError, OSError) as error:
            assert str(tmp_path) in str(error)


# Folders and archives.


def write_hrm(folder):
    """HRM's layout: tokens, one split after the other; the first two boards are for training."""
    for split, part in (("train", slice(2)), ("test", slice(2, 3))):
        (folder / split).mkdir(parents=True)
        for kind, boards in (("inputs", INPUTS), ("labels", LABELS)):
            np.save(folder / split / f"all__{kind}.npy", boards[part].reshape(-1, 81) + 1)
        np.save(folder / split / "all__puzzle_indices.npy", np.arange(2))
        (folder / split / "dataset.json").write_text("{}")
    (folder / "identifiers.json").write_text('["<blank>"]')
    return folder


def test_layout_of_hrm(tmp_path):
    folder = write_hrm(tmp_path / "data")
    how = "arrays all__inputs and all__labels"
    expected = [[0, 1], [2]], [f"{folder}/train ({how})", f"{folder}/test ({how})"]
    assert load(folder) == expected
    assert load(folder, train_examples=9000, test_examples=1000) == expected  # at most
    assert load(folder, train_examples=1)[0] == [[0], [2]]
    assert "1 of 2 boards" in load(folder, train_examples=1)[1][0]
    assert solved(folder)[0] == [2]
    assert solved(folder / "train")[0] == [0, 1]
    assert "2 with solutions" in solved(folder / "train" / "all__inputs.npy")[1]
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as zipped:
        for file in folder.rglob("*.*"):
            zipped.write(file, file.relative_to(tmp_path))
    assert load(tmp_path / "data.zip")[0] == [[0, 1], [2]]
    wrong = np.load(folder / "train" / "all__labels.npy")
    np.save(folder / "train" / "all__labels.npy", wrong - 1)
    with pytest.raises(
        ValueError, match=r"data/train: board 0 has a label with a blank cell in row 0, column 7"
    ):
        load(folder)
    (folder / "train" / "all__labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"all__labels\.npy is not there, though"):
        load(folder)


def test_files_named_for_splits(tmp_path):
    lines = KAGGLE.splitlines(keepends=True)
    (tmp_path / "train.csv").write_text(lines[0] + lines[1] + lines[2])
    (tmp_path / "valid.csv").write_text(lines[0] + lines[1])
    (tmp_path / "README.md").write_text("# 9 Sudokus\n")
    assert load(tmp_path)[0] == [[0, 1], [0]]
    (tmp_path / "test.csv.gz").write_bytes(gzip.compress((lines[0] + lines[3]).encode()))
    assert load(tmp_path)[0] == [[0, 1], [2]]
    assert solved(tmp_path)[0] == [2]
    (tmp_path / "train.csv").unlink()
    with pytest.raises(ValueError, match="nothing for the split 'train'.*begins with train"):
        load(tmp_path)


def test_shards_and_collections_are_joined(tmp_path):
    lines = KAGGLE.splitlines(keepends=True)
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(lines[0] + lines[number + 1])
    assert load(tmp_path)[0] == [[0, 1], [2]]
    assert load(tmp_path)[1][0] == "; ".join(
        f"{tmp_path}/{k}.csv (columns quizzes and solutions)" for k in (0, 1)
    )
    assert solved(tmp_path)[0] == [0, 1, 2]
    for number in range(3, 6):
        (tmp_path / f"{number}.sdk").write_text(STRINGS[0])
    assert solved(tmp_path) == ([0, 1, 2, 0, 0, 0], f"6 of 6 files in {tmp_path}")


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed_tables(tmp_path, module):
    (tmp_path / "a.csv").write_bytes(module.compress(KAGGLE.encode()))
    assert load(tmp_path / "a.csv")[0] == [[0, 1], [2]]


def test_a_table_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("sudoku.csv", KAGGLE)
    assert load(tmp_path / "a.zip")[0] == [[0, 1], [2]]
    (part,), separate = parts_of(str(tmp_path / "a.zip"), "train")
    assert part.inputs.where == f"{tmp_path}/a.zip/sudoku.csv" and not separate


def test_the_configuration_tells_where_boards_come_from(tmp_path):
    (tmp_path / "a.csv").write_text(KAGGLE)
    settings = Sudokus(path=str(tmp_path / "a.csv"), train_examples=0, test_examples=0)
    source = settings.load("train", None)
    assert settings.origin_of(source) == (
        f"{tmp_path}/a.csv (columns quizzes and solutions; 2 of 3 boards)"
    )
    assert settings.training_examples() is None
    assert Sudokus(train_examples=0).training_examples() == 9000
