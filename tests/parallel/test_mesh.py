"""Equality on meshes of 1, 2, 3, 4 and 8 fake devices, and what does not need devices."""

import os
import pickle
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from runs import ROOT, run

from wonn_jax.parallel import mesh as sharding
from wonn_jax.parallel.mesh import MeshConfig

WORKER = Path(__file__).with_name("mesh_worker.py")

WORK = (
    (
        "maze:1,1,4",
        "maze:1,1,4:seams",
        "maze-blockwise:1,2,2",
        "maze-shallow:8,1,1",
        "maze-shallow:8,1,1:mean",
        "maze-shallow:1,2,1",
        "maze-shallow:1,2,2:unchecked",
    ),
    (
        "maze-micro:2,2,2",
        "sudoku:1,1,3",
        "sudoku:2,2,1",
        "image-mlp:1,2,2",
        "image-conv:1,1,4",
        "image-patch:2,2,2",
    ),
)
"""Cases and sizes of the axes data, fsdp and grid, for two processes that take about as long."""

WRONG = ("mean", "seams")
RIGHT = [job for jobs in WORK for job in jobs if not job.endswith(WRONG)]


def alone(job: str) -> str:
    """The job to compare with: one device and, whatever the kernel, plain attention."""
    return job.split(":")[0].removesuffix("-blockwise") + ":1,1,1"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of every job, from two processes with eight devices each."""
    folder = tmp_path_factory.mktemp("mesh")
    running = []
    for number, jobs in enumerate(WORK):
        every = [*dict.fromkeys(map(alone, jobs)), *jobs]
        command = [sys.executable, WORKER, folder / str(number), *every]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT / "tests")}
        running.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    found = {}
    for number, process in enumerate(running):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        found |= pickle.loads((folder / str(number)).read_bytes())
    return found


def assert_close(left, right, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), left, right)


@pytest.mark.parametrize("job", RIGHT)
def test_equal_to_one_device(job, results):
    """Loss, gradient norms, statistics, EMA and parameters after three steps; same draws."""
    ours, theirs = results[job], results[alone(job)]
    # Images are normalised in float32, by programs that round differently; other draws would be
    # far off.
    assert_close(ours["drawn"], theirs["drawn"], rtol=1e-5, atol=1e-6)
    # State and sums are kept in float32, whatever the maps.
    assert_close(ours["state"], theirs["state"], rtol=1e-4, atol=2e-6)
    assert_close(ours["history"], theirs["history"], rtol=1e-4)
    assert_close(ours["counts"], theirs["counts"], rtol=1e-4)
    np.testing.assert_array_equal(ours["predictions"], theirs["predictions"])


@pytest.mark.parametrize("job", ["maze-shallow:8,1,1:mean", "maze:1,1,4:seams"])
def test_a_wrong_reduction_would_be_seen(job, results):
    with pytest.raises(AssertionError):
        test_equal_to_one_device(job, results)


def test_parameters_are_split_over_fsdp_alone(results):
    shares = [results[job]["shares"] for job in ("maze-shallow:8,1,1", "maze:1,1,4")]
    assert {x for found in shares for x in found} == {1.0}
    # Of the parameters only the 5 biases of the answer do not divide: they are whole everywhere.
    shares = results["maze-shallow:1,2,1"]["shares"]
    assert sorted(shares) == [0.5] * (len(shares) - 1) + [1.0]


def test_sizes_of_the_axes():
    assert sharding.mesh_shape(MeshConfig(), 8) == (8, 1, 1)
    assert sharding.mesh_shape(MeshConfig(fsdp=2, grid=2), 8) == (2, 2, 2)
    assert sharding.mesh_shape(MeshConfig(1, -1, 2), 8) == (1, 4, 2)
    with pytest.raises(ValueError, match=r"data 3 × fsdp 1 × grid 1\) does not fit 4 devices"):
        sharding.mesh_shape(MeshConfig(data=3), 4)
    with pytest.raises(ValueError, match=r"axes must multiply to 4; fsdp 3 × grid 1 cannot"):
        sharding.mesh_shape(MeshConfig(fsdp=3), 4)
    with pytest.raises(ValueError, match=r"--config\.mesh\.data=-1 takes what is left, 2"):
        sharding.mesh_shape(MeshConfig(data=4, grid=2), 4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"fsdp": 0}, r"config\.mesh\.fsdp=0 must be at least 1, or -1 .*: --config\.mesh\.fsdp=1"),
        ({"grid": -1}, r"config\.mesh\.data and config\.mesh\.grid are both -1; .*mesh\.grid=1"),
    ],
)
def test_sizes_that_cannot_be(sizes, message):
    MeshConfig(-1, 2, 4).check()
    with pytest.raises(ValueError, match=message):
        MeshConfig(**sizes).check()


@pytest.mark.parametrize(
    ("platform", "name", "checked"),
    [("cpu", "cpu", True), ("tpu", "tpu", False), ("cuda", "gpu", False), ("gpu", "gpu", False)],
)
def test_everything_is_chosen_by_the_devices_of_the_mesh(platform, name, checked):
    """Not by the devices of this machine: programs for others are compiled here."""
    device = types.SimpleNamespace(platform=platform)  # of a topology, for example
    mesh = mock.Mock(devices=np.array([[[device] * 4]]), size=4)
    mesh.shape = {"data": 1, "fsdp": 1, "grid": 4}
    assert sharding.placement(mesh) == (sharding.AXES, "grid", name)
    mesh.size = 1
    assert sharding.placement(mesh) == ((), None, name)
    assert sharding._check_vma(mesh) == checked
    assert (sharding.compiler_options(name) is not None) == checked


def test_arrays_are_split_by_their_longest_axis_that_divides():
    mesh = sharding.make_mesh(MeshConfig(data=1, fsdp=4))
    spec = jax.sharding.PartitionSpec
    for shape, wanted in {
        (3, 3, 16, 8): spec(None, None, "fsdp"),
        (8, 24): spec(None, "fsdp"),
        (8, 5): spec("fsdp"),
        (6,): spec(),
        (): spec(),
    }.items():
        assert sharding.parameter_spec(shape, mesh) == wanted, shape


def test_more_shares_than_any_parameter_has():
    """On the command line: eight devices, and a network whose longest axis has six numbers."""
    given = {"devices.cpu_devices": 8, "mesh.fsdp": 8, "model.width": 2, "model.heads": 1}
    fields = [f"--config.{name}={value}" for name, value in given.items()]
    card = f"--config={ROOT / 'configs' / 'maze_hard.py'}"
    found = run([sys.executable, "-m", "wonn_jax.main", card, "--mode=describe", *fields])
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1] == (
        "error: config.mesh.fsdp=8 divides no axis of any parameter (the longest has 6), so "
        "nothing would be split: --config.mesh.fsdp=2, and --config.mesh.data=-1 for what is left."
    )


def test_rows_of_a_process_are_put_where_they_belong():
    """Also where they are not next to each other, as a mesh may order its devices."""
    mesh = sharding.make_mesh(MeshConfig(data=2, grid=2), devices=jax.devices()[::-1])
    np.testing.assert_array_equal(sharding.local_rows(mesh, 6), range(6))
    batch = {"x": np.arange(12.0).reshape(6, 2)}
    placed = sharding.put_batch(batch, mesh)["x"]
    np.testing.assert_array_equal(placed, batch["x"])
    assert {x.data.shape for x in placed.addressable_shards} == {(3, 2)}
