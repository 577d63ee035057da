"""Steps until convergence, against the same steps recorded without stopping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from systems import N, normal

from wonn_jax.dynamics import Watch, evolve, evolve_until, kuramoto, relative_change, share_changed

pytestmark = pytest.mark.usefixtures("strict_shapes")


def test_each_system_stops_once_its_energy_has_converged():
    """It stops at the step that the recorded energies give, and does not move after that."""
    model = kuramoto(0.5 * jnp.ones((N, N)))._asdict()
    theta, max_steps, threshold = normal(4, N, scale=2.0), 200, 1e-3
    whole = evolve(
        theta, 0.0, **model, step_size=0.1, steps=max_steps, trajectory=True, energies=True
    )
    energies = np.asarray(whole.energies)  # [max_steps, 4]
    still = np.abs(np.diff(energies, axis=0)) <= threshold * np.abs(energies[1:])
    expected = still.argmax(0) + 2  # the first energy close to the one before it
    assert still.any(0).all() and len(set(expected.tolist())) > 1

    stop = functools.partial(evolve_until, **model, step_size=0.1, tolerance=threshold)
    found = jax.jit(lambda theta: stop(theta, 0.0, max_steps=max_steps))(theta)
    np.testing.assert_array_equal(found.taken, expected)
    for system, steps in enumerate(expected):
        np.testing.assert_allclose(
            found.theta[system], whole.trajectory[steps - 1, system], rtol=1e-4, atol=1e-5
        )

    short = stop(theta, 0.0, max_steps=3)
    np.testing.assert_array_equal(short.taken, [3, 3, 3, 3])
    np.testing.assert_allclose(short.theta, whole.trajectory[2], rtol=1e-5, atol=1e-6)
    none = stop(theta, 0.0, max_steps=0)
    np.testing.assert_array_equal(none.theta, theta)
    assert not none.taken.any()
    patient = stop(theta, 0.0, max_steps=max_steps, patience=3)
    late = np.lib.stride_tricks.sliding_window_view(still, 3, axis=0).all(-1)
    np.testing.assert_array_equal(patient.taken, late.argmax(0) + 4)
    with pytest.raises(ValueError, match="max_steps=-1"):
        stop(theta, 0.0, max_steps=-1)
    with pytest.raises(ValueError, match="patience=0"):
        stop(theta, 0.0, max_steps=1, patience=0)


def test_each_system_stops_once_the_watched_quantity_has_converged():
    """The watched quantity is which of 32 sectors every phase is in; energies play no part."""
    model = kuramoto(0.5 * jnp.ones((N, N)))._asdict()
    theta, max_steps = normal(4, N, scale=2.0), 200

    def sector(theta):
        return jnp.floor(theta / (jnp.pi / 16)).astype(jnp.int32)

    whole = evolve(theta, 0.0, **model, step_size=0.1, steps=max_steps, trajectory=True)
    moved = np.diff(np.asarray(sector(whole.trajectory)), axis=0) != 0  # [max_steps - 1, 4, N]
    still = np.lib.stride_tricks.sliding_window_view(moved.mean(-1) <= 0.2, 4, axis=0).all(-1)
    expected = still.argmax(0) + 5
    assert still.any(0).all() and len(set(expected.tolist())) > 1
    found = evolve_until(
        theta,
        0.0,
        **model,
        step_size=0.1,
        max_steps=max_steps,
        tolerance=0.2,
        patience=4,
        watch=Watch(lambda theta, energy: sector(theta), share_changed),
    )
    np.testing.assert_array_equal(found.taken, expected)


def test_devices_stop_together_and_systems_on_their_own(mesh):
    """Each device has a system of its own; with `axis_names` all run the same iterations."""
    model = kuramoto(0.5 * jnp.ones((N, N)))._asdict()
    theta = normal(4, N, scale=2.0)

    def run(theta, **settings):
        found = evolve_until(
            theta, 0.0, **model, step_size=0.1, max_steps=200, tolerance=1e-3, **settings
        )
        return found.theta, found.taken

    sharded = jax.shard_map(
        functools.partial(run, axis_names=("data",)),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=P("data"),
    )
    found, expected = jax.jit(sharded)(theta), jax.jit(run)(theta)
    assert len(set(expected[1].tolist())) > 1
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


def test_measures_of_change():
    now, before = jnp.asarray([0.0, -2.0, 4.0, 0.0]), jnp.asarray([0.0, -1.0, 4.0, 1.0])
    np.testing.assert_array_equal(relative_change(now, before), [0.0, 0.5, 0.0, np.inf])
    now = jnp.asarray([[[1, 2], [3, 4]], [[1, 1], [1, 1]]])
    before = jnp.asarray([[[1, 2], [4, 4]], [[1, 1], [1, 1]]])
    np.testing.assert_array_equal(share_changed(now, before), [0.25, 0.0])
