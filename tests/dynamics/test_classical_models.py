"""The classical models, against their double sums, and the symmetries they have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO, BCSR
from systems import CORE, N, normal, on_circle, system, tolerance

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


@pytest.mark.parametrize("systems", [(), (2,), (3,)])
def test_a_function_as_matrix_gets_one_vector(systems):
    """With two oscillators, or two systems, `K @ x` of all vectors at once would be another sum."""
    matrix = jnp.array([[0.5, 2.0], [-1.0, 0.3]])
    theta = normal(*systems, 2)
    expected = rate_of(kuramoto(matrix), theta, 0.0)
    for product in (lambda x: matrix @ x, lambda x: x @ matrix.T):
        rate = rate_of(kuramoto(product), theta, 0.0)
        np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_sparse_matrices(dtype):
    theta, omega, matrix = system(2, dtype=dtype)
    matrix = np.where(np.abs(matrix) < 0.4, 0, matrix)
    expected = rate_of(kuramoto(matrix), theta, omega)
    twice = scipy.sparse.coo_array((np.ones(3), ([0, 0, 1], [2, 2, 0])), (N, N))  # an entry of 2
    for model, right in (
        (kuramoto(scipy.sparse.csr_matrix(matrix)), expected),
        (kuramoto(scipy.sparse.csc_array(matrix)), expected),
        (kuramoto(BCOO.fromdense(matrix)), expected),
        (kuramoto(BCSR.fromdense(matrix)), expected),
        (kuramoto(twice), rate_of(kuramoto(twice.toarray()), theta, omega)),
    ):
        rate = jax.jit(functools.partial(rate_of, model))(theta, omega)
        assert rate.dtype == dtype
        np.testing.assert_allclose(rate, right, **tolerance(dtype))
    with pytest.raises(ValueError, match=r"has shape \(5, 5\), but the influences have 6"):
        rate_of(kuramoto(scipy.sparse.eye_array(5)), theta, omega)


def test_the_strength_is_not_cut_to_the_type_of_the_influence():
    """Oscillators that fire or do not: the influence is a boolean."""
    model = winfree_mean_field(0.25, influence=lambda theta: theta > 0)
    rate = rate_of(model, jnp.array([1.0, -1.0]), 0.0)
    np.testing.assert_allclose(rate, 0.25 * np.cos(1.0) * np.full(2, 0.5), rtol=1e-6)
