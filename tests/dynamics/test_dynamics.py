"""What the core promises: the torus, the models it contains, energies, gradients, transforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from wonn_jax.dynamics import (
    Evolution,
    Watch,
    evolve,
    evolve_until,
    interaction_energy,
    kuramoto,
    order_parameter,
    share_changed,
    symmetry_broken_kuramoto,
    winfree_mean_field,
    winfree_step,
    wrap,
)

pytestmark = pytest.mark.usefixtures("strict_shapes")

N = 6
CORE = {"sensitivity": jnp.cos, "influence": jnp.sin}


def tolerance(dtype) -> dict[str, float]:
    """A few roundings of numbers of order 1 to 10."""
    eps = float(jnp.finfo(dtype).eps)
    return {"rtol": 50 * eps, "atol": 50 * eps}


def normal(*shape: int, seed: int = 0, dtype=np.float32, scale: float = 1.0) -> jax.Array:
    draw = np.random.default_rng([seed, *shape]).normal(size=shape, scale=scale)
    return jnp.asarray(draw.astype(dtype))


def system(*batch: int, dtype=np.float32):
    """Phases, frequencies and an unsymmetric coupling matrix."""
    theta = wrap(normal(*batch, N, seed=1, dtype=dtype, scale=2.0))
    omega = normal(*batch, N, seed=2, dtype=dtype)
    return theta, omega, normal(N, N, seed=3, dtype=dtype, scale=0.5)


def on_circle(theta) -> np.ndarray:
    """Phases as unit vectors: −π and π are the same."""
    theta = np.asarray(theta)
    return np.stack([np.cos(theta), np.sin(theta)])


# --- wrap -----------------------------------------------------------------------------------


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


def test_wrap_keeps_what_is_in_range_bit_for_bit(dtype):
    pi = dtype(np.pi)
    theta = np.linspace(-pi, pi, 1001, dtype=dtype)[1:]
    theta = np.append(theta, [dtype(0), np.nextafter(-pi, dtype(0)), pi]).astype(dtype)
    np.testing.assert_array_equal(wrap(theta), theta)


def test_wrap_takes_the_lower_border_to_the_upper(dtype):
    np.testing.assert_array_equal(wrap(dtype(-np.pi)), dtype(np.pi))
    np.testing.assert_allclose(wrap(dtype(3 * np.pi)), np.pi, rtol=4 * np.finfo(dtype).eps)


def test_wrap_is_the_same_angle(dtype):
    theta = np.random.default_rng(1).uniform(-300, 300, 5000).astype(dtype)
    # Rounding of 2π, multiplied by the turns, is all the error there may be.
    error = np.abs(on_circle(wrap(theta)) - on_circle(theta.astype(np.float64))).max()
    assert error < 300 * np.finfo(dtype).eps


def test_wrap_has_derivative_one_everywhere(dtype):
    theta = np.array([0, 1, -3, np.pi, -np.pi, 4, -100, 1e4, 3 * np.pi], dtype)
    np.testing.assert_array_equal(jax.vmap(jax.grad(wrap))(theta), np.ones_like(theta))
    _, tangent = jax.jvp(wrap, (theta,), (theta,))
    np.testing.assert_array_equal(tangent, theta)


def test_wrap_takes_python_numbers_and_any_shape():
    assert wrap(0.5).shape == () and wrap(0.5) == 0.5
    assert wrap(np.zeros((2, 3, 4), np.float32)).shape == (2, 3, 4)


# --- one step -------------------------------------------------------------------------------


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
    wide = np.ones(N, np.float64)  # frequencies, step and matrix may be wider or narrower
    for model in ({**CORE, "coupling": matrix}, kuramoto(matrix)._asdict()):
        result = evolve(
            theta, wide, **model, step_size=np.float64(0.1), steps=2, trajectory=True, energies=True
        )
        assert {x.dtype for x in jax.tree.leaves(result)} == {np.dtype(dtype)}


def test_energy_of_half_precision_is_float32():
    theta = jnp.zeros((2, N), jnp.bfloat16)
    new, energy = winfree_step(
        theta, 1.0, **CORE, coupling=jnp.eye(N, dtype=jnp.bfloat16), step_size=0.1
    )
    assert new.dtype == jnp.bfloat16
    assert energy.dtype == jnp.float32


@pytest.mark.parametrize("event_ndim", [0, 1, 2, 3])
def test_event_axes_are_summed_and_batch_axes_kept(event_ndim, dtype):
    theta = normal(2, 3, 4, dtype=dtype)
    arguments = {**CORE, "coupling": lambda emitted: 2 * emitted, "event_ndim": event_ndim}
    _, energy = winfree_step(theta, 0.0, **arguments, step_size=0.1)
    del arguments["sensitivity"]
    assert energy.shape == theta.shape[: 3 - event_ndim]
    expected = -2 * np.sin(np.asarray(theta, np.float64)) ** 2
    expected = expected.sum(axis=tuple(range(3 - event_ndim, 3)))
    np.testing.assert_allclose(energy, expected, **tolerance(dtype))
    np.testing.assert_array_equal(interaction_energy(theta, **arguments), energy)


# --- the models it contains -----------------------------------------------------------------


def rate_of(model, theta, omega, step: float = 2.0**-4):
    """dθ/dt that the step used; the state stays within (−π, π], so the wrap takes no part."""
    new, _ = winfree_step(theta, omega, **model._asdict(), step_size=step)
    return (new - theta) / step


def test_kuramoto_family_is_the_double_sum(dtype):
    theta, omega, matrix = system(dtype=dtype)
    theta = theta / 2
    for q in (0.0, 0.3, -1.0, 1.0, 2.0):
        expected = np.array(omega, np.float64)
        for i in range(N):
            for j in range(N):
                a, b = float(theta[i]), float(theta[j])
                expected[i] += float(matrix[i, j]) * (np.sin(b - a) + q * np.sin(b + a))
        rate = rate_of(symmetry_broken_kuramoto(matrix, q), theta, omega)
        np.testing.assert_allclose(rate, expected, rtol=1e3 * np.finfo(dtype).eps, atol=1e-5)
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
    theta = theta / 2
    for sensitivity, influence in (
        (jnp.cos, jnp.sin),
        (lambda x: -jnp.sin(x), lambda x: 1 + jnp.cos(x)),
    ):
        model = winfree_mean_field(strength, sensitivity=sensitivity, influence=influence)
        expected = np.array(omega, np.float64)
        for i in range(N):
            for j in range(N):
                term = float(sensitivity(theta[i])) * float(influence(theta[j]))
                expected[i] += strength / N * term
        rate = rate_of(model, theta, omega)
        np.testing.assert_allclose(rate, expected, rtol=1e3 * np.finfo(dtype).eps, atol=1e-5)
    default = winfree_mean_field(strength)
    assert (default.sensitivity, default.influence) == (jnp.cos, jnp.sin)


def shift_error(q: float, dtype, shift: float = 0.7) -> float:
    """How far 'shift, then evolve' is from 'evolve, then shift', on the circle."""
    theta, omega, matrix = system(dtype=dtype)
    model = symmetry_broken_kuramoto(matrix, q)
    run = functools.partial(evolve, omega=omega, **model._asdict(), step_size=0.1, steps=20)
    shifted = on_circle(run(theta + shift).theta)
    return float(np.abs(shifted - on_circle(run(theta).theta + shift)).max())


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


# --- energy and gradient flow (Appendix D of the paper) --------------------------------------


def symmetric(dtype=np.float32) -> jax.Array:
    _, _, matrix = system(dtype=dtype)
    return (matrix + matrix.T) / 2


def test_energy_descends_for_symmetric_coupling_at_rest(dtype):
    theta, _, _ = system(8, dtype=dtype)
    for model in ({**CORE, "coupling": symmetric(dtype)}, kuramoto(symmetric(dtype))._asdict()):
        energies = evolve(theta, 0.0, **model, step_size=0.02, steps=300, energies=True).energies
        rise = jnp.diff(energies, axis=0)
        assert rise.max() <= 20 * np.finfo(dtype).eps * np.abs(energies).max()
        assert (energies[-1] < energies[0] - 0.1).all()  # it did move


def test_energy_need_not_descend_with_frequencies(dtype):
    theta, omega, _ = system(8, dtype=dtype)
    energies = evolve(
        theta,
        3 * omega,
        **CORE,
        coupling=symmetric(dtype),
        step_size=0.02,
        steps=300,
        energies=True,
    ).energies
    assert jnp.diff(energies, axis=0).max() > 0.01


def test_flow_is_minus_the_gradient_of_half_the_energy(x64):
    theta, _, _ = system(dtype=np.float64)
    theta = theta / 2
    coupling = symmetric(np.float64)

    def half(phases):
        return 0.5 * interaction_energy(phases, influence=jnp.sin, coupling=coupling)

    step = 2.0**-4
    new, _ = winfree_step(theta, 0.0, **CORE, coupling=coupling, step_size=step)
    np.testing.assert_allclose((new - theta) / step, -jax.grad(half)(theta), atol=1e-13)


# --- evolve ---------------------------------------------------------------------------------


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
@pytest.mark.parametrize("steps, remat", [(6, 1), (6, 3), (7, 3), (5, 4), (4, 9), (0, 1), (0, 3)])
def test_remat_changes_neither_values_nor_gradients(steps, remat, x64):
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


def test_the_step_is_of_first_order(x64):
    theta, omega, matrix = system(dtype=np.float64)

    def at_time_one(steps: int):
        run = evolve(theta, omega, **CORE, coupling=matrix, step_size=1 / steps, steps=steps)
        return on_circle(run.theta)

    exact = at_time_one(2**16)
    counts = 2 ** np.arange(5, 11)
    errors = [np.abs(at_time_one(int(n)) - exact).max() for n in counts]
    slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
    assert 0.95 < slope < 1.1


# --- axes and transformations ---------------------------------------------------------------


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
def test_leading_axes_are_vmap(name, dtype):
    theta, omega, matrix = system(2, 3, dtype=dtype)
    model = MODELS[name](matrix)
    run = functools.partial(run_model, model)
    together = jax.jit(run)(theta, omega)
    # The batch axes come after time in what is recorded.
    axes = Evolution(theta=0, trajectory=1, energies=1)
    mapped = jax.jit(jax.vmap(jax.vmap(run, out_axes=axes), out_axes=axes))(theta, omega)
    for a, b in zip(together[:3], mapped[:3], strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance(dtype))
    assert together.energies.shape == (4, 2, 3)
    single = run(theta[1, 2], omega[1, 2])
    np.testing.assert_allclose(together.theta[1, 2], single.theta, **tolerance(dtype))


def test_jit_grad_vmap_and_scan_compose(dtype):
    theta, omega, matrix = system(3, dtype=dtype)

    def loss(matrix, theta, omega):
        return jnp.cos(run_model(kuramoto(matrix), theta, omega).theta).sum()

    gradient = jax.grad(loss)
    single = jax.jit(gradient)
    expected = jnp.stack([single(matrix, theta[i], omega[i]) for i in range(3)])
    mapped = jax.jit(jax.vmap(gradient, in_axes=(None, 0, 0)))(matrix, theta, omega)
    np.testing.assert_allclose(mapped, expected, **tolerance(dtype))

    def accumulate(total, row):
        return total + gradient(matrix, *row), None

    total, _ = jax.jit(lambda *rows: jax.lax.scan(accumulate, 0 * matrix, rows))(theta, omega)
    np.testing.assert_allclose(total, expected.sum(0), **tolerance(dtype))

    def mapped_loss(matrix):
        return jax.vmap(loss, in_axes=(None, 0, 0))(matrix, theta, omega).sum()

    vmap_inside = jax.jit(jax.grad(mapped_loss))(matrix)
    np.testing.assert_allclose(vmap_inside, expected.sum(0), **tolerance(dtype))


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


# --- order parameter ------------------------------------------------------------------------


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
    for sign, low, high in ((1, 0.99, 1.01), (-1, 0.0, 0.5)):
        model = kuramoto(jnp.full((N, N), sign / N))
        final = evolve(theta, 0.0, **model._asdict(), step_size=0.1, steps=400).theta
        r = jnp.abs(order_parameter(final))
        assert (low <= r).all() and (r <= high).all()


# --- messages -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"steps": -1}, {"steps": 2, "remat": -3}])
def test_negative_counts(settings):
    theta, omega, matrix = system()
    with pytest.raises(ValueError, match=r"steps=.* and remat=.* must not be negative"):
        evolve(theta, omega, **CORE, coupling=matrix, step_size=0.1, **settings)


def test_matrix_of_another_size():
    message = r"matrix has shape \(5, 5\), but the influences have 6 .* it must be \(6, 6\)"
    for call in (
        functools.partial(winfree_step, jnp.zeros(N), 0.0, **CORE, step_size=0.1),
        functools.partial(interaction_energy, jnp.zeros(N), influence=jnp.sin),
    ):
        with pytest.raises(ValueError, match=message):
            call(coupling=jnp.ones((5, 5)))
    with pytest.raises(ValueError, match=message):
        winfree_step(jnp.zeros(N), 0.0, **kuramoto(np.ones((5, 5)))._asdict(), step_size=0.1)


def test_field_of_another_shape():
    with pytest.raises(ValueError, match=r"influences of shape \(6,\) into a field of shape \(\)"):
        winfree_step(jnp.zeros(N), 0.0, **CORE, coupling=jnp.sum, step_size=0.1)


@pytest.mark.parametrize("event_ndim", [-1, 3])
def test_event_ndim_out_of_range(event_ndim):
    with pytest.raises(ValueError, match=rf"event_ndim={event_ndim}, but .* 2 axes .*\(2, 6\)"):
        interaction_energy(
            jnp.zeros((2, N)), influence=jnp.sin, coupling=jnp.eye(N), event_ndim=event_ndim
        )


def test_response_of_another_shape():
    with pytest.raises(ValueError, match=r"has shape \(2, 3, 6\), but the phases have \(6,\)"):
        winfree_step(
            jnp.zeros(N),
            0.0,
            sensitivity=lambda theta: jnp.ones((2, 3, N)),
            influence=lambda theta: jnp.ones((2, 3, N)),
            coupling=lambda emitted: emitted,
            step_size=0.1,
        )


def test_each_system_stops_when_its_energy_has_settled():
    """Against `evolve`: stopped where the recorded energies say so, and not moved after that."""
    model = kuramoto(0.5 * jnp.ones((N, N)))._asdict()
    theta, limit, share = normal(4, N, scale=2.0), 200, 1e-3
    whole = evolve(theta, 0.0, **model, step_size=0.1, steps=limit, trajectory=True, energies=True)
    energies = np.asarray(whole.energies)  # [limit, 4]
    still = np.abs(np.diff(energies, axis=0)) <= share * np.abs(energies[1:])
    expected = still.argmax(0) + 2  # the step whose energy is the first to be like the last one
    assert still.any(0).all() and len(set(expected.tolist())) > 1

    stop = functools.partial(evolve_until, **model, step_size=0.1, tolerance=share)
    found = jax.jit(lambda theta: stop(theta, 0.0, max_steps=limit))(theta)
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
    patient = stop(theta, 0.0, max_steps=limit, patience=3)
    late = np.lib.stride_tricks.sliding_window_view(still, 3, axis=0).all(-1)
    np.testing.assert_array_equal(patient.taken, late.argmax(0) + 4)
    with pytest.raises(ValueError, match="max_steps=-1"):
        stop(theta, 0.0, max_steps=-1)
    with pytest.raises(ValueError, match="patience=0"):
        stop(theta, 0.0, max_steps=1, patience=0)


def test_each_system_stops_when_what_is_watched_has_settled():
    """Here in which of 32 sectors every phase is: no energy is looked at."""
    model = kuramoto(0.5 * jnp.ones((N, N)))._asdict()
    theta, limit = normal(4, N, scale=2.0), 200

    def sector(theta):
        return jnp.floor(theta / (jnp.pi / 16)).astype(jnp.int32)

    whole = evolve(theta, 0.0, **model, step_size=0.1, steps=limit, trajectory=True)
    moved = np.diff(np.asarray(sector(whole.trajectory)), axis=0) != 0  # [limit - 1, 4, N]
    still = np.lib.stride_tricks.sliding_window_view(moved.mean(-1) <= 0.2, 4, axis=0).all(-1)
    expected = still.argmax(0) + 5
    assert still.any(0).all() and len(set(expected.tolist())) > 1
    found = evolve_until(
        theta,
        0.0,
        **model,
        step_size=0.1,
        max_steps=limit,
        tolerance=0.2,
        patience=4,
        watch=Watch(lambda theta, energy: sector(theta), share_changed),
    )
    np.testing.assert_array_equal(found.taken, expected)
