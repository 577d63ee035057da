"""What is set before JAX starts."""

import sys

import pytest
from runs import run

from wonn_jax import config as configuration
from wonn_jax.tools.launch import prepare_devices

START = """
import sys
import jax
import jax.numpy as jnp
from wonn_jax import config as configuration
from wonn_jax.tools.launch import prepare_devices

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
config = configuration.default_config()
config.devices.compilation_cache = sys.argv[1]
prepare_devices(configuration.freeze(config), "off", None, None, None)
jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((3, 3))).compile()
print(events.count("/jax/compilation_cache/cache_hits"))
"""


def test_the_second_start_finds_what_the_first_compiled(tmp_path):
    folder = tmp_path / "some" / "cache"
    hits = []
    for _ in range(2):
        result = run([sys.executable, "-c", START, str(folder)])
        assert result.returncode == 0, result.stderr
        hits.append(int(result.stdout))
        assert any(folder.iterdir())
    assert hits[0] == 0 and hits[1] > 0
    result = run([sys.executable, "-c", START, ""])
    assert result.returncode == 0 and int(result.stdout) == 0


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = run([sys.executable, "-c", START, str(tmp_path / "file" / "cache")])
    assert "cannot be made" in result.stderr and "compilation_cache=FOLDER" in result.stderr


# --- One process of several -----------------------------------------------------------------------


def prepare(monkeypatch, distributed: str | None, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = configuration.freeze(configuration.default_config())
    prepare_devices(config, distributed, None, None, None)


@pytest.mark.parametrize(
    "found",
    [
        {"SLURM_STEP_NUM_TASKS": "4"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"MEGASCALE_NUM_SLICES": "2"},
        {"TPU_WORKER_HOSTNAMES": "host-0,host-1"},
    ],
    ids=lambda found: next(iter(found)),
)
def test_one_task_of_several_must_be_told_what_to_do(monkeypatch, found):
    ((name, value),) = found.items()
    with pytest.raises(ValueError, match=f"{name}={value}.*--distributed=auto.*--distributed=off"):
        prepare(monkeypatch, None, **found)
    prepare(monkeypatch, "off", **found)


@pytest.mark.parametrize(
    "found",
    [
        {"SLURM_NTASKS": "4"},
        {"JOB_COMPLETION_INDEX": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    ],
    ids=["slurm", "kubernetes"],
)
def test_what_may_be_one_task_of_several_is_said(monkeypatch, capsys, found):
    prepare(monkeypatch, None, **found)
    name, value = next(iter(found.items()))
    assert f"note     {name}={value} is set" in capsys.readouterr().err
    prepare(monkeypatch, "off", **found)
    assert capsys.readouterr().err == ""


def test_a_single_task_is_alone(monkeypatch, capsys):
    single = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}
    prepare(monkeypatch, None, **single, TPU_WORKER_HOSTNAMES="localhost")
    assert capsys.readouterr().err == ""


SLURM = """
import sys
from wonn_jax.dist.hosts import ask_cluster
place = ask_cluster(5)
print(place.coordinator, place.index, place.count, list(place.local_devices))
"""


def test_slurm_says_who_is_who():
    found = {
        "SLURM_JOB_ID": "4096",
        "SLURM_STEP_NODELIST": "node[007-009]",
        "SLURM_NTASKS": "3",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "1",
    }
    result = run([sys.executable, "-c", SLURM], **found)
    assert result.stdout.split(maxsplit=3) == ["node007:61440", "2", "3", "[1]\n"], result.stderr
