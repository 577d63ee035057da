"""One step: the equation, its period, its dtypes and its errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import CORE, N, on_circle, system, tolerance

from wonn_jax.dynamics import evolve, kuramoto, winfree_step

pytestmark = pytest.mark.usefixtures("strict_shapes")


def test_step_is_the_equation_written_out(dtype):
    theta, omega, matrix = system(dtype=dtype)
    new, energy = winfree_step(theta, omega, **CORE, coupling=matrix, step_size=0.3)
    expected, expected_energy = [], 0.0
    for i in range(N):
        field = sum(float(matrix[i, j]) * np.sin(float(theta[j])) for j in range(N))
        phase = float(theta[i]) + 0.3 * (float(omega[i]) + np.cos(float(theta[i])) * field)
        expected.append((phase + np.pi) % (2 * np.pi) - np.pi)
        expected_energy -= np.sin(float(theta[i])) * field
    np.testing.assert_allclose(new, expected, **tolerance(dtype))
    np.testing.assert_allclose(energy, expected_energy, **tolerance(dtype))


def test_step_has_period_two_pi(dtype):
    theta, omega, matrix = system(dtype=dtype)
    turns = jnp.asarray([1, -1, 2, -2, 0, 3], dtype)
    step = functools.partial(winfree_step, **CORE, coupling=matrix, step_size=0.1)
    new, energy = step(theta, omega)
    turned, turned_energy = step(theta + 2 * np.pi * turns, omega)
    np.testing.assert_allclose(on_circle(turned), on_circle(new), **tolerance(dtype))
    np.testing.assert_allclose(turned_energy, energy, **tolerance(dtype))


def test_dtype_is_that_of_the_phases(dtype):
    theta, _, matrix = system(dtype=dtype)
    wide = np.ones(N, np.float64)  # frequencies, step size and matrix may be wider or narrower
    for model in ({**CORE, "coupling": matrix}, kuramoto(matrix)._asdict()):
        run = functools.partial(
            evolve, **model, step_size=np.float64(0.1), steps=2, trajectory=True, energies=True
        )
        result = jax.eval_shape(run, theta, wide)
        assert {x.dtype for x in jax.tree.leaves(result)} == {np.dtype(dtype)}


STEP = functools.partial(winfree_step, jnp.zeros(N), 0.0, step_size=0.1)


def test_matrix_of_the_wrong_size():
    message = r"matrix has shape \(5, 5\), but the influences have 6 .* it must be \(6, 6\)"
    with pytest.raises(ValueError, match=message):
        STEP(**CORE, coupling=jnp.ones((5, 5)))
    with pytest.raises(ValueError, match=message):
        STEP(**kuramoto(np.ones((5, 5)))._asdict())


def test_field_of_another_shape():
    with pytest.raises(ValueError, match=r"influences of shape \(6,\) into a field of shape \(\)"):
        STEP(**CORE, coupling=jnp.sum)


def test_response_of_another_shape():
    with pytest.raises(ValueError, match=r"has shape \(2, 3, 6\), but the phases have \(6,\)"):
        STEP(
            sensitivity=lambda theta: jnp.ones((2, 3, N)),
            influence=lambda theta: jnp.ones((2, 3, N)),
            coupling=lambda emitted: emitted,
        )
