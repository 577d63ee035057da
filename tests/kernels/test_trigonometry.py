"""Sine, cosine and arc tangent for CPUs against NumPy in float64, and their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.kernels.cpu.trigonometry import arctan2, cos, sin

PAIRS = [(sin, jnp.sin, np.sin), (cos, jnp.cos, np.cos)]
NAMES = ["sin", "cos"]


def points(count: int = 2000, scale: float = 1.0) -> np.ndarray:
    """`[2, count]`: y and x of all quadrants, none near the origin."""
    x = np.random.default_rng(0).normal(size=(2, count))
    return (scale * x * (0.5 + 1 / np.hypot(*x))).astype(np.float32)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("ours", "_", "exact"), PAIRS, ids=NAMES)
def test_sine_and_cosine_are_within_their_bound(ours, _, exact, transform):
    even = np.linspace(-4 * np.pi, 4 * np.pi, 200_001)
    quarters = np.arange(-8, 9)[:, None] * np.pi / 2 + np.linspace(-1e-3, 1e-3, 401)
    theta = np.append(even, quarters).astype(np.float32)
    result = np.asarray(transform(ours)(jnp.asarray(theta)), np.float64)
    assert np.abs(result - exact(theta.astype(np.float64))).max() <= 1.7e-7


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_arctan2_is_within_its_bound(transform):
    angle = np.linspace(-np.pi, np.pi, 100_001)
    for radius in (1e-30, 1e-3, 1.0, 1e30):
        y, x = (radius * np.stack([np.sin(angle), np.cos(angle)])).astype(np.float32)
        result = np.asarray(transform(arctan2)(jnp.asarray(y), jnp.asarray(x)), np.float64)
        exact = np.arctan2(y.astype(np.float64), x.astype(np.float64))
        assert np.abs(result - exact).max() <= 3.2e-7


def test_arctan2_on_axes_diagonals_and_at_the_origin_has_the_signs_of_numpy():
    values = np.array([0.0, -0.0, 1.0, -1.0, 1e-30, -1e30, 7.5], np.float32)
    y, x = (grid.ravel() for grid in np.meshgrid(values, values))
    result, expected = np.asarray(arctan2(jnp.asarray(y), jnp.asarray(x))), np.arctan2(y, x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=3.2e-7)
    np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))
    axes = (y == 0) | (x == 0)
    np.testing.assert_array_equal(result[axes], expected[axes])


@pytest.mark.parametrize("far", [(np.inf, 1.0), (-1.0, np.inf), (1.0, -np.inf), (-np.inf, -0.0)])
def test_arctan2_of_one_infinity_is_an_axis(far):
    y, x = map(np.float32, far)
    np.testing.assert_allclose(arctan2(jnp.asarray(y), jnp.asarray(x)), np.arctan2(y, x), rtol=1e-7)


def test_nan_stays_nan():
    nan, one = jnp.float32(jnp.nan), jnp.float32(1)
    assert all(map(jnp.isnan, (sin(nan), cos(nan), arctan2(nan, one), arctan2(one, nan))))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 4, 3)])
def test_shapes_and_precision_stay(shape, dtype):
    theta = jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    for result in (sin(theta), cos(theta), arctan2(theta, 1 - theta)):
        assert result.shape == shape and result.dtype == dtype
    for f in (sin, cos, lambda x: arctan2(x, 1 - x)):
        value, tangent = jax.jvp(f, (theta,), (theta,))
        assert value.shape == tangent.shape == shape and value.dtype == tangent.dtype == dtype


@pytest.mark.parametrize(("ours", "library", "_"), PAIRS, ids=NAMES)
def test_other_precisions_and_platforms_are_the_library(ours, library, _, x64):
    theta = jnp.linspace(-40, 40, 999)
    for other in (theta, theta.astype(jnp.bfloat16), theta.astype(jnp.float16)):
        np.testing.assert_array_equal(jax.jit(ours)(other), jax.jit(library)(other))
    single = theta.astype(jnp.float32)
    assert (ours(single) != library(single)).any()
    np.testing.assert_array_equal(ours(single, "cpu"), ours(single))
    np.testing.assert_array_equal(ours(single, "gpu"), library(single))
    # The derivative keeps to the platform, too.
    slope = jax.jit(jax.vmap(jax.grad(functools.partial(ours, platform="gpu"))))
    np.testing.assert_array_equal(slope(single), jax.jit(jax.vmap(jax.grad(library)))(single))


def test_other_precisions_and_platforms_of_arctan2_are_the_library(x64):
    y, x = jnp.asarray(points().astype(np.float64))
    np.testing.assert_array_equal(arctan2(y, x), jnp.arctan2(y, x))
    y, x = y.astype(jnp.float32), x.astype(jnp.float32)
    assert (arctan2(y, x) != jnp.arctan2(y, x)).any()
    np.testing.assert_array_equal(arctan2(y, x, platform="gpu"), jnp.arctan2(y, x))


def test_no_library_call_is_left_on_cpus():
    x = jnp.ones(8)

    def angle(x):
        return arctan2(sin(x), cos(x))

    text = jax.jit(lambda x: jax.vjp(angle, x)[1](x)).lower(x).as_text()
    assert not any(name in text for name in ("sine", "atan2"))
    plain = jax.jit(lambda x: jnp.arctan2(jnp.sin(x), jnp.cos(x))).lower(x).as_text()
    assert all(name in plain for name in ("sine", "cosine", "atan2"))  # so they are called there


@pytest.mark.parametrize(
    ("ours", "derivatives"),
    [(sin, (np.cos, lambda x: -np.sin(x))), (cos, (lambda x: -np.sin(x), lambda x: -np.cos(x)))],
    ids=NAMES,
)
def test_derivatives_of_sine_and_cosine(ours, derivatives):
    theta = np.linspace(-10, 10, 2001, dtype=np.float32)
    first = jax.jit(jax.vmap(jax.grad(ours)))(theta)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(ours))))(theta)
    forward = jax.jvp(ours, (jnp.asarray(theta),), (jnp.full_like(theta, 2),))[1]
    for result, exact in zip((first, second), derivatives, strict=True):
        np.testing.assert_allclose(result, exact(theta.astype(np.float64)), atol=2e-7)
    np.testing.assert_allclose(forward, 2 * first, atol=1e-6)


def test_derivatives_of_arctan2():
    y, x = points()
    wide_y, wide_x = y.astype(np.float64), x.astype(np.float64)
    square = wide_x**2 + wide_y**2
    grads = jax.jit(jax.vmap(jax.grad(arctan2, argnums=(0, 1))))(y, x)
    for result, exact in zip(grads, (wide_x / square, -wide_y / square), strict=True):
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-7)
    (yy, yx), (xy, xx) = jax.jit(jax.vmap(jax.hessian(arctan2, argnums=(0, 1))))(y, x)
    cross = (wide_y**2 - wide_x**2) / square**2
    straight = -2 * wide_x * wide_y / square**2
    for result, exact in ((yy, straight), (yx, cross), (xy, cross), (xx, -straight)):
        np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-5)


def test_derivative_of_arctan2_at_the_origin_is_zero(dtype):
    for y, x in [(0.0, 0.0), (-0.0, 0.0), (0.0, -0.0), (1e-200, 1e-200)]:
        y, x = jnp.asarray(y, dtype), jnp.asarray(x, dtype)
        np.testing.assert_array_equal(jax.grad(arctan2, (0, 1))(y, x), (0, 0))
        assert np.isfinite(jax.hessian(arctan2, (0, 1))(y, x)).all()


@pytest.mark.parametrize("radius", [1e-15, 1e15])
def test_derivative_of_arctan2_scales_with_the_radius(radius):
    gradient = jax.jit(jax.vmap(jax.grad(arctan2, (0, 1))))
    y, x = points(50)
    scale = np.float32(radius)
    for near, result in zip(gradient(y, x), gradient(scale * y, scale * x), strict=True):
        np.testing.assert_allclose(scale * result, near, rtol=1e-5, atol=1e-6)


def test_angle_of_a_turning_phase_has_derivative_one():
    theta = jnp.linspace(-3.1, 3.1, 501)

    def angle(theta):
        return arctan2(sin(theta), cos(theta))

    value, slope = jax.jvp(angle, (theta,), (jnp.ones_like(theta),))
    np.testing.assert_allclose(value, theta, atol=6e-7)
    np.testing.assert_allclose(slope, 1, atol=1e-6)
