"""A fixed number of steps: values, records, rematerialisation, gradients and transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P
from systems import CORE, N, normal, system, tolerance

from wonn_jax.dynamics import (
    Evolution,
    evolve,
    kuramoto,
    symmetry_broken_kuramoto,
    winfree_mean_field,
    winfree_step,
)

pytestmark = pytest.mark.usefixtures("strict_shapes")


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_scan_is_a_loop_of_steps(steps, dtype):
    theta, omega, matrix = system(2, dtype=dtype)
    arguments = {**CORE, "coupling": matrix, "step_size": 0.2}
    result = evolve(theta, omega, **arguments, steps=steps, trajectory=True, energies=True)
    states, energies = [], []
    for _ in range(steps):
        theta, energy = winfree_step(theta, omega, **arguments)
        states.append(theta)
        energies.append(energy)
    assert result.trajectory.shape == (steps, 2, N)
    assert result.energies.shape == (steps, 2)
    np.testing.assert_allclose(result.theta, theta, **tolerance(dtype))
    if steps:
        np.testing.assert_allclose(result.trajectory, jnp.stack(states), **tolerance(dtype))
        np.testing.assert_allclose(result.energies, jnp.stack(energies), **tolerance(dtype))
        np.testing.assert_array_equal(result.trajectory[-1], result.theta)


def test_nothing_is_recorded_unless_asked_for():
    theta, omega, matrix = system()
    run = functools.partial(evolve, theta, omega, **CORE, coupling=matrix, step_size=0.1, steps=3)
    for remat in (0, 1, 2):
        for asked in ({}, {"trajectory": True}, {"energies": True}):
            result = jax.eval_shape(functools.partial(run, remat=remat, **asked))
            assert [x is not None for x in result] == [
                True,
                "trajectory" in asked,
                "energies" in asked,
                False,
            ]


# k divides the steps, does not, is longer than they are; and no steps at all.
@pytest.mark.parametrize(
    "steps, remat, unroll",
    [
        *[(6, 1, False), (6, 3, False), (7, 3, False), (4, 9, False), (0, 1, False), (0, 3, False)],
        *[(3, 1, True), (3, 0, True), (0, 1, True)],
    ],
)
def test_remat_changes_neither_values_nor_gradients(steps, remat, unroll, x64):
    theta, omega, matrix = system(2, dtype=np.float64)

    @functools.partial(jax.jit, static_argnums=3)
    def run(theta, omega, matrix, remat):
        return evolve(
            theta,
            omega,
            **CORE,
            coupling=matrix,
            step_size=0.2,
            steps=steps,
            trajectory=True,
            energies=True,
            remat=remat,
            unroll=unroll,
        )

    def loss(theta, omega, matrix, remat):
        result = run(theta, omega, matrix, remat)
        weights = 1 + jnp.arange(steps)[:, None]  # every step has its own share
        return (
            jnp.sin(2 * result.theta).sum()
            + (weights[..., None] * jnp.cos(result.trajectory)).sum()
            + (weights * result.energies).sum()
        )

    for kept, recomputed in zip(
        run(theta, omega, matrix, 0)[:3], run(theta, omega, matrix, remat)[:3], strict=True
    ):
        assert kept.shape == recomputed.shape
        np.testing.assert_allclose(recomputed, kept, rtol=1e-13, atol=1e-13)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), static_argnums=3)
    for kept, recomputed in zip(
        gradient(theta, omega, matrix, 0), gradient(theta, omega, matrix, remat), strict=True
    ):
        np.testing.assert_allclose(recomputed, kept, rtol=1e-12, atol=1e-12)


STEPS = 64


def residuals(**settings) -> int:
    """How many numbers the backward pass of 64 steps needs kept."""
    theta, omega, matrix = system(50)
    settings = {"coupling": matrix, **settings}

    def loss(theta):
        return evolve(theta, omega, **CORE, step_size=0.1, steps=STEPS, **settings).theta.sum()

    _, backward = jax.eval_shape(lambda theta: jax.vjp(loss, theta), theta)
    return sum(x.size for x in jax.tree.leaves(backward))


def test_remat_stores_less():
    state = 50 * N
    everything, each, chunks = residuals(), residuals(remat=1), residuals(remat=8)
    assert everything > 2 * STEPS * state
    assert STEPS * state <= each < (STEPS + 2) * state
    assert 8 * state <= chunks < 10 * state


def test_remat_policy_keeps_what_is_named():
    _, _, matrix = system()

    def coupling(emitted):
        return checkpoint_name(emitted @ matrix.T, "field")

    stored = functools.partial(residuals, coupling=coupling, remat=1)
    named = jax.checkpoint_policies.save_only_these_names("field")
    assert stored(remat_policy=named) - stored() == STEPS * 50 * N
    # In chunks, what is named is kept of the steps at work alone.
    in_chunks = functools.partial(residuals, coupling=coupling, remat=8)
    assert in_chunks(remat_policy=named) == in_chunks()


def test_gradients_equal_finite_differences(x64):
    inputs = system(dtype=np.float64)
    weights = normal(N, seed=9, dtype=np.float64)

    def loss(theta, omega, matrix):
        result = evolve(
            theta, omega, **CORE, coupling=matrix, step_size=0.2, steps=7, energies=True
        )
        return (weights * jnp.sin(result.theta)).sum() + result.energies.sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*inputs)
    loss, h = jax.jit(loss), 1e-6
    for position, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            moved = [
                [x.at[index].add(h) if k == position else x for k, x in enumerate(inputs)]
                for h in (h, -h)
            ]
            difference = (loss(*moved[0]) - loss(*moved[1])) / (2 * h)
            np.testing.assert_allclose(gradient[index], difference, rtol=1e-6, atol=1e-7)


def test_gradient_of_the_step_size(x64):
    theta, omega, matrix = system(dtype=np.float64)

    @jax.jit
    def loss(step_size):
        return jnp.sin(
            evolve(theta, omega, **CORE, coupling=matrix, step_size=step_size, steps=4).theta
        ).sum()

    difference = (loss(0.1 + 1e-6) - loss(0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.1), difference, rtol=1e-7)


def run_model(model, theta, omega, steps: int = 4):
    return evolve(
        theta, omega, **model._asdict(), step_size=0.1, steps=steps, trajectory=True, energies=True
    )


MODELS = {
    "kuramoto": kuramoto,
    "family": lambda matrix: symmetry_broken_kuramoto(matrix, 0.4),
    "winfree": lambda matrix: winfree_mean_field(matrix.mean()),
}


@pytest.mark.parametrize("name", MODELS)
def test_leading_axes_are_vmap(name, x64):
    theta, omega, matrix = system(2, 3, dtype=np.float64)
    model = MODELS[name](matrix)
    run = functools.partial(run_model, model)
    together = jax.jit(run)(theta, omega)
    # The batch axes come after time in what is recorded.
    axes = Evolution(theta=0, trajectory=1, energies=1)
    mapped = jax.jit(jax.vmap(jax.vmap(run, out_axes=axes), out_axes=axes))(theta, omega)
    for a, b in zip(together[:3], mapped[:3], strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance(np.float64))
    assert together.energies.shape == (4, 2, 3)
    single = run(theta[1, 2], omega[1, 2])
    np.testing.assert_allclose(together.theta[1, 2], single.theta, **tolerance(np.float64))


def test_jit_grad_vmap_and_scan_compose(x64):
    theta, omega, matrix = system(3, dtype=np.float64)

    def loss(matrix, theta, omega):
        return jnp.cos(run_model(kuramoto(matrix), theta, omega).theta).sum()

    gradient = jax.grad(loss)
    single = jax.jit(gradient)
    expected = jnp.stack([single(matrix, theta[i], omega[i]) for i in range(3)])
    mapped = jax.jit(jax.vmap(gradient, in_axes=(None, 0, 0)))(matrix, theta, omega)
    np.testing.assert_allclose(mapped, expected, **tolerance(np.float64))

    def accumulate(total, row):
        return total + gradient(matrix, *row), None

    total, _ = jax.jit(lambda *rows: jax.lax.scan(accumulate, 0 * matrix, rows))(theta, omega)
    np.testing.assert_allclose(total, expected.sum(0), **tolerance(np.float64))

    def mapped_loss(matrix):
        return jax.vmap(loss, in_axes=(None, 0, 0))(matrix, theta, omega).sum()

    vmap_inside = jax.jit(jax.grad(mapped_loss))(matrix)
    np.testing.assert_allclose(vmap_inside, expected.sum(0), **tolerance(np.float64))


@pytest.mark.parametrize("remat", [0, 3])
def test_shard_map_over_the_batch(remat, mesh):
    theta, omega, matrix = system(8)

    def loss(matrix, theta, omega):
        result = evolve(
            theta,
            omega,
            **kuramoto(matrix)._asdict(),
            step_size=0.1,
            steps=4,
            energies=True,
            remat=remat,
        )
        return jnp.cos(result.theta).sum() + result.energies.sum(), result.theta

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=((P(), P("data")), P()),
    )
    def sharded(matrix, theta, omega):
        def total(matrix):
            value, phases = loss(matrix, theta, omega)
            return jax.lax.psum(value, "data"), phases

        return jax.value_and_grad(total, has_aux=True)(matrix)

    (value, phases), gradient = sharded(matrix, theta, omega)
    expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(matrix, theta, omega)
    np.testing.assert_allclose(value, expected[0][0], rtol=1e-5)
    np.testing.assert_allclose(phases, expected[0][1], **tolerance(np.float32))
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-5)


def test_one_system_over_several_axes():
    """`[tokens, channels]` with a coupling of tokens, as in a layer of the network."""
    theta, omega = normal(2, 5, 3), normal(2, 5, 3, seed=1)
    matrix = normal(5, 5, seed=2)
    result = evolve(
        theta,
        omega,
        **CORE,
        coupling=lambda emitted: jnp.einsum("ij,...jc->...ic", matrix, emitted),
        step_size=0.1,
        steps=3,
        event_ndim=2,
        energies=True,
    )
    assert result.energies.shape == (3, 2)
    channel = evolve(theta[..., 1], omega[..., 1], **CORE, coupling=matrix, step_size=0.1, steps=3)
    np.testing.assert_allclose(result.theta[..., 1], channel.theta, **tolerance(np.float32))


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"steps": -1}, ValueError, "steps=-1 must be at least 0"),
        ({"steps": 2, "remat": -3}, ValueError, "remat=-3 must be at least 0"),
        ({"steps": 2.5}, TypeError, "steps=2.5 must be an integer"),
    ],
)
def test_malformed_counts(settings, error, message):
    theta, omega, matrix = system()
    with pytest.raises(error, match=message):
        evolve(theta, omega, **CORE, coupling=matrix, step_size=0.1, **settings)


def test_a_traced_number_of_steps():
    theta, omega, matrix = system()
    run = functools.partial(evolve, theta, omega, **CORE, coupling=matrix, step_size=0.1)
    with pytest.raises(TypeError, match="list steps in static_argnames"):
        jax.jit(lambda steps: run(steps=steps))(3)
