"""Transitions and readout: the kernels of every platform. What they compute is tested in models."""

import re

import jax
import jax.numpy as jnp
import pytest

from wonn_jax.nn.transitions import FrequencyTransition, PhaseTransition, Readout
from wonn_jax.parallel.placement import Placement

THETA = jnp.zeros((4, 3, 5, 2))
MODULES = {
    "phases": (lambda placement: PhaseTransition(2, 3, placement=placement), (THETA,), {}),
    "frequencies": (
        lambda placement: FrequencyTransition(2, 3, placement=placement),
        (THETA, THETA),
        {"train": False},
    ),
    "readout": (lambda placement: Readout((3, 1), placement=placement), (THETA,), {"train": False}),
}


@pytest.mark.parametrize("name", MODULES)
def test_platform_reaches_every_kernel(name, monkeypatch):
    """Polynomials and single examples on a CPU; XLA's functions and whole batches on a TPU."""
    monkeypatch.setattr("wonn_jax.kernels.recompute.CHUNK_ELEMENTS", 1)
    make, inputs, options = MODULES[name]

    def called(platform: str) -> set[str]:
        module = make(Placement(platform=platform))
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **options))
        traced = jax.jit(lambda v, *x: module.apply(v, *x, **options)).trace(variables, *inputs)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        return set(re.findall(r"stablehlo\.(sine|cosine|atan2|while)\b", text))

    assert called("cpu") == {"while"}
    assert called("tpu") == {"sine", "cosine"} | ({"atan2"} if name == "phases" else set())
