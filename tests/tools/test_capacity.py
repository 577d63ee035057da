"""What fits into the memory of a device, and the GPUs that one can ask about."""

import importlib.util

import jax
import pytest
from cards import card, changed
from miniatures import miniature

from wonn_jax.tools import launch
from wonn_jax.tools.capacity import Need, what_fits
from wonn_jax.tools.describe import Target, parse_target, run_describe
from wonn_jax.train import gpus
from wonn_jax.train.card import Config, freeze

FIXED = 10
"""Of the parameters; temporaries are one a row, half with layers recomputed."""


def measure(config: Config) -> Need:
    rows = config.train.batch_size // config.train.accumulate
    recomputed = getattr(config.model, "remat_layers", "off") != "off"
    kept = 0.5 if recomputed else 1.0
    return Need(FIXED + int(rows * kept), int(rows * kept))


def answers(room: float, **changes) -> list[str]:
    changes = {"model__remat_layers": "off", "train__batch_size": 96} | changes
    config = freeze(changed(card("maze_hard"), **changes))
    return what_fits(config, measure(config), room, 1, measure)


ON = "--config.model.remat_layers=on"


@pytest.mark.parametrize(
    "room, changes, expected",
    [
        (60, {}, [ON, "--config.train.accumulate=2", "--config.train.batch_size=48"]),
        (43, {}, ["--config.train.accumulate=3", "--config.train.batch_size=32"]),
        (43, {"train__accumulate": 2}, [ON, "--config.train.accumulate=4", "--config.train.ba"]),
        (10.5, {}, [f"{ON} --config.train.accumulate=96", f"{ON} --config.train.batch_size=1"]),
        (60, {"model__remat_layers": "auto"}, ["--config.train.accumulate=2"]),
        (10.5, {"model__remat_layers": "on"}, ["--config.train.accumulate=96"]),
        (5, {}, []),
        (60, {"model__remat": 0}, [f"--config.model.remat=1 {ON}", "--config.train.accumulate=2"]),
    ],
)
def test_what_fits(room, changes, expected):
    found = answers(room, **changes)
    assert len(found) >= len(expected) and bool(found) == bool(expected)
    for flags, beginning in zip(found, expected, strict=False):
        assert flags.startswith(beginning)


def test_a_network_without_recomputation():
    config = freeze(changed(card("cifar10", "resnet18"), train__batch_size=96))
    found = what_fits(config, measure(config), 60, 1, measure)
    assert found == ["--config.train.accumulate=2", "--config.train.batch_size=48"]


@pytest.mark.parametrize(
    "text, expected",
    [("h100", Target("h100")), ("b200x8", Target("b200", 8)), ("a100x32", Target("a100", 32))],
)
def test_gpus_that_can_be_asked_about(text, expected):
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    "text, said",
    [
        ("h1000", "--platform=h1000 is unknown; it must be a100, h100, h200, b200, or several"),
        ("h100x", "--platform=h100x is unknown"),
        ("h100x12", "A host has 1 to 8 GPUs, several have 8 each; 12 do not."),
        ("h100x0", "0 do not"),
        ("8", "is unknown"),
    ],
)
def test_gpus_that_there_are_not(text, said):
    with pytest.raises(ValueError, match="^") as raised:
        parse_target(text)
    assert said in str(raised.value)


@pytest.mark.parametrize("text", ["0", "2", "most", "nan", "-0.5"])
def test_impossible_shares_of_the_memory(text, monkeypatch):
    monkeypatch.setenv(gpus.FRACTION, text)
    with pytest.raises(ValueError, match=f"{gpus.FRACTION}={text} must be more than 0"):
        gpus.preallocated()


def test_the_share_of_the_memory(monkeypatch):
    monkeypatch.delenv(gpus.FRACTION, raising=False)
    assert Target("h100").room == 0.75 * 84_978_434_048
    monkeypatch.setenv(gpus.FRACTION, "0.9")
    assert Target("h100").room == 0.9 * 84_978_434_048


def test_no_memory_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(launch.hosts, "leave", lambda status: exit(status))
    error = jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 92.11GiB.\nAllocations: a, b"
    )
    with pytest.raises(SystemExit) as ended:
        launch.fail(error, traceback=False)
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("error: The memory of the device does not suffice (RESOURCE_EXHAUSTED:")
    assert "allocate 92.11GiB). Use more micro-batches (--config.train.accumulate=2)" in text


@pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in gpus.WHEELS),
    reason='needs the compiler: pip install "jax[cuda13]"',
)
def test_a_step_that_is_too_large_for_a_gpu(capsys, monkeypatch):
    config = miniature("maze", train__batch_size=8)
    run_describe(config, Target("h100"))
    text = capsys.readouterr().out
    assert "device   1 × NVIDIA H100 80GB HBM3" in text and "an estimate" in text
    monkeypatch.setenv(gpus.FRACTION, "1e-9")
    with pytest.raises(ValueError, match="The training step needs .* Not even one example"):
        run_describe(config, Target("h100"))
