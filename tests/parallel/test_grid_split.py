"""A grid split over devices: neighbours' rows, and attention that goes round the ring."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from wonn_jax.kernels.attention import attention
from wonn_jax.kernels.cpu.convolution import convolve
from wonn_jax.nn.coupling import AttentionCoupling
from wonn_jax.parallel.grid import all_rows, own_rows, with_neighbours
from wonn_jax.parallel.placement import Placement


def normal(*shape, dtype=jnp.float64):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), dtype)


ROWS = P(None, "data")


def split(mesh, function, specs=ROWS, out=ROWS):
    """`function` on the rows that each of four devices has."""
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out))


@pytest.mark.parametrize("rows", [1, 2, 3, 5])  # of the neighbours, who have 2 each
def test_neighbours_rows_are_those_of_a_padded_grid(rows, mesh):
    x = normal(2, 8, 3, 4, dtype=jnp.float32)
    found = split(mesh, lambda x: with_neighbours(x, rows, "data"))(x)
    padded = np.pad(x, ((0, 0), (rows, rows), (0, 0), (0, 0)))
    wanted = [padded[:, 2 * i : 2 * i + 2 + 2 * rows] for i in range(4)]
    np.testing.assert_array_equal(found, np.concatenate(wanted, axis=1))


def test_own_rows_and_the_whole_again(mesh):
    x = normal(2, 8, 3, dtype=jnp.float32)

    def there_and_back(x):
        mine = own_rows(x, "data")
        return mine, all_rows(mine, "data")

    mine, whole = split(mesh, there_and_back, P(), (ROWS, P()))(x)
    np.testing.assert_array_equal(mine, x)
    np.testing.assert_array_equal(whole, x)
    assert own_rows(x, None) is x and all_rows(x, None) is x


@pytest.mark.parametrize("side", [1, 3, 7])  # 7: three rows, from devices that have two
def test_convolution_is_right_at_the_seams(side, mesh, x64):
    x, kernel, cotangent = normal(2, 8, 5, 3), normal(side, side, 3, 4), normal(2, 8, 5, 4)

    def outcome(x, kernel, cotangent, axis_name=None):
        call = functools.partial(
            convolve,
            strides=(1, 1),
            padding="SAME",
            axis_name=axis_name,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        out, pull = jax.vjp(call, x, kernel)
        return out, *pull(cotangent)

    def on_each(x, kernel, cotangent):
        kernel = jax.lax.pcast(kernel, "data", to="varying")
        out, grad_x, grad_kernel = outcome(x, kernel, cotangent, "data")
        return out, grad_x, jax.lax.psum(grad_kernel, "data")

    found = split(mesh, on_each, (ROWS, P(), ROWS), (ROWS, ROWS, P()))(x, kernel, cotangent)
    for ours, theirs in zip(found, outcome(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("implementation", ["plain", "blockwise"])
@pytest.mark.parametrize(
    "dtype, width, tolerance",
    [
        (jnp.float64, 2, 1e-12),
        (jnp.float64, 16, 1e-12),
        (jnp.float32, 4, 1e-4),
        (jnp.bfloat16, 32, 0.04),
    ],
)
def test_ring_attention_is_attention(implementation, dtype, width, tolerance, mesh, x64):
    """Values and gradients, with an odd number of tokens on each device."""
    query, key, value, cotangent = (
        normal(2, 28, 3, width, dtype=dtype) * scale for scale in (1, 2, -1, 0.5)
    )

    def outcome(query, key, value, cotangent, **options):
        out, pull = jax.vjp(functools.partial(attention, **options), query, key, value)
        return out, *pull(cotangent)

    on_ring = functools.partial(outcome, implementation=implementation, ring_axis="data")
    found = split(mesh, on_ring)(query, key, value, cotangent)
    wanted = outcome(query, key, value, cotangent, implementation="plain")
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == dtype
        ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_no_device_has_all_tokens(mesh):
    """Memory of the ring, forward and backward, is that of its share of the tokens."""

    def temporaries(tokens, devices):
        x = jax.ShapeDtypeStruct((1, tokens, 1, 16), jnp.float32)
        few = jax.make_mesh(
            (devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
        )

        def gradient(q, k, v):
            ring = functools.partial(attention, implementation="plain", ring_axis="data")
            out, pull = jax.vjp(ring, q, k, v)
            return pull(out)

        compiled = split(few, gradient).lower(x, x, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Parts of a sixteenth, of which the compiler may hold several at a time.
    assert temporaries(1024, 4) < temporaries(1024, 1) / 4


def test_a_ring_takes_no_mask_and_no_fused_kernel(mesh):
    x = normal(1, 8, 1, 4, dtype=jnp.float32)

    def call(x, **options):
        return attention(x, x, x, ring_axis="data", **options)

    with pytest.raises(ValueError, match="takes no mask"):
        split(mesh, lambda x: call(x, mask=jnp.ones((1, 1, 2, 2), bool)))(x)
    with pytest.raises(ValueError, match="'pallas' cannot go round a ring of devices; use"):
        split(mesh, lambda x: call(x, implementation="pallas"))(x)
    coupling = AttentionCoupling(4, 2, placement=Placement(("data",), "data"))
    with pytest.raises(ValueError, match="takes no mask"):
        split(
            mesh,
            lambda x: coupling.init_with_output(
                jax.random.key(0), x[:, :, 0], valid=jnp.ones((1, 2), bool)
            )[0],
        )(x)
