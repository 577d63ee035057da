"""The classical models, against their double sums, and the symmetries they have."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from systems import CORE, N, on_circle, system, tolerance

from wonn_jax.dynamics import (
    evolve,
    interaction_energy,
    kuramoto,
    symmetry_broken_kuramoto,
    winfree_mean_field,
    winfree_rate,
)

pytestmark = pytest.mark.usefixtures("strict_shapes")


def rate_of(model, theta, omega):
    return winfree_rate(theta, omega, **model._asdict())


def test_kuramoto_family_is_the_double_sum(dtype):
    theta, omega, matrix = system(dtype=dtype)
    for q in (0.0, 0.3, -1.0, 1.0, 2.0):
        expected = np.array(omega, np.float64)
        for i in range(N):
            for j in range(N):
                a, b = float(theta[i]), float(theta[j])
                expected[i] += float(matrix[i, j]) * (np.sin(b - a) + q * np.sin(b + a))
        rate = rate_of(symmetry_broken_kuramoto(matrix, q), theta, omega)
        np.testing.assert_allclose(rate, expected, **tolerance(dtype))
        if q == 0:
            np.testing.assert_array_equal(rate, rate_of(kuramoto(matrix), theta, omega))


def test_kuramoto_energy_is_the_double_sum(dtype):
    theta, _, matrix = system(dtype=dtype)
    model = kuramoto(matrix)
    energy = interaction_energy(theta, influence=model.influence, coupling=model.coupling)
    difference = np.subtract.outer(np.asarray(theta), np.asarray(theta))
    expected = -(np.asarray(matrix) * np.cos(difference)).sum()
    np.testing.assert_allclose(energy, expected, **tolerance(dtype))


@pytest.mark.parametrize("strength", [0.7, -2.0])
def test_winfree_mean_field_is_the_double_sum(strength, dtype):
    theta, omega, _ = system(dtype=dtype)
    for sensitivity, influence in (
        (jnp.cos, jnp.sin),
        (lambda x: -jnp.sin(x), lambda x: 1 + jnp.cos(x)),
    ):
        model = winfree_mean_field(strength, sensitivity=sensitivity, influence=influence)
        expected = np.array(omega, np.float64)
        responses, emitted = (np.asarray(f(theta), np.float64) for f in (sensitivity, influence))
        for i in range(N):
            for j in range(N):
                expected[i] += strength / N * responses[i] * emitted[j]
        rate = rate_of(model, theta, omega)
        np.testing.assert_allclose(rate, expected, **tolerance(dtype))
    default = winfree_mean_field(strength)
    assert (default.sensitivity, default.influence) == (jnp.cos, jnp.sin)


def shift_error(q: float, dtype, shift: float = 0.7) -> float:
    """How far 'shift, then evolve' is from 'evolve, then shift', on the circle."""
    theta, omega, matrix = system(dtype=dtype)
    model = symmetry_broken_kuramoto(matrix, q)
    run = functools.partial(evolve, omega=omega, **model._asdict(), step_size=0.1, steps=20)
    shifted, plain = (run(phases).theta for phases in (theta + shift, theta))
    return float(np.abs(on_circle(shifted) - on_circle(plain + shift)).max())


def test_kuramoto_is_invariant_under_a_common_shift(dtype):
    assert shift_error(0.0, dtype) < 1e3 * np.finfo(dtype).eps


@pytest.mark.parametrize("q", [0.1, 1.0])
def test_q_breaks_the_invariance(q, dtype):
    assert shift_error(q, dtype) > 0.05


def test_q_one_is_the_separable_form(dtype):
    theta, omega, matrix = system(3, dtype=dtype)
    run = functools.partial(evolve, theta, omega, step_size=0.05, steps=10, energies=True)
    family = run(**symmetry_broken_kuramoto(matrix, 1.0)._asdict())
    separable = run(**CORE, coupling=2 * matrix)
    np.testing.assert_allclose(
        on_circle(family.theta), on_circle(separable.theta), **tolerance(dtype)
    )
    np.testing.assert_allclose(family.energies, separable.energies, **tolerance(dtype))
