"""Whatever the environment says, a command does the same, or says in a sentence why it cannot."""

import io
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from runs import QUICK, ROOT, command, run

from wonn_jax.common.rng import stream_key
from wonn_jax.tools import environment
from wonn_jax.tools.launch import exit_status

# --- Settings of JAX ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("jax_disable_jit", True, "False"),
        ("jax_enable_x64", True, "False"),
        ("jax_numpy_dtype_promotion", "strict", "standard"),
        ("jax_numpy_rank_promotion", "raise", "allow"),
        ("jax_random_seed_offset", 5, "0"),
        ("jax_threefry_partitionable", False, "True"),
        ("jax_transfer_guard", "disallow", "None"),
    ],
)
def test_settings_on_which_results_depend(name, value, needed, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    before = getattr(jax.config, name)
    environment.prepare()
    assert capsys.readouterr().err == ""
    jax.config.update(name, value)
    try:
        environment.prepare()
        assert getattr(jax.config, name) == before
    finally:
        jax.config.update(name, before)
    note = f"note     {name.upper()}={value} is ignored: this command needs {needed}\n"
    assert capsys.readouterr().err == note
    assert os.environ["MPLBACKEND"] == "agg"


def test_keys_are_those_of_threefry_whatever_the_default():
    key = jax.random.key_data(stream_key(3, "phases", 2))
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(jax.random.key_data(stream_key(3, "phases", 2)), key)


# --- Devices --------------------------------------------------------------------------------------


def test_no_device_of_the_platform_asked_for(mazes, tmp_path):
    result = run(command(mazes, tmp_path / "run"), JAX_PLATFORMS="cuda")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    message = "JAX cannot start the devices that JAX_PLATFORMS=cuda asks for (there are none). Inst"
    assert message in result.stderr and "or unset it, or use JAX_PLATFORMS=cpu." in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "there are none"),
        (RuntimeError("no driver. (set JAX_PLATFORMS='' to choose)"), "no driver"),
    ],
)
def test_devices_that_do_not_start(error, reason, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(jax, "devices", fail)
    assert exit_status(lambda: 0) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"Error: JAX cannot start the devices ({reason}). Install JAX for them")
    assert text.endswith("or use JAX_PLATFORMS=cpu.\n")


# --- Output ---------------------------------------------------------------------------------------


def test_characters_that_the_output_does_not_have(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    environment.prepare()
    print("3 × 3 ── π", flush=True)
    assert stream.buffer.getvalue() == b"3 ? 3 ?? ?\n"


def test_closed_streams(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert exit_status(lambda: print("lost") or 0) == 0
    with sys.stdout, sys.stderr:
        print("lost, too", file=sys.stderr)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("a wrong number."), 2, "Error: a wrong number.\n"),
        (RuntimeError("out of memory."), 2, "Error: out of memory.\n"),
        (
            FileNotFoundError(2, "No such file", "x.txt"),
            2,
            "Error: x.txt: No such file. Check the path.\n",
        ),
        (OSError("the disk is full."), 2, "Error: the disk is full.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda x: type(x).__name__,
)
def test_exit_statuses(error, status, text, capsys):
    def fail():
        raise error

    assert exit_status(fail) == status
    assert capsys.readouterr().err == text


def test_what_people_have_set_at_once(mazes, maze_run, tmp_path):
    """The same evaluation as without."""
    workdir = shutil.copytree(maze_run, tmp_path / "run")
    variables = {
        "JAX_ENABLE_X64": "1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONWARNINGS": "error",
        "HOME": "/nonexistent",
        "MPLBACKEND": "nonsense",
        "COLUMNS": "20",
    }
    result = run([*command(mazes, workdir), "--mode=eval"], **(QUICK | variables))
    assert result.returncode == 0, result.stderr
    assert result.stderr == "note     JAX_ENABLE_X64=True is ignored: this command needs False\n"
    found = json.loads((workdir / "eval.json").read_text())
    lines = (maze_run / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    for name in ("loss", "energy", "cell_accuracy"):
        assert found["ema"][name] == pytest.approx(last[f"ema_{name}"], rel=1e-5), name


def test_nobody_reads_the_output(mazes, maze_run, tmp_path):
    workdir = shutil.copytree(maze_run, tmp_path / "run")
    process = subprocess.Popen(
        [*command(mazes, workdir), "--mode=eval"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | QUICK,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(300) == 141
