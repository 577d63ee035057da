"""One step: the equation, its period, its dtypes and its errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import CORE, N, on_circle, system, tolerance

from wonn_jax.dynamics import evolve, kuramoto, winfree_mean_field, winfree_step

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
    assert (-np.pi < turned).all() and (turned <= dtype(np.pi)).all()
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


@pytest.mark.parametrize(
    "theta", [jnp.array([0, 1, 2, 4]), np.array([0, 1, 2, 4], np.uint8), [0, 1, 2, 4]]
)
def test_integers_are_phases(theta):
    """An integer step size, frequency or strength would be 0 or 1."""
    new, energy = winfree_step(theta, 1, **winfree_mean_field(1)._asdict(), step_size=0.1)
    np.testing.assert_allclose(new, [0.1248, 1.1134, 2.0897, -2.1994], atol=1e-4)
    np.testing.assert_allclose(energy, -0.246992, atol=1e-6)


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


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"theta": 1j * jnp.zeros(N)}, "phases must be real numbers, got complex64"),
        ({"theta": "zero"}, "phases must be real numbers, got 'zero'"),
        ({"omega": 1j}, "omega must be real numbers, got complex"),
        ({"step_size": 1j}, "step_size must be real numbers, got complex"),
        ({"influence": lambda theta: jnp.exp(1j * theta)}, "The influence returned complex64"),
        ({"sensitivity": lambda theta: jnp.exp(1j * theta)}, "The sensitivity returned complex64"),
        ({"coupling": 1j * np.eye(N)}, "a field of complex64"),
        ({"coupling": object()}, "The coupling is of type object"),
    ],
)
def test_what_is_not_real(wrong, message):
    arguments = {
        "theta": jnp.zeros(N),
        "omega": 0.0,
        "step_size": 0.1,
        **CORE,
        "coupling": jnp.eye(N),
    }
    with pytest.raises(TypeError, match=message):
        winfree_step(**arguments | wrong)


@pytest.mark.parametrize("name", ["omega", "step_size"])
@pytest.mark.parametrize("shape", [(5,), (3, 1)])
def test_parameters_that_do_not_broadcast_to_the_phases(name, shape):
    arguments = {"omega": 0.0, "step_size": 0.1, **CORE, "coupling": jnp.eye(N)}
    with pytest.raises(ValueError, match=rf"{name} has shape .{shape[0]},.* phases, \(6,\)"):
        winfree_step(jnp.zeros(N), **arguments | {name: jnp.zeros(shape)})
