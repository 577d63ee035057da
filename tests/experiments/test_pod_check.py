"""The pod check: what is compiled, and how it is told. Nothing is compiled here."""

import json
import math

import pytest

from experiments import pod_check
from experiments.compile_check import programs
from experiments.compile_check.platforms import PODS
from experiments.pod_check import MODELS, MODES, Job, jobs
from wonn_jax.parallel import mesh as sharding
from wonn_jax.parallel.mesh import MeshConfig

PLANNED = list(jobs(list(MODELS), list(PODS), list(MODES)))
FOUND = {
    "date": "2026-01-02",
    "compile_seconds": 1.0,
    "arguments": 10**9,
    "temporaries": 2 * 10**9,
    "output": 0,
    "model_flops": 5e12,
    "flops": 1e12,
    "bytes": 3e9,
    "parameters": 396_293,
    "collectives": {"all-reduce": [3, 2_000_000]},
    "cycles": 1.5e9,
    "hosts": 4,
    "host_rows": 16,
}


def test_every_program_is_an_experiment_that_fits_its_chips():
    assert len({job.key for job in PLANNED}) == len(PLANNED) == 48
    for job in PLANNED:
        config = programs.card(job.program)
        shape = sharding.mesh_shape(MeshConfig(**job.axes), PODS[job.pod].chips)
        assert shape == tuple(job.axes.values())
        assert job.batch % (shape[0] * shape[1] * job.accumulate) == 0
        examples = config.task.build(config.data, config.augment).examples
        config.model.check_split(examples, shape[2])
        config.model.check_platform("tpu")
        assert all(flag.startswith("--config") for flag in job.program.flags.split())
    for model in MODELS:
        batches = [job.batch for job in PLANNED if job.model == model]
        assert min(batches) == MODELS[model].batches[0] and max(batches) == MODELS[model].batches[1]


def test_report():
    job = Job("maze", "v5e-16", "data", 64)
    results = {"about": "jax 1", job.key: FOUND}
    text = pod_check.report(json.loads(json.dumps(results)))
    (line,) = [x for x in text.splitlines() if x.startswith("| maze ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    seconds = 1.5e9 / PODS["v5e-16"].clock + 2e6 / 200e9
    days = f"{seconds * 9000 * 16 / 86400:.2f}"
    step = f"{1e3 * seconds:,.1f}"
    share = f"{2e6 / (4 * 396_293):.2f}"
    assert cells[:6] == ["maze", "v5e-16", "data 16", "64", "1", "16 (4 hosts)"]
    assert cells[6:9] == ["1.000", "2.00", "19 %"]
    assert cells[9:] == ["5.00", "1.00", "3.0", "3 all-reduce 2.0", share, step, days]
    assert math.isclose(pod_check.seconds(job, FOUND), seconds)
    assert "1 of 48 programs compile and fit; not compiled yet: " in text


def test_what_does_not_fit_is_told():
    job = Job("maze", "v5e-16", "data", 64)
    large = FOUND | {"temporaries": 16 * 10**9}
    wrong = {"error": "no room", "date": "2026-01-02"}
    for found in (large, wrong):
        text = pod_check.report({"about": "jax 1", job.key: found})
        assert f"0 of 48 programs compile and fit; not: {job.key}" in text


@pytest.mark.parametrize("batch, parts", [(512, 1), (16384, 32)])
def test_micro_batches_keep_within_the_room_of_a_chip(batch, parts):
    assert Job("imagenet", "v5e-16", "data", batch).accumulate == parts
