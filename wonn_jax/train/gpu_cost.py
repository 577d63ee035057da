"""What a step costs GPUs that this machine does not have, read from the program for them."""

import re
from typing import Any, NamedTuple

import jax

from wonn_jax.train import workload
from wonn_jax.train.experiment import CompiledStep
from wonn_jax.train.gpus import GPUS
from wonn_jax.train.hlo import parse

NO_TILES = "Couldn't find output tile sizes"
"""Without a card XLA takes tiles by rule, and may find none for a product of odd sizes."""

CUBLAS: dict[str, bool | str] = {"xla_gpu_enable_triton_gemm": False}
"""Products by cuBLAS, which then go through; on a card the autotuner chooses between both."""


class GpuCost(NamedTuple):
    """Of one call of a step, for each device.

    memory: bytes that it needs.
    temporaries: those of them that are free again afterwards.
    work: what its kernels do.
    attention: implementations of attention in it.
    seconds: an estimate, see `workload.roofline`.
    """

    memory: int
    temporaries: int
    work: workload.Work
    attention: list[str]
    seconds: float


def compile_untuned(step: CompiledStep, *args: Any) -> jax.stages.Compiled:
    """Compiles a step for GPUs that are only described; `args` are shapes and dtypes."""
    try:
        return step.compile(*args)
    except jax.errors.JaxRuntimeError as error:
        if NO_TILES not in str(error):
            raise
    return step.compile(*args, options=CUBLAS)


def gpu_cost(compiled: jax.stages.Compiled, name: str, count: int) -> GpuCost:
    """The cost of a compiled step.

    Args:
      compiled: the step.
      name: of the GPU, see `gpus.GPUS`.
      count: of GPUs.
    """
    memory: Any = compiled.memory_analysis()
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    temporaries = memory.temp_size_in_bytes
    text, gpu = compiled.as_text() or "", GPUS[name]
    kernels = list(workload.kernels(parse(text)))
    return GpuCost(
        memory.argument_size_in_bytes + temporaries + output,
        temporaries,
        workload.work(kernels),
        attention_kernels(text),
        workload.roofline(kernels, gpu.peak, gpu.bandwidth, gpu.reach(count)),
    )


def attention_kernels(text: str) -> list[str]:
    """Implementations of attention in a program, see `wonn_jax.kernels.attention`."""
    return sorted(set(re.findall(r"[/(]attention-([a-z-]+)[/)]", text)))
