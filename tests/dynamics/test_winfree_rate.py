"""dθ/dt: the equation, as the increment of a step and as a vector field for other solvers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import CORE, N, normal, on_circle, system, tolerance

import wonn_jax
from wonn_jax.dynamics import evolve, kuramoto, winfree_rate, winfree_step, wrap

pytestmark = pytest.mark.usefixtures("strict_shapes")


def test_rate_is_public():
    assert wonn_jax.winfree_rate is winfree_rate


def test_rate_is_the_equation_written_out(dtype):
    theta, omega, matrix = system(dtype=dtype)
    phases, weights = np.asarray(theta, np.float64), np.asarray(matrix, np.float64)
    expected = np.asarray(omega, np.float64) + np.cos(phases) * (weights @ np.sin(phases))
    rate = winfree_rate(theta, omega, **CORE, coupling=matrix)
    assert rate.dtype == dtype
    np.testing.assert_allclose(rate, expected, **tolerance(dtype))


def test_rate_has_the_shape_and_dtype_of_the_phases(dtype):
    theta, _, matrix = system(2, 3, dtype=dtype)
    for omega in (0, 1.5, np.ones(N, np.float64)):
        for model in ({**CORE, "coupling": matrix}, kuramoto(matrix)._asdict()):
            rate = winfree_rate(theta, omega, **model)
            assert rate.shape == theta.shape and rate.dtype == theta.dtype


def halves(field):
    """Every group of two oscillators receives its field twice."""
    return jnp.repeat(field, 2, axis=-1)


def test_a_step_adds_step_size_times_the_rate(dtype):
    """Bit for bit: there is one implementation."""
    theta, omega, matrix = system(3, dtype=dtype)
    grouped = {
        "sensitivity": jnp.cos,
        "influence": lambda theta: jnp.sin(theta).reshape(*theta.shape[:-1], N // 2, 2).mean(-1),
        "coupling": matrix[: N // 2, : N // 2],
        "expand": halves,
    }
    for model in ({**CORE, "coupling": matrix}, kuramoto(matrix)._asdict(), grouped):
        rate = winfree_rate(theta, omega, **model)
        new, _ = winfree_step(theta, omega, **model, step_size=0.3)
        np.testing.assert_array_equal(new, wrap(theta + jnp.asarray(0.3, dtype) * rate))


def runge_kutta(rate, theta, steps: int):
    """Unit time with the classical fourth-order method; the phases are never wrapped."""
    h = 1 / steps

    def step(theta, _):
        k1 = rate(theta)
        k2 = rate(theta + h / 2 * k1)
        k3 = rate(theta + h / 2 * k2)
        k4 = rate(theta + h * k3)
        return theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    return jax.lax.scan(step, theta, None, length=steps)[0]


def test_the_rate_serves_another_solver_and_the_step_is_of_first_order(x64):
    theta, omega, matrix = system(dtype=np.float64)
    model = {**CORE, "coupling": matrix}
    rate = functools.partial(winfree_rate, omega=omega, **model)
    exact = on_circle(jax.jit(functools.partial(runge_kutta, rate, steps=400))(theta))
    coarse = on_circle(jax.jit(functools.partial(runge_kutta, rate, steps=100))(theta))
    assert np.abs(exact - coarse).max() < 1e-8

    counts = 2 ** np.arange(5, 11)
    euler = [
        on_circle(evolve(theta, omega, **model, step_size=1 / n, steps=n).theta)
        for n in counts.tolist()
    ]
    errors = [np.abs(phases - exact).max() for phases in euler]
    slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
    assert 0.95 < slope < 1.1


def test_rate_under_jit_grad_and_vmap(x64):
    theta, omega, matrix = system(4, dtype=np.float64)

    def total(matrix, theta, omega):
        return jnp.sin(winfree_rate(theta, omega, **CORE, coupling=matrix)).sum()

    gradient = jax.jit(jax.vmap(jax.grad(total), (None, 0, 0)))(matrix, theta, omega)
    direction, h = normal(N, N, seed=5, dtype=np.float64), 1e-6
    ends = [total(matrix + sign * h * direction, theta, omega) for sign in (1, -1)]
    np.testing.assert_allclose(
        (gradient.sum(0) * direction).sum(), (ends[0] - ends[1]) / (2 * h), rtol=1e-7
    )


RATE = functools.partial(winfree_rate, jnp.zeros(N), 0.0)


def test_matrix_of_the_wrong_size():
    message = r"matrix has shape \(5, 5\), but the influences have 6 .* it must be \(6, 6\)"
    with pytest.raises(ValueError, match=message):
        RATE(**CORE, coupling=jnp.ones((5, 5)))
    with pytest.raises(ValueError, match=message):
        RATE(**kuramoto(np.ones((5, 5)))._asdict())


def test_field_of_another_shape():
    with pytest.raises(ValueError, match=r"influences of shape \(6,\) into a field of shape \(\)"):
        RATE(**CORE, coupling=jnp.sum)


def test_response_of_another_shape():
    with pytest.raises(ValueError, match=r"has shape \(2, 3, 6\), but the phases have \(6,\)"):
        RATE(
            sensitivity=lambda theta: jnp.ones((2, 3, N)),
            influence=lambda theta: jnp.ones((2, 3, N)),
            coupling=lambda emitted: emitted,
        )
