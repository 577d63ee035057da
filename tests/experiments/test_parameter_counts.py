"""Parameter counts of the paper's models, to the last one, and the table that prints them."""

import ast
import re
from pathlib import Path

import pytest
from cards import card as card_file
from cards import changed

from experiments import parameter_counts
from experiments.parameter_counts import count, rounds_to, rows
from wonn_jax.train.card import freeze

LISTED = (Path(parameter_counts.__file__).parent / "README.md").read_text()

# C 128, 64 → 256, 256.
SIZES = ("128", "64-256", "256")
EXACT = {
    ("cifar10", "mlp", 1): (3_077_898, 7_535_626, 12_021_258),
    ("cifar10", "trig", 1): (2_984_970, 7_403_978, 11_835_402),
    ("cifar100", "mlp", 1): (3_089_508, 7_558_756, 12_044_388),
    ("cifar100", "trig", 1): (2_996_580, 7_427_108, 11_858_532),
    ("imagenet1k", "mlp", 4): (3_208_296, 7_791_400, 12_281_064),
    # Without the bias of the phase transitions.
    ("imagenet100", "mlp", 4): (3_092_196, 7_560_100, 12_049_764),
    ("imagenet100", "trig", 4): (2_999_268, 7_428_452, 11_863_908),
    ("imagenet100", "mlp", 7): (3_104_868, 7_566_436, 12_075_108),
    ("imagenet100", "trig", 7): (3_011_940, 7_434_788, 11_889_252),
    ("imagenet100", "mlp", 8): (None, None, 12_086_628),
}
TRANSITION_BIAS = {"128": 640, "64-256": 1024, "256": 1280}
ABLATIONS = [
    ({"layers": 1}, 1_653_348, 1_622_372),
    ({"group": 1}, 11_823_204, 11_794_020),
    ({}, 12_044_388, 11_858_532),
    ({"coupling": "convolution"}, 18_722_916, 18_537_060),
    ({"group": 4}, 15_140_964, 12_669_540),
    ({"layers": 9}, 18_279_012, 18_000_228),
    ({"steps": (6,)}, 12_044_388, 11_858_532),
]


@pytest.mark.parametrize(("card", "kind", "patch"), EXACT)
def test_sizes(card, kind, patch):
    for size, expected in zip(SIZES, EXACT[card, kind, patch], strict=True):
        if expected is None:
            continue
        if card == "imagenet100":
            expected += TRANSITION_BIAS[size]
        assert count(card, f"{kind}-{size}", {"model.patch": patch}) == expected


def test_the_bias_of_the_transitions_can_be_left_out():
    assert count("imagenet100", "trig-128", {"model.transition_bias": False}) == 2_999_268


@pytest.mark.parametrize(("overrides", "learned", "trigonometric"), ABLATIONS)
def test_ablations(overrides, learned, trigonometric):
    overrides = {f"model.{name}": value for name, value in overrides.items()}
    assert count("cifar100", "mlp-256", overrides) == learned
    assert count("cifar100", "trig-256", overrides) == trigonometric


def test_rounding():
    assert rounds_to(2_984_970, "2.98M") and rounds_to(396_293, "0.396M")
    assert not rounds_to(2_985_100, "2.98M")


def test_the_table_says_what_differs(monkeypatch, capsys):
    right = next(rows())
    wrong = right._replace(printed="3.09M")
    monkeypatch.setattr(parameter_counts, "rows", lambda: iter([right]))
    assert parameter_counts.main() == 0
    monkeypatch.setattr(parameter_counts, "rows", lambda: iter([right, wrong]))
    assert parameter_counts.main() == 1
    assert "3.09M  DIFFERS" in capsys.readouterr().out


def test_every_row_is_listed_with_its_command():
    for row in rows():
        assert f"| {row.printed} | `{row.command}` |" in LISTED


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(--config=.*?)`", LISTED))))
def test_every_listed_command_is_a_configuration(command):
    chosen, *fields = command.split()
    name, _, preset = Path(chosen).name.partition(".py")
    config = card_file(name, *filter(None, [preset.removeprefix(":")]))
    for field in fields:
        path, _, text = field.removeprefix("--config.").partition("=")
        section, key = path.split(".")
        kind = type(config[section][key])
        value = text if kind is str else ast.literal_eval(text)
        changed(config, **{f"{section}__{key}": (value,) if kind is tuple else value})
    assert freeze(config).model.name in ("winfree_grid", "winfree_image", "resnet")
