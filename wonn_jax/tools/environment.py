"""What the environment of a command must not change: JAX's settings, its devices, the output."""

import io
import os
import signal
import sys
from typing import Any

import jax

# Results, and whether a run can be resumed, depend on these; values are those of JAX by default.
_SETTINGS: dict[str, Any] = {
    "jax_disable_jit": False,
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_random_seed_offset": 0,
    "jax_threefry_partitionable": True,
    "jax_transfer_guard": None,
}


def prepare() -> None:
    """Prepares output, pictures and JAX; call it first in a command, before JAX computes."""
    _open_output()
    os.environ["MPLBACKEND"] = "agg"  # pictures are files, whatever windows there may be
    for name, value in _SETTINGS.items():
        if (found := getattr(jax.config, name)) != value:
            jax.config.update(name, value)
            note = f"{name.upper()}={found} is ignored: this command needs {value}"
            print(f"note     {note}", file=sys.stderr)


def _open_output() -> None:
    """Makes it possible to print: closed streams lead nowhere, unknown characters become '?'."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def abandon_output() -> int:
    """Gives up output that nobody reads any more; the exit status, that of SIGPIPE."""
    for number in (1, 2):  # what is still to be written at exit, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return 128 + signal.SIGPIPE


def use_cpu() -> None:
    """Makes JAX start no device but the CPU; call it before it starts any."""
    jax.config.update("jax_platforms", "cpu")


def start_devices() -> None:
    """Starts the devices of JAX.

    Raises:
      ValueError: there are none of the kind asked for.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # JAX asserts that there are any
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].rstrip(".") or "there are none"
        names = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
        asked = ", ".join(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))
        advice = "unset it, or use JAX_PLATFORMS=cpu" if asked else "use JAX_PLATFORMS=cpu"
        raise ValueError(
            f"JAX cannot start the devices{f' that {asked} asks for' if asked else ''} ({reason}). "
            f"Install JAX for them, such as with pip install 'jax[cuda13]', or {advice}."
        ) from error
