"""The TPU kernel, simulated, against attention as it is written down.

The simulation is that of Pallas on a CPU, of the forward kernel and of those of the derivative.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from experiments.benchmarks.tpu_program import cycles
from wonn_jax.kernels import pallas as tpu_attention
from wonn_jax.kernels.attention import attention
from wonn_jax.kernels.blockwise import RESIDUALS
from wonn_jax.kernels.pallas import block_size, pallas_attention, refusal
from wonn_jax.train.hlo import collectives, parse

simulated = functools.partial(pallas_attention, interpret=True)
plain = functools.partial(attention, implementation="plain")


def operands(tokens: int, width: int, dtype=jnp.float32, batch: int = 1, heads: int = 2):
    """Query, key, value and a cotangent of the output."""
    rng = np.random.default_rng([tokens, width])
    shape = (batch, tokens, heads, width)
    return [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(4)]


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(function, query, key, value, cotangent):
    out, pull = jax.vjp(function, query, key, value)
    return out, *pull(cotangent)


def assert_same(arrays, references, tolerance: float):
    for array, reference in zip(arrays, references, strict=True):
        assert array.dtype == reference.dtype and array.shape == reference.shape
        reference = np.asarray(reference, np.float64)
        np.testing.assert_allclose(
            np.asarray(array, np.float64),
            reference,
            rtol=0,
            atol=tolerance * max(1.0, np.abs(reference).max()),
        )


def check(arrays, tolerance: float = 2e-6):
    assert_same(
        value_and_gradients(simulated, *arrays), value_and_gradients(plain, *arrays), tolerance
    )


@pytest.mark.parametrize("width", [2, 4, 16, 32])
def test_value_and_gradients(width):
    check(operands(81, width))


def test_bfloat16():
    check(operands(81, 16, jnp.bfloat16), 2e-2)


@pytest.mark.parametrize(("fused", "tokens"), [(8, 256), (1, 259)], ids=["one", "two kernels"])
def test_several_blocks(fused, tokens, monkeypatch):
    monkeypatch.setattr(tpu_attention, "LARGEST_BLOCK", 128)
    monkeypatch.setattr(tpu_attention, "FUSED_BLOCKS", fused)
    check(operands(tokens, 16))


def test_large_logits():
    query, *rest = operands(81, 16)
    # Beside logits of some hundreds the log-sum-exp has no more digits.
    check([100.0 * query, *rest], 1e-4)


def test_blocks_leave_little_padding():
    sizes = {tokens: block_size(tokens) for tokens in (1, 81, 256, 784, 900, 3136, 3600, 14400)}
    assert sizes == {
        1: 128,
        81: 128,
        256: 256,
        784: 896,
        900: 1024,
        3136: 640,
        3600: 768,
        14400: 768,
    }


def test_kept_by_name(capsys):
    """A policy that saves `RESIDUALS` keeps the output and the log-sum-exp."""
    arrays = operands(16, 4)[:3]

    def kept(*names: str) -> str:
        policy = jax.checkpoint_policies.save_only_these_names(*names)
        loss = jax.checkpoint(lambda *x: simulated(*x).sum(), policy=policy)
        jax.ad_checkpoint.print_saved_residuals(loss, *arrays)
        return capsys.readouterr().out

    output, logsumexp = "f32[2,128,4]", "f32[2,128]"
    assert output in kept(*RESIDUALS) and logsumexp in kept(*RESIDUALS)
    assert output not in kept() and logsumexp not in kept()


def test_over_devices(mesh):
    arrays = operands(16, 4, batch=4)
    rows = P("data")

    def spread(check_vma):
        return jax.shard_map(
            simulated, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=check_vma
        )

    reference = value_and_gradients(plain, *arrays)
    assert_same(value_and_gradients(spread(False), *arrays), reference, 2e-6)
    with pytest.raises(ValueError, match="check_vma=False"):
        spread(True)(*arrays[:3])


@pytest.mark.parametrize(
    ("width", "dtype", "options", "reason"),
    [
        (16, jnp.bfloat16, {}, None),
        (2, jnp.float32, {}, None),
        (16, jnp.bfloat16, {"platform": "gpu"}, "needs a TPU, not a GPU"),
        (16, jnp.float16, {}, "takes bfloat16 or float32, not float16"),
        (256, jnp.bfloat16, {}, "takes heads up to 128 wide, not 256"),
        (16, jnp.bfloat16, {"masked": True}, "takes no mask"),
    ],
)
def test_refusal(width, dtype, options, reason):
    assert refusal(width, dtype, **options) == reason


def test_refused():
    arrays = operands(8, 4)[:3]
    with pytest.raises(ValueError, match="'pallas' takes no mask; use 'blockwise'"):
        simulated(*arrays, mask=jnp.ones((1, 1, 8, 8), bool))
    with pytest.raises(ValueError, match="interpret mode"):  # from JAX: this is no TPU
        pallas_attention(*arrays)


MODULE = """
%fused (p: f32[8]) -> f32[8] {
  %a = f32[8] add(%p, %p), backend_config={"estimated_cycles":"1000"}
}
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %b = f32[8]{0:T(256)} fusion(%p), calls=%fused, backend_config={"estimated_cycles":"7"}
  %d = f32[8]{0:T(256)} all-reduce(%b), to_apply=%fused
  %g = (bf16[4]{0}, bf16[8]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%b), c=1
  %h = bf16[8]{0} collective-permute-done(%g)
}
%condition (p: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
}
ENTRY %main (p: f32[8]) -> f32[8] {
  %c = f32[8] fusion(%p), calls=%fused, backend_config={"estimated_cycles":"100"}
  %while.3 = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %kernel.1 = (f32[8]{0}, f32[8]{0}) custom-call(%c), custom_call_target="tpu_custom_call"
}
"""


def test_estimated_cycles():
    """Of the benchmark: a fusion once, a loop by its trips, a kernel by its schedule."""
    assert cycles(parse(MODULE), {"kernel": 3000}.__getitem__) == 100 + 5 * 7 + 3000


def test_collectives():
    """Of the pod check: bytes of the results, those in a loop by its trips."""
    found = {"all-reduce": (5, 5 * 32), "collective-permute": (5, 5 * 16)}
    assert collectives(parse(MODULE)) == found
