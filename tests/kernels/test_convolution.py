"""The convolution for CPUs against the library's: values, gradients, what is left to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from wonn_jax.kernels.cpu import convolution
from wonn_jax.kernels.cpu.convolution import convolve
from wonn_jax.nn.layers import conv
from wonn_jax.parallel.placement import Placement

LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def value_and_gradients(convolution, x, kernel, padding="SAME"):
    """y and the gradients of Σ w ⊙ y for random w."""
    y, pull = jax.vjp(
        lambda x, kernel: convolution(x, kernel, (1, 1), padding, **LAYOUT), x, kernel
    )
    return y, *pull(normal(*y.shape, seed=1).astype(y.dtype))


def compare(x, kernel, padding="SAME", **tolerance):
    ours = jax.jit(functools.partial(value_and_gradients, convolve, padding=padding))(x, kernel)
    plain = functools.partial(value_and_gradients, lax.conv_general_dilated, padding=padding)
    for result, expected in zip(ours, jax.jit(plain)(x, kernel), strict=True):
        assert result.dtype == expected.dtype and result.shape == expected.shape
        np.testing.assert_allclose(
            result.astype(np.float32), expected.astype(np.float32), **tolerance
        )


@pytest.mark.parametrize(
    ("sides", "shape"),
    [
        ((3, 3), (1, 4, 6)),
        ((3, 3), (3, 5, 3)),
        ((3, 3), (2, 1, 2)),
        ((5, 5), (2, 5, 6)),
        ((7, 7), (2, 4, 5)),
        ((3, 5), (2, 5, 4)),
        ((1, 3), (1, 3, 4)),
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_the_library(sides, shape):
    compare(normal(*shape, 2), normal(*sides, 2, 3), rtol=1e-4, atol=1e-4)


def test_gradients_in_float64(x64):
    x, kernel = normal(3, 4, 5, 2).astype(float), normal(3, 3, 2, 3).astype(float)
    assert x.dtype == jnp.float64
    compare(x, kernel, rtol=1e-12, atol=1e-12)


def test_gradients_in_bfloat16():
    x, kernel = normal(3, 4, 5, 2), normal(3, 3, 2, 3)
    compare(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), rtol=0.03, atol=0.1)


def test_kernel_gradient_of_bfloat16_adds_up_in_float32():
    """Of 300 equal examples; in bfloat16 a sum of ones stops at 256."""
    x, kernel = jnp.ones((300, 1, 1, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    grad = jax.grad(lambda k: convolve(x, k, (1, 1), "SAME").astype(jnp.float32).sum())(kernel)
    assert float(grad[1, 1, 0, 0]) == 300


@pytest.fixture
def taken(monkeypatch):
    """Counts the calls of the CPU's own convolution."""
    calls = []
    own = convolution._convolve_same
    monkeypatch.setattr(
        convolution, "_convolve_same", lambda *args: calls.append(args) or own(*args)
    )
    return calls


ORDINARY = {"strides": (1, 1), "padding": "SAME", "side": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"padding": [(1, 1), (1, 1)]},
        {"padding": ((2, 2), (2, 2)), "side": 5},
        {"feature_group_count": 1, "lhs_dilation": (1, 1), "rhs_dilation": [1, 1]},
    ],
)
def test_own_convolution_is_taken(taken, changes):
    settings = ORDINARY | changes
    x, kernel = normal(2, 5, 4, 2), normal(settings.pop("side"), changes.get("side", 3), 2, 2)
    result = convolve(x, kernel, **settings, **LAYOUT)
    expected = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **LAYOUT)
    assert len(taken) == 1
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"strides": (2, 2)},
        {"strides": (1, 2)},
        {"padding": "VALID"},
        {"padding": [(1, 1), (0, 0)]},
        {"padding": [(0, 2), (1, 1)]},
        {"padding": [(2, 2), (2, 2)]},
        {"side": 1},
        {"side": 2},
        {"side": 4},
        {"rhs_dilation": (2, 2)},
        {"lhs_dilation": (1, 2), "padding": [(1, 1), (1, 1)]},
        {"feature_group_count": 2},
    ],
    ids=str,
)
def test_everything_else_is_left_to_the_library(taken, changes):
    settings = ORDINARY | changes
    side = settings.pop("side")
    kernel = normal(side, side, 2 // settings.get("feature_group_count", 1), 2)
    x = normal(2, 5, 4, 2)
    result = convolve(x, kernel, **settings, **LAYOUT)
    options = {"window_strides": settings.pop("strides")} | settings | LAYOUT
    np.testing.assert_array_equal(result, lax.conv_general_dilated(x, kernel, **options))
    assert not taken


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_other_platforms_are_left_to_the_library(taken, platform, side):
    def call(x, kernel):
        return convolve(x, kernel, (1, 1), "SAME", platform=platform, **LAYOUT)

    jaxpr = jax.make_jaxpr(call)(normal(1, 4, 4, 2), normal(side, side, 2, 2))
    assert "conv_general_dilated" in str(jaxpr) and not taken


def test_maps_of_the_models_choose_by_their_placement(taken):
    module = functools.partial(conv, 2, 3, 3, bias=True, dtype=jnp.float32, name="conv")
    x = normal(1, 6, 6, 2)
    module(placement=Placement(platform="gpu")).init(jax.random.key(0), x)
    assert not taken
    module(placement=Placement(platform="cpu")).init(jax.random.key(0), x)
    assert taken


@pytest.mark.parametrize(
    ("side", "stride", "own"), [(3, 1, True), (5, 1, True), (1, 1, False), (3, 3, False)]
)
def test_maps_of_the_models_use_it(taken, side, stride, own):
    module = conv(2, 3, side, bias=True, dtype=jnp.float32, name="conv", stride=stride)
    module.init(jax.random.key(0), normal(1, 6, 6, 2))
    assert bool(taken) == own


def test_padding_given_in_cells():
    cells = [(1, 1), (1, 1)]
    compare(normal(2, 4, 5, 2), normal(3, 3, 2, 3), padding=cells, rtol=1e-4, atol=1e-4)


def square_sum(convolution, kernel, x):
    return jnp.square(convolution(x, kernel, (1, 1), "SAME", **LAYOUT)).sum()


@pytest.mark.parametrize("per_device", [1, 3])  # with one example the loop over examples is empty
def test_gradients_over_devices_are_those_of_one(mesh, per_device):
    """As the training step has it: the kernel cast to varying, gradients added up at the end."""

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P("data"))
    )
    def sharded(kernel, x):
        kernel = lax.pcast(kernel, "data", to="varying")
        of_kernel, of_x = jax.grad(functools.partial(square_sum, convolve), (0, 1))(kernel, x)
        return lax.psum(of_kernel, "data"), of_x

    x, kernel = normal(4 * per_device, 4, 5, 2), normal(3, 3, 2, 3)
    single = jax.grad(functools.partial(square_sum, lax.conv_general_dilated), (0, 1))(kernel, x)
    for result, expected in zip(sharded(kernel, x), single, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


def test_under_vmap_and_checkpoint():
    x, kernel = normal(3, 2, 4, 5, 2), normal(3, 3, 2, 3)

    def gradient(convolution):
        loss = jax.checkpoint(functools.partial(square_sum, convolution))
        return jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(kernel, x)

    np.testing.assert_allclose(
        gradient(convolve), gradient(lax.conv_general_dilated), rtol=1e-4, atol=1e-3
    )


def test_second_derivatives(x64):
    x, kernel = normal(2, 3, 4, 2).astype(float), normal(3, 3, 2, 2).astype(float)

    def curvature(convolution):
        def norm(kernel, x):
            return jnp.square(jax.grad(square_sum, 1)(convolution, kernel, x)).sum()

        return jax.jit(jax.grad(norm, (0, 1)))(kernel, x)

    for result, expected in zip(
        curvature(convolve), curvature(lax.conv_general_dilated), strict=True
    ):
        np.testing.assert_allclose(result, expected, rtol=1e-10)
