"""NVIDIA GPUs as data: programs can be compiled for them where there is none.

    pip install "jax[cuda13]"

XLA's compiler for GPUs needs neither a driver nor a card, only a description of it.
"""

import importlib.util
import math
import os
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from wonn_jax.train.hardware import peak_flops

WHEELS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
CUDNN = ("nvidia_cudnn_cu13", "nvidia_cudnn_cu12")

PREALLOCATED = 0.75
"""Share of a card's memory that JAX takes by default."""

FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""The variable that sets another."""


class Gpu(NamedTuple):
    """A card, in figures that its maker publishes or its driver reports.

    kind: `jax.Device.device_kind`.
    capability: major number of its compute capability.
    cores: streaming multiprocessors.
    units: float32 units of each.
    shared: shared memory of each core, bytes; 1 KiB less is the most that a block can ask for.
    cache: second-level cache, bytes.
    clock: GHz.
    memory: bytes, as the driver reports them.
    bandwidth: of the memory, bytes/s.
    links: bytes/s that it can send to the others of its host (NVLink), in one direction.
    network: bytes/s that it can send to other hosts, by the network card that stands beside each
      GPU in the maker's own hosts.
    """

    kind: str
    capability: int
    cores: int
    units: int
    shared: int
    cache: int
    clock: float
    memory: int
    bandwidth: float
    links: float
    network: float

    @property
    def description(self) -> str:
        """For XLA: a `GpuTargetConfigProto` as text."""
        return f"""
gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_core: {self.shared}
  shared_memory_per_block_optin: {self.shared - 1024}
  core_count: {self.cores}  fpus_per_core: {self.units}
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
  memory_bandwidth: {self.bandwidth:.0f}  l2_cache_size: {self.cache}
  clock_rate_ghz: {self.clock}  device_memory_size: {self.memory}
  cuda_compute_capability {{ major: {self.capability} }}
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9  minor: 10 }}
device_description_str: "{self.kind}"
"""

    def reach(self, count: int) -> float:
        """Bytes/s that one of `count` GPUs can send to all others."""
        return self.links if count <= HOST else self.network

    def peak(self, dtype: str) -> float:
        """FLOP/s of products of operands of a type as HLO names it, 'bf16', 'f32'."""
        rate = peak_flops(self.kind, "float32" if dtype == "f32" else "bfloat16")
        assert rate is not None  # all of GPUS have one
        return rate


GPUS = {
    "a100": Gpu(
        kind="NVIDIA A100-SXM4-80GB",
        capability=8,
        cores=108,
        units=64,
        shared=167_936,
        cache=41_943_040,
        clock=1.41,
        memory=85_100_068_864,
        bandwidth=2.039e12,
        links=300e9,
        network=25e9,
    ),
    "h100": Gpu(
        kind="NVIDIA H100 80GB HBM3",
        capability=9,
        cores=132,
        units=128,
        shared=233_472,
        cache=52_428_800,
        clock=1.98,
        memory=84_978_434_048,
        bandwidth=3.352e12,
        links=450e9,
        network=50e9,
    ),
    "h200": Gpu(
        kind="NVIDIA H200",
        capability=9,
        cores=132,
        units=128,
        shared=233_472,
        cache=52_428_800,
        clock=1.98,
        memory=151_397_597_184,
        bandwidth=4.8e12,
        links=450e9,
        network=50e9,
    ),
    "b200": Gpu(
        kind="NVIDIA B200",
        capability=10,
        cores=148,
        units=128,
        shared=233_472,
        cache=132_644_864,
        clock=1.965,
        memory=191_514_411_008,
        bandwidth=7.672e12,
        links=900e9,
        network=50e9,
    ),
}
"""SXM modules by name, eight of which a host connects by NVLink."""

HOST = 8
"""Most GPUs of a host."""


def devices(name: str, count: int = 1) -> list[Any]:
    """Described devices to compile for, which run nothing: of one host, or of hosts of eight.

    Raises:
      ValueError: the card is unknown, or hosts have not so many.
      ImportError: JAX's CUDA wheels are not installed.
    """
    if name not in GPUS:
        raise ValueError(f"There is no GPU {name!r} here; there are {', '.join(GPUS)}.")
    check_count(count)
    check_installed()
    hosts = -(-count // HOST)
    topology = topologies.get_topology_desc(
        name,
        "cuda",
        target_config=GPUS[name].description,
        topology=f"1x{hosts}x{count // hosts}",
    )
    found: list[jax.Device] = list(topology.devices)
    return found


def preallocated() -> float:
    """Share of a card's memory that JAX takes.

    Raises:
      ValueError: the environment asks for an impossible one.
    """
    text = os.environ.get(FRACTION, f"{PREALLOCATED}")
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{FRACTION}={text} must be more than 0 and at most 1: {PREALLOCATED}.")
    return share


def check_count(count: int) -> None:
    """Raises a ValueError if there are no hosts of so many GPUs."""
    if count < 1 or (count > HOST and count % HOST):
        raise ValueError(f"A host has 1 to {HOST} GPUs, several have {HOST} each; {count} do not.")


def check_installed() -> None:
    """Raises an ImportError, which says what to install, if JAX's CUDA wheels are not there."""
    if not any(importlib.util.find_spec(name) for name in WHEELS):
        raise ImportError(
            'The compiler for GPUs is not installed: pip install "jax[cuda13]". It needs no GPU.'
        )
