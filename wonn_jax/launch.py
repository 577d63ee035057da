"""Before JAX starts: devices, compilation cache, hosts. After an error: what the user reads."""

import sys
from pathlib import Path
from typing import NoReturn

import jax
from absl import flags

from wonn_jax.config import Config


def parse_flags(argv: list[str]) -> list[str]:
    """The flags of the command line; an unknown or wrong field of the config is a message."""
    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError, flags.Error) as error:
        text = str(error).strip("'\"").replace("\\'", "'").replace("\\n", ". ")
        if "Traceback" in text:  # ml_collections quotes the whole trace of a failing config file
            text = text.strip().splitlines()[-1].partition(": ")[2]
        fail(
            ValueError(
                f"the configuration cannot be read: {text.rstrip('?. ')}. All fields and their "
                "meaning are in wonn_jax/config.py; set one with --config.GROUP.FIELD=VALUE."
            ),
            traceback=False,
        )


def prepare_devices(
    config: Config,
    distributed: str,
    coordinator: str | None,
    process_id: int | None,
    num_processes: int | None,
) -> None:
    """Splits the CPU if asked to, and joins the other hosts. Call before any array is made.

    Args:
      config: `devices` counts.
      distributed: 'off': this process is alone; 'auto': JAX asks the cluster; 'on': as given.
      coordinator, process_id, num_processes: all three with 'on', none otherwise.

    Raises:
      ValueError: flags that contradict each other, or 'auto' where no cluster is found.
      OSError: a compilation cache that cannot be made.
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
            f"--distributed={distributed}; use --distributed=on."
        )
    if config.devices.cpu_devices:
        jax.config.update("jax_num_cpu_devices", config.devices.cpu_devices)
    if config.devices.compilation_cache:
        _keep_compiled(Path(config.devices.compilation_cache).expanduser().resolve())
    if distributed == "on":
        jax.distributed.initialize(coordinator, num_processes, process_id)
    elif distributed == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                f"--distributed=auto found no cluster here ({error}). Use --distributed=off for "
                "one process, or --distributed=on with --coordinator, --process_id and "
                "--num_processes."
            ) from error


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
    """Ends the process with the message alone, exit status 2; `traceback` shows all."""
    if traceback:
        raise error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
