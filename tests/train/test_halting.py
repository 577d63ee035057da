"""A method with a carry, rows that halt and two updates a batch, through the same loop."""

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cards import changed
from runs import QUICK, arrays, quickly, run, run_until

from tests.train import halting
from wonn_jax.evaluators.run import run_eval
from wonn_jax.tools.describe import run_describe
from wonn_jax.train.card import Config, freeze
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.lines import read_lines
from wonn_jax.train.loop import train
from wonn_jax.train.methods import StepKeys

pytestmark = pytest.mark.usefixtures("quick_compilation")


def tiny(data: Path, **changes) -> Config:
    return freeze(changed(halting.get_config(str(data)), **changes))


@pytest.fixture(scope="module")
def trained(mazes, compiled, tmp_path_factory) -> Path:
    """Of 60 steps, on four devices."""
    workdir = tmp_path_factory.mktemp("trained")
    with quickly(compiled):
        train(tiny(mazes, train__length="60 steps"), workdir)
    return workdir


def test_loss_falls(trained):
    lines = [x for x in read_lines(trained / "metrics.jsonl") if x["kind"] == "train"]
    losses = [x["loss"] for x in lines]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert 0 < np.mean([x["halted"] for x in lines]) < 1


def test_it_is_evaluated_with_its_own_values(mazes, trained, capsys):
    last = read_lines(trained / "metrics.jsonl")[-1]
    assert 1 <= last["ema_segments"] <= 3
    config = tiny(mazes, eval__batch_size=7, train__batch_size=8)
    found = run_eval(config, trained)
    assert "segments" in capsys.readouterr().out
    for weights in ("raw", "ema"):
        for name in ("loss", "accuracy", "segments"):
            assert found[weights][name] == pytest.approx(last[f"{weights}_{name}"], rel=1e-5)


def test_it_is_described(mazes, capsys):
    run_describe(tiny(mazes))
    text = capsys.readouterr().out
    assert "logits.kernel" in text and "30 steps, 6 an epoch" in text


def test_batches_are_a_function_of_the_step(mazes):
    config = tiny(mazes)
    source = config.data.load("train", config.augment)
    experiment = Experiment(config, len(source))
    assert experiment.epoch == 6
    whole = [batch["id"].tolist() for batch in experiment.batches(source, 0, 12)]
    assert whole[0::2] == whole[1::2] and len({str(ids) for ids in whole}) == 6
    for start in (1, 2, 7):
        part = [batch["id"].tolist() for batch in experiment.batches(source, start, 10)]
        assert part == whole[start:10]


def test_rows_that_halted_take_those_of_the_batch(mazes):
    config = tiny(mazes)
    source = config.data.load("train", config.augment)
    experiment = Experiment(config, len(source), devices=jax.devices()[:1])
    method: Any = experiment.method
    first, second = (dict(x) for x in list(experiment.batches(source, 1, 3)))
    first, second = (experiment.task.prepare(jax.tree.map(jnp.asarray, x)) for x in (first, second))
    params, state = method.init(jax.random.key(0), first)
    assert state == {}

    @jax.jit
    def update(carry, batch):
        return method.loss(params, {}, carry, batch, StepKeys(0, jnp.int32(0)))[1][1]

    carry = update(method.init_carry(first), first)
    np.testing.assert_array_equal(carry["example"]["id"], first["id"])
    halted = np.arange(16) % 3 == 0
    after = update(carry | {"halted": jnp.asarray(halted)}, second)
    ids = np.where(halted, second["id"], first["id"])
    np.testing.assert_array_equal(after["example"]["id"], ids)
    np.testing.assert_array_equal(after["segment"], np.where(halted, 1, 2))
    done = update(after | {"segment": jnp.full(16, 2), "halted": jnp.zeros(16, bool)}, second)
    assert bool(done["halted"].all())  # after the last segment


def test_micro_batches_have_their_rows_of_the_carry(mazes, trained, tmp_path):
    """There is no BatchNorm, so that they add up to the batch."""
    train(tiny(mazes, train__accumulate=4, train__length="6 steps"), tmp_path)
    whole, parts = (read_lines(w / "metrics.jsonl")[:6] for w in (trained, tmp_path))
    for left, right in zip(whole, parts, strict=True):
        np.testing.assert_allclose(right["loss"], left["loss"], rtol=1e-4)
        assert right["halted"] == left["halted"]


# --- Killed and resumed -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def arguments(mazes, compiled):
    def of(workdir: Path, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "wonn_jax.main", f"--config={halting.__file__}"),
            *(f"--workdir={workdir}", f"--config.data.path={mazes}"),
            *(f"--config.devices.compilation_cache={compiled}", *more),
        ]

    return of


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    result = run(arguments(workdir), **QUICK)
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def killed(arguments, tmp_path_factory) -> Path:
    """After step 13, at the earliest, of which the state after 9 is saved, within a batch."""
    workdir = tmp_path_factory.mktemp("killed")
    assert run_until(arguments(workdir), 13, **QUICK) == -signal.SIGKILL
    return workdir


def test_resumed_bit_for_bit(mazes, arguments, killed, undisturbed, tmp_path):
    workdir = shutil.copytree(killed, tmp_path / "run")
    result = run(arguments(workdir), **QUICK)
    assert result.returncode == 0 and "resumed from" in result.stdout, result.stderr
    lines = (workdir / "metrics.jsonl").read_bytes()
    assert lines == (undisturbed / "metrics.jsonl").read_bytes()
    ours, theirs = (arrays(w, tiny(mazes)) for w in (workdir, undisturbed))
    assert {"carry.halted", "carry.state", "carry.example.id"} <= ours.keys() == theirs.keys()
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], err_msg=name)


def test_resumed_on_another_number_of_devices(mazes, arguments, killed, undisturbed, tmp_path):
    """The same examples in every row, and the same numbers to rounding."""
    workdir = shutil.copytree(killed, tmp_path / "run")
    split = ["--config.devices.cpu_devices=4", "--config.mesh.fsdp=2"]
    result = run(arguments(workdir, *split), **QUICK)
    assert result.returncode == 0 and "resumed from" in result.stdout, result.stderr
    assert "mesh data 2 × fsdp 2" in result.stdout
    ours, theirs = (read_lines(w / "metrics.jsonl") for w in (workdir, undisturbed))
    for left, right in zip(ours, theirs, strict=True):
        assert (left["step"], left["kind"]) == (right["step"], right["kind"])
        if left["kind"] == "train":
            np.testing.assert_allclose(left["loss"], right["loss"], rtol=1e-3)
            assert left["halted"] == right["halted"]
    found, expected = (arrays(w, tiny(mazes)) for w in (workdir, undisturbed))
    for name in ("carry.example.id", "carry.halted", "carry.segment"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    np.testing.assert_allclose(found["carry.state"], expected["carry.state"], atol=1e-2)
