"""Energy of a state: its axes and precision, and the gradient flow of the paper's Appendix D."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import CORE, N, normal, symmetric, system, tolerance

from wonn_jax.dynamics import evolve, interaction_energy, kuramoto, winfree_rate, winfree_step

pytestmark = pytest.mark.usefixtures("strict_shapes")


@pytest.mark.parametrize("event_ndim", [0, 1, 2, 3])
def test_event_axes_are_summed_and_batch_axes_kept(event_ndim, x64):
    theta = normal(2, 3, 4, dtype=np.float64)
    arguments = {**CORE, "coupling": lambda emitted: 2 * emitted, "event_ndim": event_ndim}
    _, energy = winfree_step(theta, 0.0, **arguments, step_size=0.1)
    del arguments["sensitivity"]
    assert energy.shape == theta.shape[: 3 - event_ndim]
    expected = -2 * np.sin(np.asarray(theta, np.float64)) ** 2
    expected = expected.sum(axis=tuple(range(3 - event_ndim, 3)))
    np.testing.assert_allclose(energy, expected, **tolerance(np.float64))
    np.testing.assert_array_equal(interaction_energy(theta, **arguments), energy)


def test_energy_of_half_precision_is_float32():
    theta = jnp.zeros((2, N), jnp.bfloat16)
    matrix = jnp.eye(N, dtype=jnp.bfloat16)
    new, energy = jax.eval_shape(
        lambda theta: winfree_step(theta, 1.0, **CORE, coupling=matrix, step_size=0.1), theta
    )
    assert new.dtype == jnp.bfloat16
    assert energy.dtype == jnp.float32


@functools.partial(jax.jit, static_argnames="sensitivity")
def energies(theta, omega, matrix, sensitivity=jnp.cos):
    """Energies of 300 small steps, of S = cos and I = sin or of Kuramoto's model."""
    model = {**CORE, "coupling": matrix} if sensitivity else kuramoto(matrix)._asdict()
    return evolve(theta, omega, **model, step_size=0.02, steps=300, energies=True).energies


@pytest.mark.parametrize("sensitivity", [jnp.cos, None], ids=["winfree", "kuramoto"])
def test_energy_decreases_for_symmetric_coupling_without_frequencies(sensitivity, dtype):
    theta, _, _ = system(8, dtype=dtype)
    energy = np.asarray(energies(theta, 0.0, symmetric(dtype), sensitivity))
    assert np.diff(energy, axis=0).max() <= 20 * np.finfo(dtype).eps * np.abs(energy).max()
    assert (energy[-1] < energy[0] - 0.1).all()  # it did move


def test_energy_may_increase_with_frequencies(dtype):
    theta, omega, _ = system(8, dtype=dtype)
    assert np.diff(energies(theta, 3 * omega, symmetric(dtype)), axis=0).max() > 0.01


def test_flow_is_minus_the_gradient_of_half_the_energy(x64):
    theta, _, _ = system(dtype=np.float64)
    coupling = symmetric(np.float64)

    def half(phases):
        return 0.5 * interaction_energy(phases, influence=jnp.sin, coupling=coupling)

    rate = winfree_rate(theta, 0.0, **CORE, coupling=coupling)
    np.testing.assert_allclose(rate, -jax.grad(half)(theta), atol=1e-13)


def test_matrix_of_the_wrong_size():
    message = r"matrix has shape \(5, 5\), but the influences have 6 .* it must be \(6, 6\)"
    with pytest.raises(ValueError, match=message):
        interaction_energy(jnp.zeros(N), influence=jnp.sin, coupling=jnp.ones((5, 5)))


@pytest.mark.parametrize("event_ndim", [-1, 3])
def test_event_ndim_out_of_range(event_ndim):
    with pytest.raises(ValueError, match=rf"event_ndim={event_ndim}, but .* 2 axes .*\(2, 6\)"):
        interaction_energy(
            jnp.zeros((2, N)), influence=jnp.sin, coupling=jnp.eye(N), event_ndim=event_ndim
        )
