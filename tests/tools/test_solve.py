"""The command that solves puzzles: output, exit statuses, pictures; and answers by energy."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from wonn_jax import solve
from wonn_jax.common.rng import example_keys, stream_key
from wonn_jax.data import maze
from wonn_jax.tools.animate import save_dynamics
from wonn_jax.tools.network import load_network
from wonn_jax.tools.puzzles import PUZZLES, MazePuzzle, Verdict
from wonn_jax.tools.solving import answer

MAZE = "S..\n.#.\n..G\n"


@pytest.fixture
def puzzle(tmp_path):
    """A function that writes a text to a file and gives its path."""

    def write(text: str) -> str:
        (tmp_path / "puzzle.txt").write_text(text)
        return str(tmp_path / "puzzle.txt")

    return write


def test_answers_verdicts_and_pictures(maze_run, puzzle, tmp_path, capsys):
    files = [f"--picture={tmp_path / 'new' / 'out.png'}", f"--animate={tmp_path / 'out.gif'}"]
    run = f"--workdir={maze_run}"
    status = solve.main(["maze", puzzle(f"{MAZE}\n{MAZE}"), run, "--votes=2", *files])
    out = capsys.readouterr().out
    assert status in (0, 1)
    assert out.count("S ") == out.count("G ") == 2 and "\x1b" not in out
    assert out.count("the lowest of 2 draws") == 2 and "of 2 solved" in out
    assert out.count("written") == 2
    with Image.open(tmp_path / "new" / "out.png") as picture:
        assert picture.format == "PNG"
    with Image.open(tmp_path / "out.gif") as movie:
        assert movie.n_frames > 2


def test_exit_statuses(maze_run, puzzle, monkeypatch, capsys):
    file = puzzle(f"{MAZE}\n{MAZE}")
    verdicts: list[bool] = []
    monkeypatch.setattr(MazePuzzle, "judge", lambda *_: Verdict(verdicts.pop(), ""))
    for solved, status in (([True, True], 0), ([True, False], 1)):
        verdicts[:] = solved
        assert solve.main(["maze", file, f"--workdir={maze_run}", "--votes=1"]) == status
        assert f"{sum(solved)} of 2 solved" in capsys.readouterr().out


def test_standard_input_and_colours(maze_run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MAZE.encode())))
    line = ["maze", "-", f"--workdir={maze_run}", "--votes=1", "--steps=2", "--colour=always"]
    assert solve.main(line) in (0, 1)
    out = capsys.readouterr().out
    assert "\x1b[48;2;" in out and "; 2 steps" in out and "draws" not in out


@pytest.mark.parametrize(
    ("task", "text", "more", "message"),
    [
        ("sudoku", "." * 81, [], "is a run on maze, not on sudoku"),
        (
            "maze",
            MAZE + "\nS#G\n",
            [],
            "puzzle.txt: the maze that begins in line 5 has no solution: from the start",
        ),
        ("maze", "S.\n", [], "no goal"),
        ("sudoku", "55" + "." * 79, [], "contradicts itself"),
    ],
)
def test_bad_input(maze_run, puzzle, capsys, task, text, more, message):
    assert solve.main([task, puzzle(text), f"--workdir={maze_run}", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--votes=0", "--votes: '0' must be an integer of at least 1"),
        ("--votes=--", "argument --votes: '--' is no value; give another"),
        ("--seed=-1", "--seed: '-1' must be an integer of at least 0"),
        (f"--steps={10**30}", f"--steps: '{10**30}' must be"),
        ("--first=many", "--first: 'many' must be an integer"),
        ("--picture=out.maze", "--picture: 'out.maze' must end in .png or .jpg"),
        ("--animate=out.png", "--animate: 'out.png' must end in .gif"),
        ("--picture=folder.png", "--picture: 'folder.png' is a folder; give the path of a file"),
    ],
)
def test_options_of_a_wrong_kind(tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as status:
        solve.main(["maze", "puzzle.txt", given])
    assert status.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["picture", "animate"])
def test_puzzles_are_not_overwritten(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    name = "puzzle.png" if option == "picture" else "puzzle.gif"
    (tmp_path / name).write_bytes(b"a board")
    assert solve.main(["maze", name, f"--{option}={tmp_path / 'no' / '..' / name}"]) == 2
    assert "is the file of the puzzle; give another path" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"a board"


def test_files_that_cannot_be_read(tmp_path, capsys):
    assert solve.main(["maze", str(tmp_path / "none.txt")]) == 2
    assert "none.txt: No such file" in capsys.readouterr().err
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")
    assert solve.main(["maze", str(tmp_path / "binary.txt")]) == 2
    assert "binary.txt is not UTF-8 text" in capsys.readouterr().err


def test_the_lowest_energy_answers(maze_run):
    network = load_network(maze_run)
    tokens = maze.generate(1, 5, 5, 3, seed=2, processes=1)[0].reshape(5, 5).astype(int) - 1
    found = answer(network, tokens, draws=4, seed=5)
    assert found.probabilities.shape == (3, 5, 5, 5) and found.energies.shape == (3,)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.classes, found.probabilities[-1].argmax(-1))
    # The same draws, run one by one, have these energies; the energy shown is that of the lowest.
    keys = example_keys(stream_key(5, "evaluation phases"), jnp.arange(4))
    theta = network.model.initial_phases(keys, tokens.shape)
    apply = jax.jit(functools.partial(network.model.apply, energies=True))
    output = apply(network.variables, jnp.repeat(tokens[None], 4, 0), theta)
    np.testing.assert_allclose(found.draw_energies, output.layers[-1].energies[-1], rtol=1e-4)
    assert len(set(found.draw_energies)) == 4
    assert found.energies[-1] == pytest.approx(found.draw_energies.min(), rel=1e-5)
    assert "the lowest of 4 draws" in found.summary()


def test_a_picture_of_a_sudoku(tmp_path):
    rng = np.random.default_rng(0)
    tokens, chances = rng.integers(0, 10, (9, 9)), rng.random((2, 9, 9, 9))
    path = tmp_path / "new" / "out.png"
    save_dynamics(path, PUZZLES["sudoku"], tokens, chances, np.arange(2.0), moving=False)
    with Image.open(path) as picture:
        assert picture.size == (550, 704)
