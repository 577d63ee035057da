"""The check for GPUs: what is compiled, how it is told, and one small card really compiled."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
from cards import ROOT

from experiments import gpu_check
from experiments.compile_check import results
from experiments.compile_check.children import found_by_child
from experiments.gpu_check import CARDS, PRESETS, Job, attempts, parse_key, report
from wonn_jax.train import gpus
from wonn_jax.train.gpus import GPUS

FOUND = {
    "date": "2026-01-02",
    "jax": "1",
    "compile_seconds": 1.0,
    "arguments": 10**9,
    "temporaries": 2 * 10**9,
    "output": 0,
    "rows": 64,
    "steps": 144_000,
    "model_flops": 5e12,
    "parameters": 396_293,
    "launches": 1234,
    "bytes": 3 * 10**9,
    "flops": {"bf16": 10**12, "f32": 5 * 10**11},
    "calls": {"__cudnn$fmhaSoftmax": 24},
    "sent": 2_000_000,
    "attention": ["cudnn"],
    "seconds": 0.05,
}
NOT_INSTALLED = not any(importlib.util.find_spec(name) for name in gpus.WHEELS)


def cells(text: str, card: str) -> list[str]:
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {card} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_card_is_checked():
    assert set(PRESETS) == {path.stem for path in Path(ROOT, "configs").glob("*.py")}
    assert len(set(CARDS)) == len(CARDS) == sum(map(len, PRESETS.values()))


@pytest.mark.parametrize(
    "count, mode", [(1, "data"), (8, "data"), (8, "fsdp"), (8, "grid"), (32, "fsdp")]
)
def test_every_program_is_an_experiment_of_its_card(count, mode):
    for card in CARDS:
        job = Job(card, count=count, mode=mode)
        assert parse_key(job.key) == job
        assert math.prod(job.axes.values()) == count
        program = job.program
        assert program.examples > 0
        rows = program.settings.get("train.batch_size")
        assert rows is None or rows % (job.axes["data"] * job.axes["fsdp"]) == 0


def test_batches_are_those_of_the_card_or_the_next_that_can_be_split():
    assert Job("sudoku").program.settings == {}
    assert Job("sudoku", count=8).program.settings == {"train.batch_size": 104}
    micro = Job("sudoku", accumulate=8).program.settings
    assert micro == {"train.batch_size": 104, "train.accumulate": 8}


def test_only_what_can_be_split_has_a_grid():
    cards = ("maze_hard", "sudoku", "cifar10:trig-128", "cifar10:resnet18")
    assert [Job(x, count=8, mode="grid").splits() for x in cards] == [True, False, True, False]


def test_settings_are_set_and_told():
    job = Job("maze_hard", settings=("data.height=9", "model.precision=float32"))
    assert parse_key(job.key) == job
    assert job.program.settings == {"data.height": 9, "model.precision": "float32"}
    with pytest.raises(ValueError, match="model has the fields"):
        Job("maze_hard", settings=("model.wide=9",)).program  # noqa: B018


def test_report():
    job = Job("maze_hard")
    text = report(json.loads(json.dumps({"about": "jax 1", job.key: FOUND})))
    found = cells(text, "maze_hard")
    assert found[:8] == ["maze_hard", "", "64", "1", "1.000", "2.00", "4 %", "1"]
    assert found[8:12] == ["1,234", "3.00", "1.50", "5.00"]
    assert found[12:] == ["cudnn", "24 __cudnn$fmhaSoftmax", "2.0", "50.00", "2.00", ""]
    assert "## Training, 1 × NVIDIA H100 80GB HBM3" in text
    assert "1 of 1 programs compile, 1 of them fit." in text
    measured = report({"about": "jax 1", job.key: FOUND | {"measured": 0.06}})
    assert cells(measured, "maze_hard")[-1] == "60.00"


def test_settings_are_compared_with_the_card_as_it_is():
    job = Job("sudoku")
    other = Job("sudoku", settings=("model.attention=plain",))
    found = FOUND | {"attention": ["plain"], "temporaries": 4 * 10**9, "bytes": 6 * 10**9}
    assert "Settings compared" not in report({"about": "", job.key: FOUND})
    text = report({"about": "", other.key: found, job.key: FOUND}).partition("Settings compared")[2]
    lines = [x for x in text.splitlines() if x.startswith("| sudoku ")]
    first, second = ([cell.strip() for cell in x.strip("|").split("|")] for x in lines)
    figures = ["1 × h100", "train", "cudnn", "2.000", "1,234", "3.00", "50.00"]
    assert first == ["sudoku", "as it is", *figures]
    assert second[1:] == [
        "model.attention=plain",
        *figures[:2],
        "plain",
        "4.000",
        "1,234",
        "6.00",
        "50.00",
    ]


def test_what_fails_is_told():
    job = Job("maze_hard", gpu="a100", count=8, mode="fsdp", step="eval")
    text = report({"about": "", job.key: {"error": "no tiles", "date": "2026-01-02"}})
    assert "no tiles" in cells(text, "maze_hard") and "fsdp 8" in cells(text, "maze_hard")
    assert f"0 of 1 programs compile, 0 of them fit; not compiled: {job.key}" in text


def test_steps_that_are_too_large_get_more_micro_batches(tmp_path):
    path, job = tmp_path / "gpu.json", Job("maze_hard")
    done = {}
    need = 200e9
    for key, program in attempts(job, path):
        parts = program.settings.get("train.accumulate", 1)
        done[key] = FOUND | {"temporaries": need / parts}
        path.write_text(json.dumps(done))
    assert [parse_key(key).accumulate for key in done] == [1, 2, 4]
    assert not gpu_check.fits(parse_key(list(done)[1]), done[list(done)[1]])  # 100 GB of 85
    assert "(too large)" in report(done)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--gpus", "h1000"], "invalid choice: 'h1000' (choose from"),
        (["--cards", "maze"], "there is no card 'maze'; there are maze_hard, sudoku,"),
        (
            ["--cards", "cifar10:trig-64"],
            "cifar10 has no preset 'trig-64'; it has trig-128, mlp-256",
        ),
        (["--counts", "12"], "A host has 1 to 8 GPUs, several have 8 each; 12 do not."),
        (["--counts", "two"], "'two' is no number of GPUs"),
        (["--modes", "model"], "invalid choice: 'model'"),
    ],
)
def test_unknown_names_are_refused_with_those_that_are_known(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, arguments, said",
    [
        ("{", [], "is damaged"),
        ('{"a": 1}', [], "does not hold the results of this command"),
        ('{"a b": {"date": ""}}', ["--report"], "'a b' is no key of a result"),
        ('{"about": "jax 1"}', ["--report"], "holds no results yet"),
        (None, ["--report"], "holds no results yet; run without --report first."),
        (None, ["--set", "data.height"], "--set data.height must be GROUP.FIELD=VALUE"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(content, arguments, said, tmp_path, capsys):
    path = tmp_path / "gpu.json"
    if content is not None:
        path.write_text(content)
    assert gpu_check.main(["--output", str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and said in error
    assert content is None or path.read_text() == content


def test_missing_wheels_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpus, "WHEELS", ("no_such_wheel",))
    assert gpu_check.main(["--output", str(tmp_path / "gpu.json"), "--cards", "digits"]) == 2
    assert 'pip install "jax[cuda13]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, count, said", [("h1", 1, "there are a100, h100"), ("h100", 9, "8 each; 9 do not")]
)
def test_cards_that_there_are_not(name, count, said):
    with pytest.raises(ValueError, match=said):
        gpus.devices(name, count)


def test_cards_have_a_rate_for_every_type():
    for name, gpu in GPUS.items():
        assert gpu.peak("bf16") == gpu.peak("f16") == 2 * gpu.peak("f32"), name


@pytest.mark.skipif(NOT_INSTALLED, reason='needs the compiler: pip install "jax[cuda13]"')
def test_a_card_compiles_for_a_gpu(tmp_path):
    settings = ("model.width=16", "model.steps=5", "data.height=6", "data.width=7")
    job = Job("maze_hard", settings=(*settings, "data.min_path=3", "train.batch_size=4"))
    found = found_by_child(job.program, 300)
    assert results.complete(found), found
    assert found["temporaries"] > 0 and found["launches"] > 0 and found["seconds"] > 0
    assert found["attention"] == ["plain"] or found["calls"]["__cudnn$fmhaSoftmaxBackward"] == 5
