"""The benchmark of single steps: cases, ratios, tables. Nothing is measured here."""

import json
import re
import subprocess
import sys

import pytest

from experiments import parameter_counts
from experiments.benchmarks import steps
from experiments.benchmarks.cases import CASES, card, parse_override, rows
from experiments.benchmarks.results import ratios, table
from experiments.benchmarks.sides import SIDES
from wonn_jax.train.card import freeze
from wonn_jax.train.experiment import Experiment

FIXTURES = (
    *("image_mlp_attn", "image_mlp_conv", "image_trig_attn", "image_widening", "imagenet_patch"),
    *("maze_l1", "maze_l2", "sudoku_l1", "sudoku_l2"),
)


def side(seconds, peak, imports=200_000_000):
    return {
        "seconds": seconds,
        "warmup_seconds": [9.0],
        "losses": [1.0] * (len(seconds) + 1),
        "peak": peak,
        "imports": imports,
    }


def results(**sides):
    measured = {"case": "maze", "mode": "train", "batch": 8, "parameters": 1, "sides": sides}
    return {
        "command": "python -m experiments.benchmarks.steps --cases maze",
        "date": "2026-01-02",
        "hardware": {"cpu": "Some CPU", "cores": 2, "gpu": None},
        "versions": {"torch": "2.0", "jax": "0.10"},
        "measurements": [measured],
    }


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_of_the_same_round():
    # The ratio of the medians, 3 / 2, is another.
    assert ratios([1.0, 3.0, 8.0], [2.0, 1.0, 4.0]) == (2.0, 0.5, 3.0)
    with pytest.raises(ValueError, match="2 and 1 steps"):
        ratios([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="0 and 0 steps"):
        ratios([], [])


def test_table():
    torch, jax = side([2.0, 1.0, 4.0], 4_000_000_000), side([1.0, 3.0, 8.0], 1_000_000_000, 3e8)
    text = table(json.loads(json.dumps(results(torch=torch, jax=jax))))
    assert text.startswith("2026-01-02; 2 cores, Some CPU; torch 2.0, jax 0.10.\n\n    python -m")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    expected = ["maze", "train", "8", "PyTorch", "2", "3", "2.00 (0.50–3.00)", "4.00", "1.00"]
    assert cells(lines[2]) == [*expected, "0.25"]
    assert "by imports alone: PyTorch 0.20 GB, JAX 0.30 GB." in text


def test_table_of_a_gpu_compares_with_both():
    each = {"torch": side([2.0], 2e9, 0), "torch-compile": side([1.0], 1e9, 0)}
    measured = results(**each, jax=side([1.0], 1e9, 0))
    measured["hardware"]["gpu"] = "Some GPU"
    text = table(measured)
    assert "Some GPU" in text and "Some CPU" not in text and "imports" not in text
    found = [cells(line)[3:7] for line in text.splitlines() if line.startswith("| maze")]
    assert found == [
        ["PyTorch", "2", "1", "0.50 (0.50–0.50)"],
        ["torch.compile", "1", "1", "1.00 (1.00–1.00)"],
    ]


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_table_of_one_side(name):
    text = table(results(**{name: side([2.0], 10**9)}))
    line = cells(text.splitlines()[-3])
    assert line[6] == "–" and line[9] == "–" and sorted(line[4:6]) == ["2", "–"]


def test_show_measures_nothing(tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.json"
    measured = results(torch=side([1.0], 1), jax=side([1.0], 1))
    path.write_text(json.dumps(measured))
    monkeypatch.setattr(sys, "argv", ["steps", f"--show={path}"])
    steps.main()
    assert capsys.readouterr().out == table(measured)
    path.write_text("{}")
    with pytest.raises(SystemExit, match="holds no results"):
        steps.main()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.remat=1", ("model.remat", 1)),
        ("model.attention=plain", ("model.attention", "plain")),
        ("model.kernels=(3, 5)", ("model.kernels", (3, 5))),
        ("optimizer.decay=200 epochs", ("optimizer.decay", "200 epochs")),
        ("model.keep_attention=False", ("model.keep_attention", False)),
        ("data.path=a=b", ("data.path", "a=b")),
    ],
)
def test_overrides(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["model.remat", "remat=1", "model.remat=", ".remat=1"])
def test_what_is_no_override(text):
    with pytest.raises(ValueError, match="must be GROUP.FIELD=VALUE"):
        parse_override(text)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_case_is_an_experiment(name, precision):
    config = freeze(card(name, batch=6, precision=precision, overrides={"model.steps": 5}))
    assert config.train.batch_size == 6 and config.model.steps == (5,)
    assert config.model.precision == precision


@pytest.mark.parametrize("name", ["maze", "sudoku", "cifar-trig-128", "imagenet-mlp-256"])
def test_the_input_is_a_batch_of_the_task(name):
    config = card(name, batch=3, precision="float32", overrides={})
    task = Experiment(freeze(config)).task
    expected = {k: (x.shape, x.dtype) for k, x in task.abstract_batch(3).items()}
    found = rows(json.loads(json.dumps(config.to_dict())))
    assert {k: (x.shape, x.dtype) for k, x in found.items()} == expected


def test_the_maze_is_as_long_as_those_of_the_benchmark():
    from wonn_jax.tasks.maze import distance

    config = card("maze", batch=1, precision="float32", overrides={})
    tokens = rows(config.to_dict())["input"]
    moves = distance(tokens == 2, tokens == 3, tokens == 1)
    assert 109 <= int(moves[0]) <= 153


@pytest.mark.parametrize(
    ("overrides", "known"),
    [
        ({"model.depth": 1}, "model has the fields .*width"),
        ({"nets.remat": 1}, "The card has the sections .*model"),
        ({"seed.x": 1}, "The card has the sections .*model"),
        ({"model.width": "x"}, "model has the fields .*width"),
    ],
)
def test_overrides_that_cannot_be_set(overrides, known):
    with pytest.raises(ValueError, match=f"--set .* cannot be set on the case maze: .*{known}"):
        card("maze", batch=2, precision="float32", overrides=overrides)


def test_defaults_of_the_backends():
    cpu = steps.parse(["--devices=2"])
    assert (cpu.sides, cpu.precision, cpu.repeat) == (["torch", "jax"], "float32", 1)
    assert cpu.cases == list(CASES)
    gpu = steps.parse(["--backend=gpu", "--set", "model.remat=1", "model.attention=plain"])
    assert (gpu.sides, gpu.precision, gpu.repeat) == (list(SIDES), "bfloat16", 10)
    assert dict(gpu.overrides) == {"model.remat": 1, "model.attention": "plain"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds=0"], "--rounds=0 must be at least 1"),
        (["--batch=3", "--devices=2"], "the batch of maze, 3, cannot be split .* --batch=4"),
        (["--set", "remat"], "must be GROUP.FIELD=VALUE"),
    ],
)
def test_commands_that_make_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit):
        steps.parse(arguments)
    assert re.search(message, capsys.readouterr().err)


def test_the_command_is_recorded_without_the_interpreter():
    expected = "python -m experiments.benchmarks.steps --torch-python{}PYTHON --cases maze"
    for given, shown in ((["--torch-python", "/a/b"], " "), (["--torch-python=/a/b"], "=")):
        assert steps.command_line([*given, "--cases", "maze"]) == expected.format(shown)


def test_the_process_that_starts_the_others_is_light():
    code = (
        "import sys, experiments.benchmarks.steps; "
        "print([x for x in ('jax', 'numpy', 'torch', 'ml_collections') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", CASES)
def test_pytorch_has_the_model_of_every_case(name):
    torch = pytest.importorskip("torch")
    from experiments.benchmarks.sides import torch_model

    config = card(name, batch=2, precision="float32", overrides={}).to_dict()
    with torch.device("meta"):
        model = torch_model(config)
    expected = parameter_counts.count(CASES[name].card, CASES[name].preset)
    assert sum(x.numel() for x in model.parameters()) == expected
    config["model"]["norm"] = "token"
    with pytest.raises(ValueError, match="--sides jax"):
        torch_model(config)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_pytorch_model_computes_what_the_published_one_does(name, reference_fixtures):
    pytest.importorskip("torch")
    from experiments.benchmarks.torch_wonn import verify

    assert verify(str(reference_fixtures / f"{name}.npz"))
