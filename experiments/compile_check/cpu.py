"""What is measured on the CPU of this machine, where a step can also run."""

import statistics
import time
from typing import Any

import jax
import numpy as np

RUNS = 3


def measure(experiment: Any, compiled: jax.stages.Compiled, batch: Any) -> dict[str, Any]:
    """Median time of a training step, s, and on what it ran.

    Args:
      experiment: whose step it is.
      compiled: its training step.
      batch: shapes and dtypes of what it takes.
    """
    from experiments.benchmarks.steps import cores, cpu_name

    random = np.random.default_rng(0)
    batch = jax.tree.map(lambda x: random.integers(0, 10, x.shape).astype(x.dtype), batch)
    state, times = experiment.initial_state(), []
    for _ in range(1 + RUNS):
        began = time.monotonic()
        state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))
        times.append(time.monotonic() - began)
    return {
        "seconds": statistics.median(times[1:]),
        "hardware": f"{cores()} cores, {cpu_name()}",
    }
