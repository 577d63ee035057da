"""How a command starts and ends: devices, compilation cache and hosts; messages of errors."""

import hashlib
import importlib.metadata
import logging as python_logging
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import print_exception
from typing import Any, NamedTuple, NoReturn

import jax
from absl import logging
from etils import epath

from wonn_jax.common.errors import explain
from wonn_jax.common.files import named_fields
from wonn_jax.common.folders import make_folder, parse_path
from wonn_jax.config import to_dict
from wonn_jax.parallel import hosts
from wonn_jax.tools import environment
from wonn_jax.train.card import Config

_OF_ONE_HOST = (
    # Where the data lies and how it is read; its fingerprint is compared later.
    "data.dir",
    "data.path",
    "data.workers",
    "data.prefetch",
    "devices.compilation_cache",
)
"""Settings that may differ between hosts."""


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
    """Sets up the devices and connects to the other hosts. Call it before any computation of JAX.

    Hosts with different commands, code or devices all end here. So does, with a message and exit
    status 2, a process that does not find the others in time.

    Args:
      config: of the experiment.
      distributed: 'off': one process; 'auto': JAX detects the cluster; 'on': as the next three say;
        None: one process, unless the environment says that it is one of several.
      coordinator, process_id, num_processes: HOST:PORT of process 0, number of this process, from
        0, and of processes, with 'on'; the last two may be left to what started the processes,
        such as MPI.
      join_seconds: within which all processes must have started.
      mode: of the command: 'train', 'eval', 'describe'.

    Raises:
      ValueError: contradictory flags, hosts that disagree, 'auto' without a cluster, no devices.
      OSError: the port of process 0 is taken, or the compilation cache cannot be created.
    """
    if distributed == "on" and process_id is None and num_processes is None:
        process_id, num_processes = _place(os.environ)
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
        _keep_compiled(parse_path(config.devices.compilation_cache))
    train = mode == "train"  # elsewhere, SIGTERM ends the process as usual
    if coordinator is not None and process_id is not None and num_processes is not None:
        hosts.join(coordinator, process_id, num_processes, seconds=join_seconds, preemptible=train)
    elif distributed == "auto":
        hosts.join(seconds=join_seconds, preemptible=train)
    environment.start_devices()
    _compare_hosts(config, mode, num_processes)


def _compare_hosts(config: Config, mode: str, num_processes: int | None) -> None:
    hosts.compare_devices()
    fields = {
        f"config.{name}": value
        for name, value in named_fields(to_dict(config)).items()
        if name not in _OF_ONE_HOST
    }
    advice = "Use the same command and the same versions on all hosts."
    command = {"mode": mode, "num_processes": num_processes}
    hosts.compare("command and code", command | _versions() | fields, advice)


def _versions() -> dict[str, str]:
    """What results depend on; `code` is a digest of the files of this package."""
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


class _Launcher(NamedTuple):
    """What starts several processes together, and the variables in which it says so.

    known: whether JAX connects the processes by itself (--distributed=auto).
    """

    name: str
    size: str
    rank: str
    known: bool = False


_LAUNCHERS = (  # the first that is found counts: srun, say, may also set what MPICH sets
    _Launcher("Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", known=True),
    _Launcher("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", known=True),
    _Launcher("TPU slices", "MEGASCALE_NUM_SLICES", "MEGASCALE_SLICE_ID", known=True),
    _Launcher("MVAPICH", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    _Launcher("Flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    _Launcher("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
    _Launcher("MPICH, Intel MPI or PALS", "PMI_SIZE", "PMI_RANK"),
    _Launcher("Horovod", "HOROVOD_SIZE", "HOROVOD_RANK"),
    _Launcher("torchrun", "WORLD_SIZE", "RANK"),
)
_RANKS = ("PALS_RANKID", "PMIX_RANK", "ALPS_APP_PE", "PBS_VNODENUM")
"""Where the number of processes is not said, but that of this process is."""


def _launcher(variables: Mapping[str, str]) -> tuple[_Launcher, int] | None:
    """What started this process together with others, and how many they are."""
    for launcher in _LAUNCHERS:
        if (size := _number(variables.get(launcher.size))) > 1:
            return launcher, size
    return None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _place(variables: Mapping[str, str]) -> tuple[int, int] | tuple[None, None]:
    """Number of this process and of all, as what started them says."""
    found = _launcher(variables)
    rank = variables.get(found[0].rank, "") if found else ""
    return (int(rank), found[1]) if found and rank.isdecimal() else (None, None)


def _check_alone(variables: Mapping[str, str]) -> None:
    """Raises a ValueError if the environment says that this process is one of several."""
    together = "--distributed=auto"
    if found := _launcher(variables):
        launcher, size = found
        said = f"by {launcher.name} ({launcher.size}={size})"
        if not launcher.known:
            together = "--distributed=on --coordinator=HOST:PORT, HOST that of the first process,"
    elif ranks := [name for name in _RANKS if _number(variables.get(name))]:
        said = f"({ranks[0]}={variables[ranks[0]]})"
        together = "--distributed=on with --coordinator, --process_id and --num_processes"
    elif "," in (workers := variables.get("TPU_WORKER_HOSTNAMES", "")):
        said = f"(TPU_WORKER_HOSTNAMES={workers})"
    else:
        return _note_others(variables)
    raise ValueError(
        f"This is one of several processes that were started together {said}. Use {together} to "
        "train together, or --distributed=off for separate runs, each with its own --workdir."
    )


def _note_others(variables: Mapping[str, str]) -> None:
    """Notes what may also be set for a single process within a job of several tasks."""
    reserved = variables.get("SLURM_NTASKS")
    pod = variables.get("JOB_COMPLETION_INDEX")
    if _number(reserved) > 1:
        _note(f"SLURM_NTASKS={reserved}")
    elif "KUBERNETES_SERVICE_HOST" in variables and _number(pod) > 0:
        _note(f"JOB_COMPLETION_INDEX={pod}")


def _note(found: str) -> None:
    print(
        f"note     {found} is set, but this process trains alone; start all tasks with "
        "--distributed=auto if they are to train together",
        file=sys.stderr,
    )


def _keep_compiled(folder: epath.Path) -> None:
    """Makes JAX cache compiled programs in `folder`."""
    try:
        make_folder(folder)
    except OSError as error:
        raise OSError(
            f"The compilation cache {folder} cannot be created ({error.strerror}); set another "
            "--config.devices.compilation_cache=FOLDER, or omit it."
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # By default, JAX does not cache programs that compile within a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


EXPLAINED = (
    *(ValueError, TypeError, OSError, ImportError),
    *(ArithmeticError, MemoryError, RuntimeError),
)
"""Errors whose message is all that a user needs."""


def exit_status(run: Callable[[], int]) -> int:
    """Runs a command of one process; its exit status, 2 after a message about wrong input."""
    environment.prepare()
    try:
        environment.start_devices()
        status = run()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return environment.abandon_output()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except EXPLAINED as error:
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 2


_NOBODY_WAITED = "exception was never retrieved"


def quiet_libraries() -> None:
    """Silences what Orbax prints of every file, and of errors that it raises as well.

    Its logger writes the whole trace of such an error; threads of TensorStore that are still
    writing then, and asyncio for tasks that failed too, one more each, since nobody waits for them
    any longer. `--verbosity=1` shows all.
    """
    if logging.get_verbosity() > logging.INFO:
        return
    logging.set_verbosity(min(logging.get_verbosity(), logging.WARNING))
    logging.get_absl_logger().addFilter(lambda x: not (x.exc_info and "orbax" in x.pathname))
    python_logging.getLogger("asyncio").addFilter(lambda x: _NOBODY_WAITED not in x.getMessage())
    show = sys.unraisablehook

    def show_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    sys.unraisablehook = show_others


def fail(error: Exception, *, traceback: bool) -> NoReturn:
    """Prints the message or the traceback of an error, and ends this process and the other hosts.

    The exit status is 2 after a message, 1 after a traceback, `hosts.LOST` if another host was
    lost, and nothing is printed if nobody reads it.

    Args:
      error: what arose; unless it is `EXPLAINED`, the traceback is printed.
      traceback: print it in any case.
    """
    if isinstance(error, BrokenPipeError):
        hosts.leave(environment.abandon_output())
    lost = hosts.lost(error)
    if traceback := traceback or not isinstance(error, EXPLAINED):
        if not hosts.several():
            raise error
        print_exception(error)
    else:
        print(f"error: {_of_memory(error) or explain(error)}", file=sys.stderr)
    if lost:
        print(
            "Another host has probably ended; see its messages. The same command, on these or "
            "other hosts, resumes from the last checkpoint.",
            file=sys.stderr,
        )
    hosts.leave(hosts.LOST if lost else 1 if traceback else 2)


def _of_memory(error: Exception) -> str:
    """What to do about a device that has run out of memory; '' for another error."""
    if not isinstance(error, jax.errors.JaxRuntimeError) or "RESOURCE_EXHAUSTED" not in str(error):
        return ""
    found = re.sub(r"\s+", " ", str(error).strip().splitlines()[0])
    return (
        f"The memory of the device does not suffice ({found.rstrip('.')}). Use more micro-batches "
        "(--config.train.accumulate=2), a smaller --config.train.batch_size or "
        "--config.eval.batch_size, or recompute more in the backward pass "
        "(--config.model.remat_layers=on); --mode=describe tells what a step needs."
    )
