"""Published peak rates of accelerators, from which the utilisation of a run is computed.

Dense products (no structured sparsity), for one JAX device. The second column is what XLA
does with float32 operands unless a higher precision is asked for: on a TPU one pass in bfloat16,
on an NVIDIA GPU from Ampere on TensorFloat-32, on Volta float32 proper.
"""

from typing import NamedTuple


class Peak(NamedTuple):
    """Floating-point operations per second of products, by the precision of their operands."""

    bfloat16: float
    float32: float


PEAKS = {
    "TPU v4": Peak(275e12, 275e12),
    "TPU v5 lite": Peak(197e12, 197e12),  # v5e
    "TPU v5e": Peak(197e12, 197e12),
    "TPU v5": Peak(459e12, 459e12),  # v5p
    "TPU v5p": Peak(459e12, 459e12),
    "TPU v6 lite": Peak(918e12, 918e12),  # v6e, Trillium
    "TPU v6e": Peak(918e12, 918e12),
    "NVIDIA B200": Peak(2250e12, 1125e12),
    "NVIDIA H200": Peak(989e12, 494.5e12),
    "NVIDIA H200 NVL": Peak(835e12, 417.5e12),
    "NVIDIA H100 80GB HBM3": Peak(989e12, 494.5e12),  # SXM
    "NVIDIA H100 PCIe": Peak(756e12, 378e12),
    "NVIDIA A100": Peak(312e12, 156e12),  # SXM and PCIe, 40 and 80 GB
    "NVIDIA L4": Peak(121e12, 60.5e12),
    "Tesla V100": Peak(125e12, 15.7e12),  # SXM2; tensor cores take float16, not bfloat16
}
"""By the beginning of `jax.Device.device_kind`."""


def peak_flops(device_kind: str, precision: str) -> float | None:
    """Peak rate of one device, FLOP/s; None where it is not known.

    Args:
      device_kind: as JAX names it, 'NVIDIA A100-SXM4-40GB'.
      precision: of the maps, 'float32' or 'bfloat16'.
    """
    if "MIG" in device_kind.split():  # a slice of a GPU goes by the name of the whole
        return None
    for name in sorted(PEAKS, key=len, reverse=True):
        # A whole word: an L40 is no L4.
        if device_kind == name or device_kind.startswith((f"{name} ", f"{name}-")):
            return getattr(PEAKS[name], precision)
    return None
