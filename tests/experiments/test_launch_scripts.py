"""experiments/launch/: as far as it can be checked on one machine, without a cloud."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from runs import ROOT, command, ends, free_port, signal_at, start, write_mazes

from wonn_jax.train.checkpoint import Checkpoints

LAUNCH = ROOT / "experiments" / "launch"
SCRIPTS = ("ssh_loop.sh", "slurm.sbatch", "tpu_pod.sh")
TRAINING = ["--", "--config=configs/digits.py", "--workdir=/runs/it's one"]
POD = ["--project=p", "--zone=us-west4-a", "--name=pod"]


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(LAUNCH / name), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def executable(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def two_hosts(tmp_path) -> Path:
    file = tmp_path / "hosts"
    file.write_text("# two\nlocalhost\n\nme@127.0.0.1  # the other\n")
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_mazes(tmp_path_factory.mktemp("data"))


# --- What is written ------------------------------------------------------------------------------


def test_shellcheck():
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, 'shellcheck is missing; pip install -e ".[dev]"'
    files = [str(LAUNCH / name) for name in SCRIPTS]
    result = subprocess.run([program, *files], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    result = script(name, "--help")
    assert result.returncode == 0 and result.stdout.startswith("Usage: ")
    assert "Assumes: " in result.stdout and "--dry-run" in result.stdout


def test_dry_runs(two_hosts):
    lines = script("ssh_loop.sh", f"--hosts={two_hosts}", "--dry-run", *TRAINING).stdout
    first, second = lines.splitlines()
    assert re.match(r"ssh .* localhost: cd '.*' && : && 'python' '-m' 'wonn_jax.main' ", first)
    assert "'--distributed=on' '--coordinator=localhost:12321' '--num_processes=2'" in second
    assert "me@127.0.0.1" in second and second.rstrip().endswith("'--process_id=1'")

    _, tasks, requeue = script("slurm.sbatch", "--dry-run", *TRAINING).stdout.splitlines()
    assert tasks.startswith("srun ") and "--distributed=auto" in tasks
    assert requeue.startswith("scontrol requeue ")

    result = script("tpu_pod.sh", "all", *POD, "--spot", "--dry-run", *TRAINING)
    assert result.returncode == 0, result.stderr
    texts = [r"queued-resources create pod .*--spot", "describe pod", "scp", "on_host_install"]
    texts += ["on_host_run.*--config=configs/digits.py", "delete pod"]
    assert re.search(".*".join(texts), result.stdout, re.DOTALL)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ssh_loop.sh", ["--host=x", *TRAINING], "'--host=x' is no option of ssh_loop.sh"),
        ("ssh_loop.sh", TRAINING, "no --hosts=FILE"),
        ("ssh_loop.sh", ["--hosts=/no/file", *TRAINING], "/no/file cannot be read"),
        ("ssh_loop.sh", ["--hosts=/dev/null", *TRAINING], "/dev/null has no host in it"),
        ("ssh_loop.sh", ["--hosts=HOSTS", "--grace=1m", *TRAINING], "not '1m'"),
        ("ssh_loop.sh", ["--hosts=HOSTS", "--coordinator=a", *TRAINING], "is not HOST:PORT"),
        ("ssh_loop.sh", ["--hosts=TWICE", *TRAINING], "has same twice"),
        ("ssh_loop.sh", ["--hosts=HOSTS", *TRAINING, "--process_id=1"], "--process_id=1 is set"),
        ("slurm.sbatch", ["--config=x"], "flags of the training come after '--'"),
        ("slurm.sbatch", ["--", "--workdir=x"], "no --config=CONFIG after '--'"),
        ("slurm.sbatch", ["--", "--config=x"], "no --workdir=FOLDER after '--'"),
        ("slurm.sbatch", TRAINING, "no Slurm job; submit it with sbatch"),
        ("slurm.sbatch", [*TRAINING, "--distributed=on"], "--distributed=on is set"),
        ("tpu_pod.sh", ["start"], "'start' is no command"),
        ("tpu_pod.sh", ["create", *POD[1:]], "no --project"),
        ("tpu_pod.sh", ["create", *POD, "--zone=west"], "--zone='west' is no zone"),
        ("tpu_pod.sh", ["create", *POD, "--name=A"], "--name='A' is no name"),
        ("tpu_pod.sh", ["delete", *POD, *TRAINING], "takes no flags of the training"),
        ("tpu_pod.sh", ["run", *POD, "--", "--config=x", "--workdir=x"], "no --workdir=/FOLDER"),
    ],
)
def test_bad_input(two_hosts, name, arguments, message):
    twice = two_hosts.with_name("twice")
    twice.write_text("same\nsame\n")
    files = {"--hosts=HOSTS": f"--hosts={two_hosts}", "--hosts=TWICE": f"--hosts={twice}"}
    result = script(name, *(files.get(a, a) for a in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and message in result.stderr


class Running:
    """A process that is known by a file with its number in it."""

    def __init__(self, file: Path):
        self._file = file

    def send_signal(self, number: int) -> None:
        os.kill(int(self._file.read_text()), number)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


# --- ssh loop -------------------------------------------------------------------------------------

# Like ssh, this gives the words to a shell, joined.
SSH = '#!/usr/bin/env bash\nshift\ncd /\nexec sh -c "$*"\n'


def loop(two_hosts: Path, ssh: Path, *arguments: str) -> subprocess.Popen:
    """The loop over 'hosts' that are this machine."""
    options = [f"--hosts={two_hosts}", f"--ssh={ssh}", f"--folder={ROOT}", "--patience=1"]
    coordinator = f"--coordinator=localhost:{free_port()}"
    return start(
        ["bash", str(LAUNCH / "ssh_loop.sh"), *options, coordinator, *arguments],
        TMPDIR=str(two_hosts.parent),  # which it cannot clear if it is killed
    )


def steps(workdir: Path) -> list[int]:
    with Checkpoints(workdir / "checkpoints", 3) as checkpoints:
        return list(checkpoints.steps())


def test_ssh_loop_trains_stops_and_goes_on(data, two_hosts, tmp_path):
    ssh = executable(tmp_path / "ssh", SSH)
    flags = command(data, tmp_path / "run", "--config.checkpoint.every=never")[3:]
    arguments = [f"--python={sys.executable}", "--", *flags]
    process = loop(two_hosts, ssh, *arguments)
    signal_at(6, flags, [process], [process], signal.SIGTERM)
    ((status, output, errors),) = ends([process])
    assert status == 128 + signal.SIGTERM, errors + output
    (step,) = steps(tmp_path / "run")
    assert 6 <= step < 30
    for host in ("localhost", "me@127.0.0.1"):
        assert f"[{host}] stopped by SIGTERM after step {step}, saved" in output
        assert f"[{host}] ended with status 143" in errors

    ((status, output, errors),) = ends([loop(two_hosts, ssh, *arguments)])
    assert status == 0, errors + output
    assert f"[localhost] start    step {step}, resumed" in output and "on 2 hosts" in output
    assert all(line.startswith("[") for line in output.splitlines())
    assert 30 in steps(tmp_path / "run")


def pretend(text: str) -> str:
    """A program instead of Python: `i` is the number of its process."""
    return f"#!/usr/bin/env bash\ni=${{*: -1}}\ni=${{i#--process_id=}}\n{text}"


def test_ssh_loop_ends_all_if_one_fails(two_hosts, tmp_path):
    """One that cannot be reached; one that does not stop when it is asked to."""
    text = 'trap "" TERM\necho "here is $i"\n((i)) && exit 3\nwhile :; do sleep 0.1; done\n'
    python = executable(tmp_path / "python", pretend(text))
    ssh = executable(tmp_path / "ssh", SSH)
    process = loop(two_hosts, ssh, f"--python={python}", "--grace=1", *TRAINING)
    ((status, output, errors),) = ends([process], 20)
    assert status == 3, errors
    assert "[localhost] here is 0" in output and "[me@127.0.0.1] here is 1" in output
    assert "[me@127.0.0.1] ended with status 3" in errors
    assert "[localhost] ended with status 137" in errors


# A connection that can be cut: the program at the other end goes on, but nobody listens.
CONNECTION = """#!{python}
import os, subprocess, sys, threading
program = subprocess.Popen(
    ["sh", "-c", " ".join(sys.argv[2:])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
open("{folder}/" + sys.argv[1], "w").write(str(os.getpid()))
def send():
    while text := os.read(0, 100):
        program.stdin.write(text)
        program.stdin.flush()
    program.stdin.close()
threading.Thread(target=send, daemon=True).start()
while text := os.read(program.stdout.fileno(), 100):
    os.write(1, text)
sys.exit(program.wait())
"""


@pytest.mark.parametrize("what", ["Ctrl-C", "killed", "killed after Ctrl-C", "connections"])
def test_whatever_ends_the_ssh_loop_all_save(two_hosts, tmp_path, what):
    """Each process is asked, and only once: the second SIGTERM would end it while it saves."""
    files = [tmp_path / "0", tmp_path / "1"]
    text = (
        "trap 'asked=yes; echo asked >>$file' TERM\n"
        "echo started >>$file\n"
        "until [[ ${asked:-} ]]; do sleep 0.1; done\n"
        # It prints, whether or not somebody listens, and ends after the other one was asked, too.
        f"for _ in {{1..100}}; do echo saving; sleep 0.1; grep -q asked {files[0]} && "
        f"grep -q asked {files[1]} && break; done\n"
        "sleep 1; echo saving; echo saved >>$file; exit 143\n"
    )
    python = executable(tmp_path / "python", pretend(f'file="{tmp_path}/$i"\n{text}'))
    ssh = executable(tmp_path / "ssh", CONNECTION.format(python=sys.executable, folder=tmp_path))
    process = loop(two_hosts, ssh, f"--python={python}", *TRAINING)
    wait_for(lambda: all(x.exists() and "started" in x.read_text() for x in files))
    if what.endswith("Ctrl-C"):
        process.send_signal(signal.SIGINT)
        wait_for(lambda: all("asked" in x.read_text() for x in files), 8)
    if what.startswith("killed"):
        process.kill()
    if what == "connections":
        for host in ("localhost", "me@127.0.0.1"):
            Running(tmp_path / host).send_signal(signal.SIGKILL)
    wait_for(lambda: all(x.read_text() == "started\nasked\nsaved\n" for x in files), 8)
    ((status, output, errors),) = ends([process], 20)
    if what.startswith("killed"):
        assert status == -signal.SIGKILL
    else:
        assert status == (130 if what == "Ctrl-C" else 137), errors
    if what == "Ctrl-C":
        assert "[localhost] saving" in output and "[me@127.0.0.1] saving" in output


# --- Slurm and Open MPI ---------------------------------------------------------------------------

SRUN = """#!{python}
# Two tasks on this node, as srun would start them; a signal goes to both.
import os, signal, subprocess, sys
arguments = sys.argv[1:]
while arguments[0].startswith("--"):
    arguments.pop(0)
names = dict(SLURM_STEP_NODELIST="localhost", SLURM_NTASKS="2", SLURM_STEP_NUM_TASKS="2")
numbers = [dict(SLURM_PROCID=str(i), SLURM_LOCALID=str(i)) for i in range(2)]
tasks = [subprocess.Popen(arguments, env=os.environ | names | x) for x in numbers]
signal.signal(signal.SIGTERM, lambda *_: [task.send_signal(signal.SIGTERM) for task in tasks])
open(os.environ["SRUN_PID"], "w").write(str(os.getpid()))
statuses = [task.wait() for task in tasks]
sys.exit(max(128 - x if x < 0 else x for x in statuses))
"""


def free_job() -> str:
    """A job's number for which the port that JAX makes of it is free."""
    for _ in range(100):
        number = random.randrange(4096)
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", 61440 + number)):
                return str(4096 * 7 + number)
    raise AssertionError("all ports are taken")


def test_slurm_job_queues_itself_again_and_goes_on(data, tmp_path):
    """With two tasks that JAX itself takes for a Slurm job."""
    executable(tmp_path / "bin" / "srun", SRUN.format(python=sys.executable))
    executable(tmp_path / "bin" / "squeue", "#!/bin/sh\necho RUNNING\n")
    executable(tmp_path / "bin" / "scontrol", f'#!/bin/sh\necho "$@" >>{tmp_path}/requeued\n')
    flags = command(data, tmp_path / "run", "--config.checkpoint.every=never")[3:]
    pid = tmp_path / "srun.pid"

    def job(number: str) -> subprocess.Popen:
        return start(
            ["bash", str(LAUNCH / "slurm.sbatch"), f"--python={sys.executable}", "--", *flags],
            PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            SRUN_PID=str(pid),
            SLURM_JOB_ID=number,
            SLURM_GPUS_ON_NODE="2",
            SLURM_NTASKS_PER_NODE="2",
        )

    number = free_job()
    process = job(number)
    signal_at(6, flags, [process], [Running(pid)], signal.SIGTERM)  # type: ignore[list-item]
    ((status, output, errors),) = ends([process])
    assert status == 143, errors + output
    (step,) = steps(tmp_path / "run")
    assert 6 <= step < 30 and f"stopped by SIGTERM after step {step}, saved" in errors
    assert (tmp_path / "requeued").read_text() == f"requeue {number}\n"

    ((status, output, errors),) = ends([job(free_job())])
    assert status == 0, errors + output
    assert f"start    step {step}, resumed" in output and "on 2 hosts" in output
    assert (tmp_path / "requeued").read_text() == f"requeue {number}\n"


@pytest.mark.parametrize("what", ["cancelled", "failed"])
def test_slurm_job_that_does_not_queue_again(tmp_path, what):
    """If it was cancelled, of which this script hears, too; if the training failed."""
    text = '#!/bin/sh\necho $$ >"$SRUN_PID"\ntrap "exit 143" TERM\n'
    text += "exit 2\n" if what == "failed" else "while :; do sleep 0.1; done\n"
    executable(tmp_path / "bin" / "srun", text)
    executable(tmp_path / "bin" / "squeue", "#!/bin/sh\necho RUNNING\n")
    executable(tmp_path / "bin" / "scontrol", f"#!/bin/sh\ntouch {tmp_path}/requeued\n")
    pid = tmp_path / "srun.pid"
    process = start(
        ["bash", str(LAUNCH / "slurm.sbatch"), *TRAINING],
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        SRUN_PID=str(pid),
        SLURM_JOB_ID="7",
    )
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    if what == "cancelled":
        process.send_signal(signal.SIGTERM)
        Running(pid).send_signal(signal.SIGTERM)
    ((status, _, _),) = ends([process], 20)
    assert status == (143 if what == "cancelled" else 2)
    assert not (tmp_path / "requeued").exists()


def test_slurm_job_with_other_numbers_of_tasks_and_gpus():
    numbers = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "8"}
    result = script("slurm.sbatch", *TRAINING, **numbers)
    assert result.returncode == 2 and "8 tasks and 4 GPUs on a node" in result.stderr
    assert "sbatch --ntasks-per-node=4 --gpus-per-node=4" in result.stderr


def test_open_mpi_says_who_is_who(tmp_path):
    """Two processes that JAX itself takes for an Open MPI job."""
    worker = [sys.executable, str(ROOT / "tests" / "parallel" / "host_worker.py"), "join_only"]
    job = int(free_job()) * 2**12
    processes = [
        start(
            [*worker, str(tmp_path), "auto", "-", "-", "60"],
            OMPI_MCA_orte_hnp_uri=f"{job}.0;tcp://127.0.0.1:34911",
            OMPI_COMM_WORLD_SIZE="2",
            OMPI_COMM_WORLD_RANK=str(index),
            OMPI_COMM_WORLD_LOCAL_RANK=str(index),
        )
        for index in range(2)
    ]
    for index, (status, output, errors) in enumerate(ends(processes)):
        assert status == 0 and f"joined {index} 2" in output, errors


# --- TPU pod slice --------------------------------------------------------------------------------

# One worker, in a folder that a new slice does not have any more.
GCLOUD = """#!/usr/bin/env bash
cd "$CLOUD"
what=$4
echo "$what" >>calls
case $what in
  create) echo ACTIVE >state; mkdir worker ;;
  describe)
    [[ ! -e silent ]] || { rm silent; echo "ERROR: no route to host" >&2; exit 1; }
    cat state 2>/dev/null || { echo "ERROR: (gcloud) NOT_FOUND: no such thing" >&2; exit 1; }
    ;;
  delete) rm -rf state worker ;;
  scp) cp "$5" worker/wonn-jax.tar.gz ;;
  ssh)
    [[ $(cat state) == ACTIVE ]] || exit 255
    for argument in "$@"; do
      [[ $argument != --command=* ]] || text=${argument#*=}
    done
    cd worker
    HOME=$PWD PATH=$CLOUD/bin:$PATH exec sh -c "$text"
    ;;
esac
"""
# Instead of installing.
PYTHON3 = """#!/bin/sh
mkdir -p .venv/bin && cp "$CLOUD/training" .venv/bin/python
"""


@pytest.fixture
def cloud(tmp_path) -> dict[str, str]:
    executable(tmp_path / "bin" / "gcloud", GCLOUD)
    executable(tmp_path / "bin" / "python3", PYTHON3)
    return {"CLOUD": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_preempted_pod_is_asked_for_again(cloud, tmp_path):
    executable(
        tmp_path / "training",
        '#!/bin/sh\necho "$@"\n'
        '[ -e "$CLOUD/again" ] && exit 0\n'
        'touch "$CLOUD/again"; echo SUSPENDED >"$CLOUD/state"; exit 143\n',
    )
    cloud["TMPDIR"] = str(tmp_path / "temporary")
    (tmp_path / "temporary").mkdir()
    result = script("tpu_pod.sh", "all", *POD, "--spot", "--poll=0", *TRAINING, **cloud)
    assert result.returncode == 0, result.stderr
    assert not any((tmp_path / "temporary").iterdir())
    assert "preempted (SUSPENDED)" in result.stderr
    line = "-m wonn_jax.main --config=configs/digits.py --workdir=/runs/it's one --distributed=auto"
    assert result.stdout.count(line) == 2
    calls = (tmp_path / "calls").read_text().split()
    changes = [call for call in calls if call in ("create", "scp", "delete")]
    assert changes == ["create", "scp", "delete"] * 2
    assert not (tmp_path / "state").exists()


def test_pod_whose_training_fails_is_kept_for_a_look(cloud, tmp_path):
    executable(tmp_path / "training", "#!/bin/sh\necho error: no data\nexit 2\n")
    result = script("tpu_pod.sh", "all", *POD, "--poll=0", *TRAINING, **cloud)
    assert result.returncode == 2 and "error: no data" in result.stdout
    assert "ended with status 2; pod is still there and costs money" in result.stderr
    assert (tmp_path / "state").read_text() == "ACTIVE\n"


def test_no_answer_about_a_pod_is_not_taken_for_its_end(cloud, tmp_path):
    """It would be deleted while it trains."""
    executable(tmp_path / "training", '#!/bin/sh\ntouch "$CLOUD/silent"\nexit 7\n')
    result = script("tpu_pod.sh", "all", *POD, "--poll=0", *TRAINING, **cloud)
    assert result.returncode == 2 and "ended with status 7; pod is still there" in result.stderr
    assert "no answer about pod, asking again: ERROR: no route to host" in result.stderr
    assert "delete" not in (tmp_path / "calls").read_text()


def test_pod_is_asked_to_stop(cloud, tmp_path):
    executable(
        tmp_path / "training",
        '#!/bin/bash\ntrap "echo saved; exit 143" TERM\ntouch "$CLOUD/started"\n'
        "while :; do sleep 0.1; done\n",
    )
    for what in ("create", "wait", "install"):
        assert script("tpu_pod.sh", what, *POD, **cloud).returncode == 0
    run = start(["bash", str(LAUNCH / "tpu_pod.sh"), "run", *POD, *TRAINING], **cloud)
    wait_for((tmp_path / "started").exists)
    assert script("tpu_pod.sh", "stop", *POD, **cloud).returncode == 0
    ((status, output, errors),) = ends([run], 20)
    assert status == 143 and "saved" in output, errors


# --- Kubernetes -----------------------------------------------------------------------------------


def fields(required: str = "", **properties: dict) -> dict:
    """Of an object: those that we use, and no other, so that a slip of the pen is found."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def each(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


def one_of(*values: str) -> dict:
    return {"enum": list(values)}


TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}

CONTAINER = fields(
    "name image command args resources",
    name=NAME,
    image=TEXT,
    command=each(TEXT),
    args=each(TEXT),
    env=each(fields("name value", name=TEXT, value=TEXT)),
    ports=each(fields("containerPort", containerPort=NUMBER)),
    resources=fields("limits", limits=fields("nvidia.com/gpu", **{"nvidia.com/gpu": NUMBER})),
    volumeMounts=each(fields("name mountPath", name=NAME, mountPath=TEXT)),
)
VOLUME = fields(
    "name",
    name=NAME,
    persistentVolumeClaim=fields("claimName", claimName=NAME),
    emptyDir=fields(medium=one_of("Memory")),
)
POD_FAILURE = fields(
    "action",
    action=one_of("FailJob"),  # of a Job: also Ignore, Count, FailIndex
    onPodConditions=each(fields("type status", type=TEXT, status=one_of("True"))),
    onExitCodes=fields(
        "operator values",
        containerName=NAME,
        operator=one_of("In", "NotIn"),
        values=each({"type": "integer", "minimum": 1}),
    ),
)
JOB = fields(
    "template",
    completionMode=one_of("Indexed"),
    completions=NUMBER,
    parallelism=NUMBER,
    backoffLimit=NUMBER,
    podFailurePolicy=fields("rules", rules=each(POD_FAILURE)),
    template=fields(
        "spec",
        spec=fields(
            "containers restartPolicy",
            serviceAccountName=NAME,
            restartPolicy=one_of("Never"),  # a podFailurePolicy allows no other
            terminationGracePeriodSeconds=NUMBER,
            containers=each(CONTAINER),
            volumes=each(VOLUME),
        ),
    ),
)
JOBSET = fields(
    "apiVersion kind metadata spec",
    apiVersion=one_of("jobset.x-k8s.io/v1alpha2"),
    kind=one_of("JobSet"),
    metadata=fields("name", name=NAME),
    spec=fields(
        "replicatedJobs",
        network=fields(
            enableDNSHostnames={"type": "boolean"}, publishNotReadyAddresses={"type": "boolean"}
        ),
        failurePolicy=fields(
            maxRestarts=NUMBER,
            restartStrategy=one_of("Recreate", "BlockingRecreate"),
            rules=each(
                fields(
                    "name action",
                    name=TEXT,
                    action=one_of(
                        "FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"
                    ),
                    onJobFailureReasons=each(one_of("PodFailurePolicy", "BackoffLimitExceeded")),
                )
            ),
        ),
        replicatedJobs=each(
            fields("name template", name=NAME, replicas=NUMBER, template=fields("spec", spec=JOB))
        ),
    ),
)


def test_jobset():
    account, role, binding, jobset = yaml.safe_load_all((LAUNCH / "jobset.yaml").read_text())
    jsonschema.validate(jobset, JOBSET)
    broken = yaml.safe_load(yaml.safe_dump(jobset))
    broken["spec"]["replicatedJobs"][0]["template"]["spec"]["backofLimit"] = 0
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        jsonschema.validate(broken, JOBSET)

    (group,) = jobset["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    # As JAX finds the others: one job, as many pods as processes, the subdomain of the JobSet.
    assert group["replicas"] == 1 and job["completions"] == job["parallelism"] > 1
    assert jobset["spec"]["network"]["enableDNSHostnames"]
    granted = {name for rule in role["rules"] for name in rule["resources"]}
    assert granted == {"pods", "services", "jobs"}
    names = {account["metadata"]["name"], pod["serviceAccountName"], binding["subjects"][0]["name"]}
    assert len(names) == 1 and binding["roleRef"]["name"] == role["metadata"]["name"]
    # What is mounted is there, and the command is one that the program understands.
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["command"] == ["python", "-m", "wonn_jax.main"]
    flags = dict(argument.split("=", 1) for argument in container["args"])
    assert (ROOT / flags["--config"]).exists() and flags["--distributed"] == "auto"
    # A run that was asked to stop and has saved is not one that failed.
    assert job["podFailurePolicy"]["rules"][1]["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [128 + signal.SIGTERM],
    }
