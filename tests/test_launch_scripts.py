"""The launch scripts, as far as they can be checked without the machines they are for."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from runs import QUICK, ROOT, command, free_port, signal_at, write_mazes

from wonn_jax.checkpoint import Checkpoints
from wonn_jax.metrics import read_lines

FOLDER = ROOT / "experiments" / "launch"
SCRIPTS = ("ssh_loop.sh", "slurm.sbatch", "tpu_pod.sh")
FLAGS = ("--config=configs/maze_hard.py", "--workdir=/shared/a run")


def call(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", FOLDER / script, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("script", [*SCRIPTS, "../../.ci/run"])
def test_shellcheck(script):
    # Beside the Python that runs this, or on the path.
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    checker = shutil.which("shellcheck", path=place)
    assert checker, "shellcheck is missing: pip install -e '.[dev]'"
    found = subprocess.run([checker, FOLDER / script], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
    found = call(script, "--help")
    assert found.returncode == 0 and found.stdout.startswith("Usage: ")
    assert "Assumes: " in found.stdout


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("ssh_loop.sh", [], "no file of hosts is given"),
        ("ssh_loop.sh", ["nowhere", "--", *FLAGS], "file of hosts nowhere cannot be read"),
        ("ssh_loop.sh", ["--port=x", "README.md", "--", *FLAGS], "--port=x is no number"),
        ("ssh_loop.sh", ["README.md", "--", FLAGS[0]], "no --workdir=FOLDER after --"),
        ("ssh_loop.sh", ["--fast"], "--fast is no flag of this script"),
        ("slurm.sbatch", [FLAGS[1]], "no --config=FILE is given"),
        ("slurm.sbatch", [*FLAGS], "this is no Slurm job; submit it"),
        ("tpu_pod.sh", ["a", "v6e-64", "zone", "--", *FLAGS], "NAME TYPE ZONE REPOSITORY are"),
        ("tpu_pod.sh", ["A_B", "v6e-64", "z", "r", "--", *FLAGS], "the name A_B must be of small"),
        ("tpu_pod.sh", ["a", "v9-8", "z", "r", "--", *FLAGS], "set TPU_VERSION=RUNTIME"),
    ],
)
def test_what_cannot_be_run_is_said(script, arguments, message):
    found = call(script, *arguments, SLURM_JOB_ID="")
    assert found.returncode == 2
    assert found.stderr.startswith("error: ") and message in found.stderr


def test_dry_run_of_the_ssh_loop(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("me@first  # the coordinator\n\nsecond\n")
    found = call("ssh_loop.sh", "--dry-run", "--port=99", "--dir=/x", str(hosts), "--", *FLAGS)
    first, second = found.stdout.splitlines()
    assert first.startswith("ssh me@first ") and second.startswith("ssh second ")
    for number, line in enumerate((first, second)):
        for part in (f"process_id={number}", "coordinator=first:99", "num_processes=2"):
            assert part in line.replace("\\", "")


def test_dry_run_of_the_slurm_job():
    found = call("slurm.sbatch", "--dry-run", *FLAGS)
    assert found.stdout == (
        "srun --kill-on-bad-exit=1 python3 -m wonn_jax.main --distributed=auto "
        "--config=configs/maze_hard.py --workdir=/shared/a\\ run \n"
    )


def test_dry_run_of_the_pod():
    found = call("tpu_pod.sh", "--dry-run", "--spot", "pod", "v6e-64", "zone", "url", "--", *FLAGS)
    create, install, train, delete = found.stdout.splitlines()
    assert create.startswith("gcloud compute tpus queued-resources create pod --node-id=pod ")
    assert "--accelerator-type=v6e-64 --runtime-version=v2-alpha-tpuv6e --spot" in create
    assert "git" in install and "--worker=all" in install
    assert "--distributed=auto" in train and "--worker=all" in train
    assert delete.startswith("gcloud compute tpus queued-resources delete pod --force")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_mazes(tmp_path_factory.mktemp("data"))


def flags(data: Path, workdir: Path, *more: str) -> list[str]:
    """Of a run of a tiny network; see `command`."""
    arguments = command(data, workdir, *more)
    return arguments[arguments.index("wonn_jax.main") + 1 :]


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def environment(folder: Path, **more: str) -> dict[str, str]:
    """In which commands of `folder` come first, and then the Python that runs this."""
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    plain = {name: x for name, x in os.environ.items() if not name.startswith("SLURM_")}
    return plain | {"JAX_PLATFORMS": "cpu", "PATH": path, "PYTHONPATH": str(ROOT)} | QUICK | more


def test_ssh_loop_stops_all_and_goes_on(data, tmp_path):
    """Two processes on this machine; what stands for ssh runs the command here."""
    ssh = script(tmp_path / "here", 'shift; exec bash -c "$1"')
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost\nlocalhost\n")
    arguments = flags(data, tmp_path / "run", "--config.checkpoint.every=never")

    def loop() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", FOLDER / "ssh_loop.sh", f"--port={free_port()}", f"--dir={ROOT}", hosts, "--"]
            + arguments,
            env=environment(tmp_path, SSH=str(ssh)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    running = loop()
    signal_at(5, arguments, [running], [running], signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM, (out, err)
    assert "asking 2 hosts to stop" in err
    assert len(re.findall(r"^\[localhost\] stopped by SIGTERM after step", out, re.M)) == 2, out
    with Checkpoints(tmp_path / "run" / "checkpoints", 3, writable=False) as checkpoints:
        (step,) = checkpoints.steps()

    running = loop()
    out, err = running.communicate(timeout=180)
    assert running.returncode == 0, (out, err)
    assert f"[localhost] start    step {step}, resumed" in out
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 30


def test_slurm_job_trains_and_is_queued_again(data, tmp_path):
    """What stands for srun starts two tasks here with Slurm's variables, which JAX reads."""
    script(
        tmp_path / "srun",
        "shift\n"
        'for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & jobs+=($!); done\n'
        '[[ -z ${STOP:-} ]] || { until grep -qs \'"step": 5,\' "$STOP"; do sleep 0.02; done\n'
        '  kill -TERM "${jobs[1]}"; }\n'
        'for job in "${jobs[@]}"; do wait $job || status=$?; done; exit ${status:-0}',
    )
    script(tmp_path / "scontrol", 'echo "$@" >"$QUEUE"')
    job = next(n for n in range(1000, 5096) if n % 2**12 + 65536 - 2**12 == _high_port())
    slurm = {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "QUEUE": str(tmp_path / "queue"),
    }
    arguments = flags(data, tmp_path / "run")

    def submit(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", FOLDER / "slurm.sbatch", *arguments],
            cwd=ROOT,
            env=environment(tmp_path, **slurm, **more),
            capture_output=True,
            text=True,
            timeout=180,
        )

    found = submit(STOP=str(tmp_path / "run" / "metrics.jsonl"))
    assert found.returncode == 0, found.stderr
    assert "the job goes back to the queue" in found.stdout
    assert (tmp_path / "queue").read_text() == f"requeue {job}\n"
    found = submit()
    assert found.returncode == 0, found.stderr
    assert "2 × cpu on 2 hosts" in found.stdout and "resumed from" in found.stdout
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 30


def _high_port() -> int:
    """One that is free among those that JAX takes for a Slurm job, by its number."""
    for port in range(65535, 65536 - 2**12, -7):
        with socket.socket() as free:
            if free.connect_ex(("localhost", port)):
                return port
    raise AssertionError("no port is free")


def closed(properties: dict, required: tuple[str, ...]) -> dict:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
CONTAINER = closed(
    {
        "name": NAME,
        "image": TEXT,
        "command": {"type": "array", "items": TEXT},
        "ports": {"type": "array", "items": closed({"containerPort": NUMBER}, ("containerPort",))},
        "resources": closed({"limits": {"type": "object"}}, ("limits",)),
        "volumeMounts": {
            "type": "array",
            "items": closed(
                {"name": NAME, "mountPath": TEXT, "readOnly": {"type": "boolean"}},
                ("name", "mountPath"),
            ),
        },
    },
    ("name", "image", "command"),
)
VOLUME = closed(
    {
        "name": NAME,
        "persistentVolumeClaim": closed(
            {"claimName": NAME, "readOnly": {"type": "boolean"}}, ("claimName",)
        ),
        "emptyDir": closed({"medium": {"enum": ["", "Memory"]}, "sizeLimit": TEXT}, ()),
    },
    ("name",),
)
POD = closed(
    {
        "restartPolicy": {"enum": ["Never", "OnFailure"]},
        "terminationGracePeriodSeconds": NUMBER,
        "containers": {"type": "array", "items": CONTAINER, "minItems": 1},
        "volumes": {"type": "array", "items": VOLUME},
    },
    ("restartPolicy", "containers"),
)
JOB = closed(
    {
        "parallelism": NUMBER,
        "completions": NUMBER,
        "completionMode": {"enum": ["Indexed", "NonIndexed"]},
        "backoffLimit": NUMBER,
        "template": closed({"spec": POD}, ("spec",)),
    },
    ("template",),
)
JOBSET = closed(
    {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": closed({"name": NAME}, ("name",)),
        "spec": closed(
            {
                "network": closed({"enableDNSHostnames": {"type": "boolean"}}, ()),
                "failurePolicy": closed({"maxRestarts": NUMBER}, ()),
                "successPolicy": closed({"operator": {"enum": ["All", "Any"]}}, ("operator",)),
                "replicatedJobs": {
                    "type": "array",
                    "items": closed(
                        {
                            "name": NAME,
                            "replicas": NUMBER,
                            "template": closed({"spec": JOB}, ("spec",)),
                        },
                        ("name", "template"),
                    ),
                },
            },
            ("replicatedJobs",),
        ),
    },
    ("apiVersion", "kind", "metadata", "spec"),
)


def test_jobset():
    """Its fields are those of a JobSet, and numbers and names in it agree."""
    jobset = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
    jsonschema.validate(jobset, JOBSET)
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    *_, line = container["command"]
    assert spec["parallelism"] == spec["completions"]
    assert f"--num_processes={spec['completions']}" in line
    # The first pod of the first replica, by the name that the JobSet gives it.
    name = jobset["metadata"]["name"]
    port = container["ports"][0]["containerPort"]
    assert f"--coordinator={name}-{job['name']}-0-0.{name}:{port}" in line
    assert {x["name"] for x in container["volumeMounts"]} == {x["name"] for x in pod["volumes"]}
    # The command is one that the training understands.
    flags = re.findall(r"--(?!config)(\w+)=", line)
    known = subprocess.run(
        [sys.executable, "-m", "wonn_jax.main", "--helpfull"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    ).stdout
    assert flags and all(f"--{flag}:" in known for flag in flags)
    assert (ROOT / re.findall(r"--config=(\S+)", line)[0]).exists()
