"""Peak rates by the names that JAX gives devices."""

import jax
import pytest
from miniatures import miniature

from wonn_jax.train.experiment import Experiment
from wonn_jax.train.hardware import peak_flops


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32"),
    [
        ("TPU v4", 275e12, 275e12),
        ("TPU v5 lite", 197e12, 197e12),
        ("TPU v5", 459e12, 459e12),
        ("TPU v6 lite", 918e12, 918e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 156e12),
        ("NVIDIA A100 80GB PCIe", 312e12, 156e12),
        ("NVIDIA H100 80GB HBM3", 989e12, 494.5e12),
        ("NVIDIA H100 PCIe", 756e12, 378e12),
        ("NVIDIA H200", 989e12, 494.5e12),
        ("Tesla V100-SXM2-16GB", 125e12, 15.7e12),
        # Neither half of a name nor a part of a device.
        ("NVIDIA L4", 121e12, 60.5e12),
        ("NVIDIA L40S", None, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None),
        ("cpu", None, None),
    ],
)
def test_peaks(kind, bfloat16, float32):
    assert peak_flops(kind, "bfloat16") == bfloat16
    assert peak_flops(kind, "float32") == float32


def test_a_given_peak_is_that_of_one_device():
    assert Experiment(miniature("maze")).peak_flops is None  # a CPU
    found = Experiment(miniature("maze", log__peak_flops=2e10)).peak_flops
    assert found == len(jax.devices()) * 2e10
