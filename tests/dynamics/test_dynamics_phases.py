"""Phases on the circle: the range and derivative of `wrap`, the order parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import N, on_circle, system, tolerance

from wonn_jax.dynamics import evolve, kuramoto, order_parameter, wrap

pytestmark = pytest.mark.usefixtures("strict_shapes")


def test_wrap_has_half_open_range(dtype):
    pi = dtype(np.pi)
    around = np.array([pi, np.nextafter(pi, dtype(0)), np.nextafter(pi, dtype(9))], dtype)
    many = np.random.default_rng(0).uniform(-1e3, 1e3, 20000).astype(dtype)
    multiples = np.arange(-2001, 2002).astype(dtype) * pi
    far = np.array([1e4, -1e5, 1e6, -1e6], dtype)
    theta = np.concatenate([around, -around, many, multiples, far])
    reduced = np.asarray(wrap(theta))
    assert reduced.dtype == dtype
    assert (reduced > -pi).all() and (reduced <= pi).all()


def test_wrap_preserves_phases_in_range_bit_for_bit(dtype):
    pi = dtype(np.pi)
    theta = np.linspace(-pi, pi, 1001, dtype=dtype)[1:]
    theta = np.append(theta, [dtype(0), np.nextafter(-pi, dtype(0)), pi]).astype(dtype)
    np.testing.assert_array_equal(wrap(theta), theta)


def test_wrap_maps_the_lower_bound_to_the_upper(dtype):
    np.testing.assert_array_equal(wrap(dtype(-np.pi)), dtype(np.pi))
    np.testing.assert_allclose(wrap(dtype(3 * np.pi)), np.pi, rtol=4 * np.finfo(dtype).eps)


def test_wrap_preserves_the_angle(dtype):
    theta = np.random.default_rng(1).uniform(-300, 300, 5000).astype(dtype)
    # The only error is the rounding of 2π, multiplied by the number of turns.
    error = np.abs(on_circle(wrap(theta)) - on_circle(theta.astype(np.float64))).max()
    assert error < 300 * np.finfo(dtype).eps


def test_wrap_has_derivative_one_everywhere(dtype):
    theta = np.array([0, 1, -3, np.pi, -np.pi, 4, -100, 1e4, 3 * np.pi], dtype)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.grad(wrap)))(theta), np.ones_like(theta))
    _, tangent = jax.jit(lambda x: jax.jvp(wrap, (x,), (x,)))(theta)
    np.testing.assert_array_equal(tangent, theta)


def test_wrap_accepts_python_numbers_and_any_shape():
    assert wrap(0.5).shape == () and wrap(0.5) == 0.5
    assert wrap(np.zeros((2, 3, 4), np.float32)).shape == (2, 3, 4)


def test_order_parameter(dtype):
    theta, _, _ = system(2, 3, dtype=dtype)
    expected = np.exp(1j * np.asarray(theta, np.float64))
    tiny = tolerance(dtype)
    np.testing.assert_allclose(order_parameter(theta), expected.mean(-1), **tiny)
    np.testing.assert_allclose(order_parameter(theta, axis=0), expected.mean(0), **tiny)
    np.testing.assert_allclose(order_parameter(theta, axis=(1, 2)), expected.mean((1, 2)), **tiny)
    assert order_parameter(theta).dtype == (np.complex64 if dtype == np.float32 else np.complex128)
    np.testing.assert_allclose(order_parameter(jnp.full(4, 0.3, dtype)), np.exp(0.3j), **tiny)
    even = jnp.asarray(np.linspace(0, 2 * np.pi, 7)[:-1].astype(dtype))
    np.testing.assert_allclose(order_parameter(even), 0, atol=tiny["atol"])


def test_strong_coupling_synchronises():
    """The physics: attraction brings r to 1, repulsion away from it."""
    theta, _, _ = system(4)

    @jax.jit
    def order(strength):
        model = kuramoto(jnp.full((N, N), strength / N))
        final = evolve(theta, 0.0, **model._asdict(), step_size=0.1, steps=400).theta
        return jnp.abs(order_parameter(final))

    for sign, low, high in ((1.0, 0.99, 1.01), (-1.0, 0.0, 0.5)):
        r = order(sign)
        assert (low <= r).all() and (r <= high).all()
