"""Before JAX starts: devices, compilation cache, hosts. After an error: what the user reads."""

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import print_exception
from typing import NoReturn

import jax

from wonn_jax.config import to_dict
from wonn_jax.dist import hosts
from wonn_jax.files import named_fields
from wonn_jax.train.card import Config

_OF_ONE_HOST = (
    # Where the data lies there, and how it is read; its fingerprint is compared later.
    "data.dir",
    "data.path",
    "data.workers",
    "data.prefetch",
    "devices.compilation_cache",
)
"""Fields of the configuration in which hosts may differ."""


def prepare_devices(
    config: Config,
    distributed: str | None,
    coordinator: str | None,
    process_id: int | None,
    num_processes: int | None,
    *,
    join_seconds: float = hosts.JOIN_SECONDS,
    mode: str = "train",
) -> None:
    """Splits the CPU if asked to, and joins the other hosts. Call before any array is made.

    Hosts that were started with different commands, code or devices stop here together.

    Args:
      config: of the experiment.
      distributed: 'off': this process is alone; 'auto': JAX asks the cluster; 'on': as given;
        None: alone, if nothing in the environment speaks against it.
      coordinator, process_id, num_processes: all three with 'on', none otherwise.
      join_seconds: within which all processes must have started.
      mode: what the run does.

    Raises:
      ValueError: flags that contradict each other, hosts that disagree, 'auto' where no cluster
        is found.
      OSError: a coordinator that does not answer, a compilation cache that cannot be made.
    """
    given = (coordinator, process_id, num_processes)
    if distributed == "on" and None in given:
        raise ValueError(
            "--distributed=on needs --coordinator=HOST:PORT, --process_id=I and --num_processes=N "
            f"(found {coordinator}, {process_id}, {num_processes})."
        )
    if distributed != "on" and any(x is not None for x in given):
        raise ValueError(
            f"--coordinator, --process_id and --num_processes have no effect with "
            f"--distributed={distributed or 'off'}; use --distributed=on."
        )
    if distributed is None:
        _check_alone(os.environ)
    if config.devices.cpu_devices:
        jax.config.update("jax_num_cpu_devices", config.devices.cpu_devices)
    if config.devices.compilation_cache:
        _keep_compiled(Path(config.devices.compilation_cache).expanduser().resolve())
    train = mode == "train"  # only the training loop answers a SIGTERM
    if coordinator is not None and process_id is not None and num_processes is not None:
        hosts.join(coordinator, process_id, num_processes, seconds=join_seconds, preemptible=train)
    elif distributed == "auto":
        hosts.join(seconds=join_seconds, preemptible=train)
    _compare_hosts(config, mode, num_processes)


def _compare_hosts(config: Config, mode: str, num_processes: int | None) -> None:
    hosts.compare_devices()
    fields = {
        f"config.{name}": value
        for name, value in named_fields(to_dict(config)).items()
        if name not in _OF_ONE_HOST
    }
    advice = "Start all hosts with the same command, and install the same versions on all."
    command = {"mode": mode, "num_processes": num_processes}
    hosts.compare("command and code", command | _versions() | fields, advice)


def _versions() -> dict[str, str]:
    """Versions that the result depends on; `code` is a digest of the files of this package."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "code": digest.hexdigest()[:16],
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


_TASKS = {
    # Set for each task of a job that was started together, and by nothing else.
    "SLURM_STEP_NUM_TASKS": "Slurm",
    "OMPI_COMM_WORLD_SIZE": "Open MPI",
    "MEGASCALE_NUM_SLICES": "TPU slices",
}


def _check_alone(environment: Mapping[str, str]) -> None:
    """Raises a ValueError if this seems to be one task of several, and nobody said what to do."""
    tasks = {name: environment.get(name, "") for name in _TASKS}
    found = [f"{name}={n}" for name, n in tasks.items() if n.isdigit() and int(n) > 1]
    workers = environment.get("TPU_WORKER_HOSTNAMES", "")
    if "," in workers:
        found.append(f"TPU_WORKER_HOSTNAMES={workers}")
    if found:
        raise ValueError(
            f"This is one of several processes that were started together ({', '.join(found)}). "
            "Use --distributed=auto for them to train together, or --distributed=off for runs of "
            "their own, each with its own --workdir."
        )
    # A job of several tasks may well run a script with one process in it.
    reserved = environment.get("SLURM_NTASKS", "")
    pod = environment.get("JOB_COMPLETION_INDEX", "")
    if reserved.isdigit() and int(reserved) > 1:
        _note(f"SLURM_NTASKS={reserved}")
    elif "KUBERNETES_SERVICE_HOST" in environment and pod.isdigit() and int(pod) > 0:
        _note(f"JOB_COMPLETION_INDEX={pod}")


def _note(found: str) -> None:
    print(
        f"note     {found} is set, but this process trains alone; start all tasks with "
        "--distributed=auto if they are to train together",
        file=sys.stderr,
    )


def _keep_compiled(folder: Path) -> None:
    """Has JAX keep whatever it compiles in `folder`, and look there first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"The compilation cache {folder} cannot be made ({error.strerror}); set another "
            "--config.devices.compilation_cache=FOLDER, or leave it out."
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: JAX would leave out what compiles within a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def fail(error: Exception, *, traceback: bool) -> NoReturn:
    """Ends this process, and thereby the others, with the message or the whole traceback.

    The exit status is 2, 1 with a traceback, `hosts.LOST` if another host was lost.
    """
    lost = hosts.lost(error)
    if traceback:
        if not hosts.several():
            raise error
        print_exception(error)
    else:
        print(f"error: {error}", file=sys.stderr)
    if lost:
        print(
            "Another host has probably ended; its own message says why. The same command, on these "
            "hosts or on others, goes on from the last checkpoint.",
            file=sys.stderr,
        )
    hosts.leave(hosts.LOST if lost else 1 if traceback else 2)
