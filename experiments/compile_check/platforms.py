"""Devices to compile for, as data: slices of TPU pods, the GPUs of `wonn_jax.train.gpus`, the CPU.

The CPU is that of this machine, the only device of these on which a step can also run.
"""

import importlib.metadata
import importlib.util
from typing import Any, NamedTuple

from wonn_jax.train import gpus


class Pod(NamedTuple):
    """A slice, with the published figures of one chip."""

    topology: str
    chips: int
    memory: float  # bytes
    peak: float  # FLOP/s, bfloat16
    clock: float  # Hz, from the peak and the number of multiply-adds in a cycle
    links: float  # bytes/s between chips


PODS = {
    "v5e-16": Pod("v5e:4x4", 16, 16e9, 197e12, 197e12 / (4 * 2 * 128**2), 200e9),
    "v5e-256": Pod("v5e:16x16", 256, 16e9, 197e12, 197e12 / (4 * 2 * 128**2), 200e9),
    "v6e-64": Pod("v6e:8x8", 64, 32e9, 918e12, 918e12 / (4 * 2 * 256**2), 400e9),
    "v5p-64": Pod("v5p:2x4x4", 32, 95e9, 459e12, 459e12 / (8 * 2 * 128**2), 600e9),
}
"""Slices by name; the names of v5p count the two cores of each chip."""


CPU = "cpu"


def devices(platform: str, count: int) -> list[Any]:
    """The devices of a slice, or `count` GPUs of one host, which run nothing; or this CPU.

    Raises:
      ImportError: the compiler is not installed.
    """
    if platform == CPU:
        import jax

        return list(jax.devices(CPU)[:count])
    if platform not in PODS:
        return gpus.devices(platform, count)
    check_installed(platform)
    from jax.experimental import topologies

    return list(topologies.get_topology_desc(PODS[platform].topology, "tpu").devices)


def check_installed(platform: str) -> None:
    """Raises an ImportError, which says what to install, if the compiler is not there."""
    if platform == CPU:
        return
    if platform not in PODS:
        gpus.check_installed()
    elif importlib.util.find_spec("libtpu") is None:
        raise ImportError("The TPU compiler is not installed: pip install 'jax[tpu]'.")


def versions(platform: str) -> str:
    """Of JAX and of the compiler."""
    compilers = {CPU: ("jaxlib",), **dict.fromkeys(PODS, ("libtpu",))}
    packages = ("jax", *compilers.get(platform, (*gpus.WHEELS, *gpus.CUDNN)))
    known = {x.metadata["Name"].replace("-", "_") for x in importlib.metadata.distributions()}
    found = [name for name in packages if name in known]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found)
