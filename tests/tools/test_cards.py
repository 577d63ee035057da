"""Loading the file of an experiment, and what is said of one that does not load."""

import os

import pytest
from cards import ROOT

from wonn_jax.tools.cards import load_card
from wonn_jax.train.card import freeze

GOOD = """
from wonn_jax.data import Mazes
from wonn_jax.evaluators import PLAIN
from wonn_jax.models.grid import GridConfig
from wonn_jax.tasks import MazeConfig
from wonn_jax.train.card import Config, card
from wonn_jax.train.evaluation import EvalConfig

def get_config(preset="none"):
    data = Mazes(height=9, width=len(preset))
    return card(Config(MazeConfig(), data, GridConfig(), eval=EvalConfig(evaluators=PLAIN)))
"""


@pytest.fixture
def write(tmp_path):
    """Writes a card; the name to load it by."""

    def card(text: str, name: str = "card.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return card


@pytest.mark.parametrize(("preset", "width"), [("", 4), (":ab:cd", 5), (":", 0)])
def test_a_card_and_its_preset(write, preset, width):
    config = load_card(write(GOOD) + preset)
    assert config.data.width == width
    if width:
        assert freeze(config).data.height == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise KeyError('abc')", "/card.py fails in line 2 (KeyError: 'abc')."),
        ("import nothing_there", "fails in line 1 (ModuleNotFoundError: No module named 'noth"),
        ("\ndef get_config(", "fails in line 2 (SyntaxError: '(' was never closed)."),
        ("def get_config():\n  return\n   x", "fails in line 3 (IndentationError: unexpected in"),
        ("def get_config():\n  assert 0", "fails in line 2 (AssertionError)."),
        ("import json\ndef get_config():\n  json.loads(3)", "fails in line 3 (TypeError: the JS"),
        ("def get_config(a): ...", "fails (TypeError: get_config() missing 1 required positional"),
        ("", "card.py is no card: it has no function get_config, as configs/digits.py has."),
        ("get_config = 3", "is no card: it has no function get_config"),
        ("def get_config(): ...", "returns nothing; it must return card(config), as in configs/"),
        ("def get_config():\n  return {}", "returns a value of type dict; it must return card(c"),
        ("def get_config():\n  raise ValueError('no preset.')", "no preset."),
    ],
)
def test_what_is_wrong_with_a_card(write, text, message):
    with pytest.raises(ValueError) as error:
        load_card(write(text))
    assert message in str(error.value)


def test_other_files(write, tmp_path):
    with pytest.raises(ValueError, match=r"card\.json is no card: cards are files of Python, as"):
        load_card(write("{}", "card.json"))
    (tmp_path / "latin.py").write_bytes("x = 'café'".encode("latin-1"))
    with pytest.raises(ValueError, match=r"fails in line 1 \(SyntaxError: .*'utf-8' codec can't"):
        load_card(str(tmp_path / "latin.py"))


@pytest.mark.parametrize(
    ("name", "there", "hint"),
    [
        ("configs", "is a folder", "configs/maze_hard.py:small"),
        ("nothing.py", "does not exist", "configs/maze_hard.py:small"),
        ("configs/sudoku", "does not exist", "configs/sudoku.py"),
        ("sudoku", "does not exist", "configs/sudoku.py"),
        ("sudoku.py:small", "does not exist", "configs/sudoku.py"),
    ],
)
def test_a_card_that_is_not_there(name, there, hint, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = name.partition(":")[0]
    with pytest.raises(FileNotFoundError) as error:
        load_card(name)
    assert str(error.value) == f"the card '{path}' {there}; give a file such as --config={hint}."


def test_from_another_folder(write, tmp_path, monkeypatch):
    write(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_card("card.py").data.height == 9
    write("\n\n1 / 0")
    with pytest.raises(ValueError, match=r"the card card\.py fails in line 3 \(ZeroDivisionErr"):
        load_card(os.path.join(".", "card.py"))
