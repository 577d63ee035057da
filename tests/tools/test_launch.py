"""How a command starts: compilation cache, and what the environment says of other processes."""

import sys

import pytest
from runs import ROOT, run, tiny

from wonn_jax.parallel import hosts
from wonn_jax.tools.launch import prepare_devices

START = """
import sys
import jax
import jax.numpy as jnp
from runs import tiny
from wonn_jax.tools.launch import prepare_devices

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
prepare_devices(tiny("", devices__compilation_cache=sys.argv[1]), "off", None, None, None)
jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((3, 3))).compile()
print(events.count("/jax/compilation_cache/cache_hits"))
"""

PATHS = f"{ROOT}:{ROOT / 'tests'}"


def test_the_second_start_finds_what_the_first_compiled(tmp_path):
    folder = tmp_path / "some" / "cache"
    hits = []
    for _ in range(2):
        result = run([sys.executable, "-c", START, str(folder)], PYTHONPATH=PATHS)
        assert result.returncode == 0, result.stderr
        hits.append(int(result.stdout))
        assert any(folder.iterdir())
    assert hits[0] == 0 and hits[1] > 0
    result = run([sys.executable, "-c", START, ""], PYTHONPATH=PATHS)
    assert result.returncode == 0 and int(result.stdout) == 0


def test_a_cache_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    result = run([sys.executable, "-c", START, str(tmp_path / "file" / "cache")], PYTHONPATH=PATHS)
    assert "cannot be created" in result.stderr and "compilation_cache=FOLDER" in result.stderr


# --- One process of several -----------------------------------------------------------------------


def prepare(monkeypatch, distributed: str | None, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    prepare_devices(tiny(""), distributed, None, None, None)


@pytest.mark.parametrize(
    "found",
    [
        {"SLURM_STEP_NUM_TASKS": "4"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"MEGASCALE_NUM_SLICES": "2"},
        {"TPU_WORKER_HOSTNAMES": "host-0,host-1"},
        {"SLURM_STEP_NUM_TASKS": "4", "PMI_SIZE": "4"},
    ],
    ids=lambda found: " ".join(found),
)
def test_one_task_of_several_needs_a_flag(monkeypatch, found):
    name, value = next(iter(found.items()))
    with pytest.raises(ValueError, match=f"{name}={value}.*--distributed=auto.*--distributed=off"):
        prepare(monkeypatch, None, **found)
    prepare(monkeypatch, "off", **found)


@pytest.mark.parametrize(
    ("size", "rank", "launcher"),
    [
        ("PMI_SIZE", "PMI_RANK", "MPICH, Intel MPI or PALS"),
        ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MVAPICH"),
        ("FLUX_JOB_SIZE", "FLUX_TASK_RANK", "Flux"),
        ("JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "jsrun"),
        ("HOROVOD_SIZE", "HOROVOD_RANK", "Horovod"),
        ("WORLD_SIZE", "RANK", "torchrun"),
    ],
)
def test_launchers_that_jax_does_not_know(monkeypatch, size, rank, launcher):
    """They give the number of this process and of all, and a flag the coordinator."""
    message = rf"by {launcher} \({size}=4\).*--distributed=on --coordinator=HOST:PORT.*=off"
    with pytest.raises(ValueError, match=message):
        prepare(monkeypatch, None, **{size: "4", rank: "3"})
    joined = []
    monkeypatch.setattr(hosts, "join", lambda *place, **_: joined.append(place))
    prepare_devices(tiny(""), "on", "here:1234", None, None)
    prepare_devices(tiny(""), "on", "here:1234", 1, 2)
    assert joined == [("here:1234", 3, 4), ("here:1234", 1, 2)]
    monkeypatch.delenv(rank)
    with pytest.raises(ValueError, match="needs --coordinator=HOST:PORT, --process_id=I and"):
        prepare_devices(tiny(""), "on", "here:1234", None, None)


@pytest.mark.parametrize("rank", ["PALS_RANKID", "PMIX_RANK", "ALPS_APP_PE", "PBS_VNODENUM"])
def test_launchers_that_only_number_their_processes(monkeypatch, rank):
    prepare(monkeypatch, None, **{rank: "0"})
    with pytest.raises(ValueError, match=rf"\({rank}=2\).*--process_id and --num_processes"):
        prepare(monkeypatch, None, **{rank: "2"})
    prepare(monkeypatch, "off", **{rank: "2"})


@pytest.mark.parametrize(
    "found",
    [
        {"SLURM_NTASKS": "4"},
        {"JOB_COMPLETION_INDEX": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    ],
    ids=["slurm", "kubernetes"],
)
def test_a_note_if_this_may_be_one_task_of_several(monkeypatch, capsys, found):
    prepare(monkeypatch, None, **found)
    name, value = next(iter(found.items()))
    assert f"note     {name}={value} is set" in capsys.readouterr().err
    prepare(monkeypatch, "off", **found)
    assert capsys.readouterr().err == ""


def test_a_single_task_is_alone(monkeypatch, capsys):
    single = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}
    single |= {"PMI_SIZE": "1", "PMI_RANK": "0", "WORLD_SIZE": "", "PMIX_RANK": "x"}
    prepare(monkeypatch, None, **single, TPU_WORKER_HOSTNAMES="localhost")
    assert capsys.readouterr().err == ""
