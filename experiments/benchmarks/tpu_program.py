"""Cycles of a program compiled for TPUs, read from its HLO."""

import re
from collections.abc import Callable

from wonn_jax.train.hlo import Module, executed


def cycles(module: Module, kernel: Callable[[str], float]) -> float:
    """Estimated cycles of a program: the compiler's estimates, except for Pallas kernels.

    Args:
      module: see `wonn_jax.train.hlo.parse`.
      kernel: cycles of a Pallas kernel by its name.
    """
    total = 0.0
    for instruction, _, times in executed(module):
        if estimate := re.search(r'"estimated_cycles":"(\d+)"', instruction.attributes):
            total += times * int(estimate[1])
        elif '"tpu_custom_call"' in instruction.attributes:
            total += times * kernel(re.sub(r"[.\d]+$", "", instruction.name))
    return total
