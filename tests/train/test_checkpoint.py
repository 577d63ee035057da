"""Checkpoints alone; `test_resume.py` tests them in whole runs."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from runs import run

from wonn_jax.parallel.mesh import make_mesh, replicated
from wonn_jax.train.checkpoint import Checkpoints, checksum, flatten, unflatten


def state(value: float):
    params = {"layer": {"kernel": jnp.full((3, 4), value), "bias": jnp.full(4, -value)}}
    return {"params": params, "opt": optax.adam(1e-3).init(params), "step": jnp.asarray(7)}


def test_names_and_back():
    flat = flatten(state(2.0))
    assert flat["params.layer.kernel"].shape == (3, 4) and "opt.0.mu.layer.bias" in flat
    back = unflatten(state(0.0), flat)
    jax.tree.map(np.testing.assert_array_equal, back, state(2.0))


def test_checksum_depends_on_every_bit_name_shape_and_dtype():
    flat = {"a": np.ones(4, np.float32)}
    flipped = flat["a"].copy()
    flipped.view(np.uint32)[2] ^= 1
    others = [
        {"a": flipped},
        {"b": flat["a"]},
        {"a": flat["a"].reshape(2, 2)},
        {"a": flat["a"].astype(np.float64)},
    ]
    assert len({checksum(x) for x in [flat, *others]}) == 5


def test_round_trip_is_exact_and_keeps_the_last(tmp_path):
    with Checkpoints(tmp_path, keep=2) as saved:
        assert saved.restore(state(0.0)) is None
        for step in (1, 2, 3):
            saved.save(step, state(step / 3), {"seed": step}, "fingerprint")
    with Checkpoints(tmp_path, keep=2) as saved:
        assert saved.steps() == [2, 3]
        found = saved.restore(state(0.0), replicated(make_mesh()))
    assert (found.step, found.config, found.data) == (3, {"seed": 3}, "fingerprint")
    jax.tree.map(np.testing.assert_array_equal, found.state, state(1.0))
    assert len(found.state["params"]["layer"]["bias"].devices()) == len(jax.devices())


def test_reading_changes_and_warns_of_nothing(tmp_path, caplog):
    """Another process may be writing there."""
    with Checkpoints(tmp_path, keep=3) as saved:
        for step in (1, 2, 3):
            saved.save(step, state(float(step)), {})
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    caplog.clear()
    with Checkpoints(tmp_path, keep=1, writable=False) as saved:
        found = saved.restore(state(0.0))
        saved.save(9, state(9.0), {})
    assert found.step == 3
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before
    assert caplog.records == []


def test_each_array_goes_where_it_is_told(tmp_path):
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    parts, whole = NamedSharding(mesh, P(None, "data")), NamedSharding(mesh, P())
    like = {"kernel": jnp.arange(12.0).reshape(3, 4), "bias": jnp.ones(3)}
    where = {"kernel": parts, "bias": whole}
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(1, jax.device_put(like, where), {})
        saved.wait()
        found = saved.restore(like, where).state
    jax.tree.map(np.testing.assert_array_equal, found, like)
    assert jax.tree.map(lambda x: x.sharding, found) == where


def test_a_saved_array_may_be_overwritten_at_once(tmp_path):
    """The next update may reuse the buffers of the state while it is being saved."""
    state = {"w": np.ones(2**25, np.float32)}
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(1, state, {})
        state["w"][:] = 2
        saved.wait()
        assert saved.restore(state).state["w"].max() == 1


def test_an_earlier_step_may_follow_a_later_one(tmp_path):
    """After a resume, the best step may be earlier than the best one that was lost."""
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(20, state(1.0), {})
        saved.save(10, state(2.0), {})
        saved.wait()
        assert saved.steps() == [10]
        saved.save(10, state(3.0), {})  # exists: does nothing
        saved.wait()
        assert float(saved.restore(state(0.0)).state["params"]["layer"]["kernel"][0, 0]) == 2.0


def test_another_model_is_named(tmp_path):
    other = state(0.0)
    other["params"]["layer"]["kernel"] = jnp.zeros((3, 5))
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(1, state(1.0), {})
        saved.wait()
        with pytest.raises(ValueError, match=r"params\.layer\.kernel: found float32\[3, 4\], req"):
            saved.restore(other)
        other["params"]["layer"]["kernel"] = jnp.zeros((3, 4), jnp.bfloat16)  # no silent cast
        with pytest.raises(ValueError, match=r"required bfloat16\[3, 4\]"):
            saved.restore(other)


META = "meta/metadata"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (META, b""),
        (META, b"\0" * 500),
        (META, b"[]"),
        (META, b'{"step": 2}'),
        (META, b'{"arrays": [], "config": {}, "data": "", "checksum": ""}'),
        (META, b'{"arrays": {"a": "float32[x]"}, "config": {}, "data": "", "checksum": ""}'),
        (META, b'{"arrays": {}, "config": {"task": "maze"}, "data": "", "checksum": ""}'),
        ("state/_METADATA", b"\0" * 500),
        ("state/manifest.ocdbt", b""),
        ("_CHECKPOINT_METADATA", b""),
    ],
)
def test_whatever_is_damaged_the_one_before_is_restored(tmp_path, caplog, file, content):
    """All but Orbax's own notes, which nothing depends on."""
    with Checkpoints(tmp_path, keep=2) as saved:
        for step in (1, 2):
            saved.save(step, state(step / 1), {})
    (tmp_path / "2" / file).write_bytes(content)
    with Checkpoints(tmp_path, keep=2) as saved:
        found = saved.restore(state(0.0))
    assert found.step == (2 if file == "_CHECKPOINT_METADATA" else 1)
    assert (f"{tmp_path}/2 is damaged" in caplog.text) == (found.step == 1)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        ConnectionResetError("reset"),
        ValueError("UNAVAILABLE: Error opening driver: retries exhausted"),
    ],
)
def test_what_another_attempt_may_read_is_not_damaged(tmp_path, monkeypatch, error):
    with Checkpoints(tmp_path, keep=2) as saved:
        for step in (1, 2):
            saved.save(step, state(step / 1), {})
        saved.wait()

        def fail(*_, **__):
            raise error

        monkeypatch.setattr(saved._manager, "restore", fail)
        with pytest.raises(OSError):
            saved.restore(state(0.0))


def test_other_files_among_the_checkpoints(tmp_path):
    """As a file manager, an editor or a person leaves them."""
    with Checkpoints(tmp_path, keep=2) as saved:
        saved.save(1, state(1.0), {})
    for name in (".DS_Store", "notes.txt", "2~", "3"):
        (tmp_path / name).write_text("")
    for name in ("1 (copy)", "old", "1.bak"):
        (tmp_path / name).mkdir()
    with Checkpoints(tmp_path, keep=2) as saved:
        assert saved.restore(state(0.0)).step == 1
        saved.save(2, state(2.0), {})
        saved.wait()
        assert saved.steps() == [1, 2]


FULL = """
import resource, sys
import numpy as np
from wonn_jax.tools.launch import fail, quiet_libraries
from wonn_jax.train.checkpoint import Checkpoints

quiet_libraries()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with Checkpoints(sys.argv[1], keep=2) as saved:
        saved.save(1, {f"x{i}": np.random.default_rng(i).normal(size=500) for i in range(40)}, {})
except OSError as error:
    fail(error, traceback=False)
"""


def test_a_disk_that_takes_no_more_is_said_in_one_sentence(tmp_path):
    """Neither do traces of Orbax's threads surround it, nor does one of them keep the process."""
    result = run([sys.executable, "-c", FULL, str(tmp_path)])
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"could not be written into {tmp_path} (File too large). The earlier ones (none)" in line


ABANDONED = """
import asyncio, gc, sys
from absl import logging
from wonn_jax.tools.launch import quiet_libraries

logging.use_absl_handler()
quiet_libraries()

async def fails():
    raise OSError("No space left on device")

async def leaves():
    task = asyncio.ensure_future(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_exception_handler({"message": "another fault"})

asyncio.run(leaves())
gc.collect()
"""


def test_failed_writes_that_nobody_waits_for_print_nothing():
    """They have the reason that the error tells; other messages of asyncio are shown."""
    result = run([sys.executable, "-c", ABANDONED])
    assert result.returncode == 0
    assert "another fault" in result.stderr
    assert "No space left" not in result.stderr


def test_only_the_loop_asks_for_preemption(tmp_path, monkeypatch):
    """JAX counts the calls of each process; Orbax would add to those of process 0."""

    def asked(step: int) -> bool:
        raise AssertionError("asked")

    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked)
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(1, state(1.0), {})


def test_a_failed_write_is_an_error_with_advice(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(1, state(1.0), {})
        saved.wait()

        def full() -> None:
            raise RuntimeError("No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(saved._manager, "wait_until_finished", full)
            with pytest.raises(OSError, match=r"No space left.*The earlier ones \(1\) are intact"):
                saved.save(2, state(2.0), {})
        assert saved.steps() == [1]


def test_a_checkpoint_under_another_name_is_damaged(tmp_path):
    with Checkpoints(tmp_path, keep=3) as saved:
        saved.save(1, state(1.0), {})
        saved.save(2, state(2.0), {})
    shutil.copytree(tmp_path / "1", tmp_path / "3")
    with Checkpoints(tmp_path, keep=3) as saved:
        assert saved.restore(state(0.0)).step == 2
        with pytest.raises(ValueError, match="3 is damaged .it is of step 1, under another name"):
            saved.restore_step(3, state(0.0))


@pytest.mark.parametrize(
    "old, new", [("float32", "float16"), ("number", "numbed"), ("seed", "seel")]
)
def test_a_changed_description_is_damage(tmp_path, old, new):
    with Checkpoints(tmp_path, keep=3) as saved:
        for step in (1, 2):
            saved.save(step, state(float(step)), {"seed": 1}, "number")
    path = tmp_path / "2" / "meta" / "metadata"
    path.write_text(path.read_text().replace(old, new, 1))
    with Checkpoints(tmp_path, keep=3) as saved:
        assert saved.restore(state(0.0)).step == 1


def test_what_is_no_folder_makes_room(tmp_path, caplog):
    (tmp_path / "1").symlink_to(tmp_path / "nowhere")
    (tmp_path / "2").write_text("mine")
    with Checkpoints(tmp_path, keep=3) as saved:
        for step in (1, 2):
            saved.save(step, state(float(step)), {})
        saved.wait()
        assert saved.steps() == [1, 2]
    assert (tmp_path / "2.no-checkpoint").read_text() == "mine"
    assert "which is no folder and so no checkpoint" in caplog.text
