"""The table of recomputation: what is compiled, how it is told, and one step measured on a CPU."""

import json

import pytest

from experiments import recomputation
from experiments.compile_check import programs, results
from experiments.compile_check.children import found_by_child
from experiments.compile_check.programs import Program
from experiments.recomputation import (
    CHOICES,
    DEFAULT,
    PLATFORMS,
    ROWS,
    Job,
    jobs,
    parse_key,
    report,
)

PLANNED = list(jobs(list(ROWS), list(PLATFORMS)))
IMAGENET = "imagenet1k:mlp-256"


def found(memory: float, tera: float, **more) -> dict:
    """Of a program for a GPU: bytes and 10¹² operations."""
    common = {"date": "2026-01-02", "versions": "jax 1", "arguments": 0, "output": 0}
    kind = {"temporaries": memory, "flops": {"bf16": tera * 1e12}, "bytes": 2e9, "seconds": 0.1}
    return common | kind | more


def cells(text: str, start: str) -> list[str]:
    (line,) = [x for x in text.splitlines() if x.replace(" ", "").startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_program_is_an_experiment_with_as_many_examples_for_each_device():
    assert len({job.key for job in PLANNED}) == len(PLANNED)
    for job in PLANNED:
        assert parse_key(job.key) == job
        program = job.program
        config = programs.card(program)
        assert config.train.batch_size / program.devices in ROWS[job.card]
        assert (f"{config.model.remat}", config.model.remat_layers) == (job.remat, job.layers)


def test_report():
    least, default = Job(IMAGENET, "h100", *CHOICES[0]), Job(IMAGENET, "h100", *DEFAULT)
    same = Job(IMAGENET, "h100", "1", "on")
    done = {least.key: found(25e9, 40.0), default.key: found(8.5e9, 50.0, bytes=3e9)}
    done[same.key] = done[default.key]
    text = report(json.loads(json.dumps({"about": "", **done})))
    assert cells(text, "|0|off|")[2:] == [
        "25.00",
        "40.00",
        "1.00",
        "2.0",
        "1.00",
        "100.0",
        "1.00",
        "",
    ]
    assert cells(text, "|1|auto|")[2:7] == ["8.50", "50.00", "1.25", "3.0", "1.50"]
    assert cells(text, "|1|auto|")[-1] == "yes"
    assert cells(text, "|1|on|")[-1] == "the same program"
    assert (
        "at most 9 GB with at most 33 % more operations than without recomputation: **met**" in text
    )
    assert (
        "at most 16 GB with at most 20 % more operations than without recomputation: **not met*"
        in text
    )


def test_what_fails_is_told():
    job = Job(IMAGENET, "h100", *DEFAULT)
    text = report({"about": "", job.key: {"error": "no tiles", "date": "2026-01-02"}})
    assert "no tiles" in cells(text, "|1|auto|")


def test_keys_of_other_results_are_refused():
    with pytest.raises(ValueError, match="'maze h100' is no key"):
        report({"maze h100": {"date": "2026-01-02"}})


def test_a_step_is_measured_on_a_cpu():
    settings = {"model.width": 8, "model.heads": 2, "model.steps": 2, "train.batch_size": 2}
    board = {"data.height": 6, "data.width": 7, "data.min_path": 3}
    axes = {"data": 1, "fsdp": 1, "grid": 1}
    program = Program("maze_hard", "", "cpu", 1, axes, "train", 1000, settings | board)
    measured = found_by_child(program, 300)
    assert results.complete(measured), measured
    assert measured["seconds"] > 0 and " cores, " in measured["hardware"]
    assert measured["temporaries"] > 0
    assert recomputation.operations(Job(IMAGENET, "cpu", *DEFAULT), measured) is None
