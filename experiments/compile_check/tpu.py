"""What is asked of programs for TPU pods alone."""

import math
from typing import Any

from experiments.compile_check.platforms import PODS

KERNEL_CYCLES = 0.024
"""Cycles of the attention kernel, forward and backward, per logit with padding, on a v5e: 8.63 ms
at 1.5 GHz for 64 × 8 heads of 1024 × 1024, see `results/tpu_attention.md`."""


def attention_cycles(experiment: Any, pod: str, shape: tuple[int, ...]) -> float:
    """Cycles of a call of the attention kernel: forward or backward, each half of both.

    Args:
      experiment: whose training step it is.
      pod: a name of `PODS`.
      shape: of one example.
    """
    from wonn_jax.kernels.pallas import block_size

    network, train, mesh = experiment.config.model, experiment.config.train, experiment.mesh
    cells = experiment.model.phase_shape(shape)[:2]
    group = getattr(network, "group", 1)
    tokens = math.prod(-(-side // group) for side in cells)
    padded = -(-tokens // block_size(tokens)) * block_size(tokens)
    rows = train.batch_size / train.accumulate / (mesh.shape["data"] * mesh.shape["fsdp"])
    speed = PODS[pod].peak / PODS["v5e-16"].peak * PODS["v5e-16"].clock / PODS[pod].clock
    return KERNEL_CYCLES / speed * rows * network.heads * padded**2 / 2


def read_by_hosts(experiment: Any) -> dict[str, int]:
    """Number of hosts of the slice, and of the batch's rows that the first one reads."""
    import numpy as np

    from wonn_jax.parallel import mesh as sharding

    batch = experiment.config.train.batch_size
    placed = sharding.by_row(experiment.mesh)
    here = [
        np.arange(batch)[index]
        for device, index in placed.devices_indices_map((batch,)).items()
        if device.process_index == 0
    ]
    hosts = len({device.process_index for device in experiment.mesh.devices.flat})
    return {"hosts": hosts, "host_rows": len(np.unique(np.concatenate(here)))}
