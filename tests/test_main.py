"""The command line: one message and exit status 2 for every mistake, no traceback."""

import os
import subprocess

import pytest
from runs import ROOT, command, run, write_mazes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mazes(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.model.head=4"], 'Did you mean "heads"'),
        (["--config.modle.heads=4"], 'Did you mean "model"'),
        (["--config.model.heads=3"], "not divisible by twice config.model.heads=3"),
        (["extra"], "Not understood"),
        (["--config.devices.cpu_devices=3"], "cannot be split over 3 devices"),
        (["--config.data.path=/nowhere"], "/nowhere"),
        (["--config.data.height=6"], "Required: uint8 [N, 30]"),
        (["--distributed=on"], "needs --coordinator=HOST:PORT"),
        (["--num_processes=2"], "no effect with --distributed=off"),
        (["--distributed=auto"], "found no cluster"),
        (["--mode=eval"], "There is no checkpoint"),
        (["--mode=eval", "--weights=nothing.npz"], "no such file"),
        (["--config=configs/nothing.py"], "configs/nothing.py"),
        ([f"--config={ROOT / 'configs/maze_hard.py'}:tiny"], "has no preset 'tiny'"),
    ],
)
def test_mistakes(data, tmp_path, flags, message):
    result = run([*command(data, tmp_path / "run"), *flags])
    assert result.returncode == 2, result.stdout + result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_describe_and_default_workdir(data, tmp_path):
    arguments = [a for a in command(data, tmp_path) if not a.startswith("--workdir")]
    result = run([*arguments, "--mode=describe"])
    assert result.returncode == 0, result.stderr
    assert "temporaries" in result.stdout
    assert not (ROOT / "runs" / "maze_hard").exists()


def test_a_relative_workdir(data, tmp_path):
    arguments = command(data, tmp_path, "--config.train.length=2 steps")
    arguments = [a if not a.startswith("--workdir") else "--workdir=run" for a in arguments]
    result = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    assert "step 2/2" in result.stderr  # plain lines, where there is no terminal
