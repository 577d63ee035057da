"""The dynamics against their formulas in NumPy's float64, over types, shapes and extreme values.

pytest tests/dynamics/test_properties.py --hypothesis-profile=campaign --hypothesis-seed=1
"""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.experimental import sparse

from wonn_jax.dynamics import (
    evolve,
    evolve_until,
    interaction_energy,
    order_parameter,
    symmetry_broken_kuramoto,
    winfree_mean_field,
    winfree_rate,
    winfree_step,
    wrap,
)

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
INTEGERS = (np.bool_, np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64)
SHAPES = ((), (0,), (1,), (2,), (5,), (2, 2), (3, 5), (0, 2), (2, 0), (2, 1, 3))


def numbers(dtype, limit: float) -> st.SearchStrategy:
    """Numbers of a type up to `limit`, in float64, that the type holds exactly."""
    if dtype == np.bool_:
        return st.booleans()
    if np.issubdtype(dtype, np.integer):
        bounds = np.iinfo(dtype)
        low, high = max(bounds.min, -int(limit)), min(bounds.max, int(limit))
        return st.integers(low, high)
    top = float(np.asarray(min(limit, float(ml_dtypes.finfo(dtype).max))).astype(dtype))
    width = 64 if dtype == np.float64 else 32
    plain = st.floats(-top, top, width=width, allow_subnormal=False)
    return plain.map(lambda x: float(np.asarray(x).astype(dtype)))


@st.composite
def arrays(draw, shapes=SHAPES, limit=1e4, dtypes=FLOATS + INTEGERS):
    """A NumPy array, a JAX array, nested lists or a Python number, and the same in float64."""
    dtype, shape = draw(st.sampled_from(dtypes)), draw(st.sampled_from(shapes))
    drawn = draw(hnp.arrays(np.float64, shape, elements=numbers(dtype, limit).map(float)))
    with np.errstate(invalid="ignore"):  # the largest integers are no numbers of float64
        typed = drawn.astype(dtype)
    wide = typed.astype(np.float64)
    kind = draw(st.sampled_from(("numpy", "jax", "python")))
    if kind == "jax":
        return jnp.asarray(typed), wide
    if kind == "python" and dtype not in (np.float16, ml_dtypes.bfloat16) and wide.size:
        return typed.tolist(), wide
    return typed, wide


def eps_of(result) -> float:
    return float(ml_dtypes.finfo(result.dtype).eps)


def expected_dtype(values) -> np.dtype:
    """Floating point stays, all else becomes float32 (x64 is off)."""
    found = getattr(values, "dtype", np.dtype(np.float64))
    narrow = found if found in [np.dtype(x) for x in FLOATS] else np.dtype(np.float32)
    return np.dtype(np.float32) if narrow == np.float64 else narrow


def circle_distance(a, b) -> np.ndarray:
    return np.abs(np.exp(1j * np.asarray(a, np.float64)) - np.exp(1j * np.asarray(b, np.float64)))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of float64 to float32
@given(arrays(limit=1e300))
def test_wrap_stays_in_range_for_any_number(pair):
    values, wide = pair
    reduced = wrap(values)
    assert reduced.dtype == expected_dtype(values) and reduced.shape == wide.shape
    pi, out = np.float32(np.pi), np.asarray(reduced, np.float32)
    inside, outside = np.abs(wide) < 3.40e38, np.abs(wide) > 3.41e38  # of what float32 can hold
    assert ((out > -pi) & (out <= pi))[inside].all() and np.isnan(out[outside]).all()


@given(arrays(limit=1e6))
def test_wrap_preserves_the_angle(pair):
    values, wide = pair
    reduced = wrap(values)
    bound = 2 * eps_of(reduced) * (np.abs(wide) * (eps_of(reduced) < 1e-4) + 4)
    bound += np.abs(wide) * float(np.finfo(np.float32).eps)
    assert (circle_distance(reduced, wide) <= bound).all()


@given(arrays(shapes=[s for s in SHAPES if s and s[-1]]))
def test_order_parameter_is_the_mean_on_the_circle(pair):
    values, wide = pair
    mean = order_parameter(values)
    assert mean.dtype == np.complex64
    bound = 1e-6 * (4 + np.abs(wide).max(initial=0))
    np.testing.assert_allclose(mean, np.exp(1j * wide).mean(-1), atol=bound)


def as_coupling(matrix: np.ndarray, kind: str):
    """A matrix in one of the forms that a coupling may have."""
    return {
        "numpy": lambda: matrix,
        "list": lambda: matrix.tolist(),
        "csr": lambda: scipy.sparse.csr_matrix(matrix),
        "coo": lambda: scipy.sparse.coo_array(matrix),
        "bcoo": lambda: sparse.BCOO.fromdense(jnp.asarray(matrix)),
        "bcsr": lambda: sparse.BCSR.fromdense(jnp.asarray(matrix)),
        "function": lambda: lambda x: jnp.asarray(matrix) @ x,
    }[kind]()


@st.composite
def systems(draw):
    """Phases, frequencies and step size of any type, a matrix, and all in float64."""
    shape = draw(st.sampled_from([s for s in SHAPES if s and s[-1]]))
    n, systems = shape[-1], shape[:-1]
    theta = draw(arrays(shapes=[shape], limit=8))
    omega = draw(arrays(shapes=[(), (n,), (*systems, n), (*systems, 1)], limit=4))
    step_size = draw(arrays(shapes=[()], limit=1))
    dtype = draw(st.sampled_from((np.float32, np.int32, np.bool_)))
    matrix = draw(hnp.arrays(np.float64, (n, n), elements=numbers(dtype, 3).map(float)))
    kind = draw(st.sampled_from(("numpy", "list", "csr", "coo", "bcoo", "bcsr", "function")))
    return theta, omega, step_size, matrix, as_coupling(matrix.astype(dtype), kind)


@given(systems(), st.floats(-2, 2, width=16), st.booleans())
def test_step_rate_and_energy_of_the_kuramoto_family(parts, q, compiled):
    (theta, wide), (omega, omega64), (step_size, step64), matrix, coupling = parts
    model = symmetry_broken_kuramoto(coupling, q)
    shifted, summed = wide[..., None, :] - wide[..., :, None], wide[..., None, :] + wide[..., None]
    rate64 = omega64 + (matrix * (np.sin(shifted) + q * np.sin(summed))).sum(-1)

    def run(theta):
        rate = winfree_rate(theta, omega, **model._asdict())
        return rate, *winfree_step(theta, omega, **model._asdict(), step_size=step_size)

    rate, moved, energy = jax.jit(run)(jnp.asarray(theta)) if compiled else run(theta)
    assert rate.dtype == moved.dtype == expected_dtype(theta) and moved.shape == wide.shape
    assert energy.dtype == np.float32 and energy.shape == wide.shape[:-1]
    tiny = 100 * eps_of(rate) * (1 + np.abs(matrix).sum()) * (1 + abs(q))
    np.testing.assert_allclose(np.asarray(rate, np.float64), rate64, atol=tiny)
    assert (circle_distance(moved, wide + step64 * rate64) <= tiny).all()
    emitted = np.stack([np.sin(wide), np.cos(wide)])
    weight = np.array([1 + q, 1 - q]).reshape(2, *[1] * wide.ndim)
    energy64 = -(emitted * weight * (emitted @ matrix.T)).sum((0, -1))
    np.testing.assert_allclose(energy, energy64, atol=tiny)
    alone = interaction_energy(theta, influence=model.influence, coupling=model.coupling)
    np.testing.assert_allclose(alone, energy64, atol=tiny)


@given(systems(), st.sampled_from(("sin", "pulse")), arrays(shapes=[()], limit=3))
def test_evolve_and_evolve_until_of_the_mean_field(parts, influence, strength):
    (theta, wide), (omega, omega64), (step_size, step64), *_ = parts
    value, value64 = strength
    pulse = influence == "pulse"  # booleans, as of oscillators that fire or do not
    model = winfree_mean_field(value, influence=(lambda x: jnp.cos(x) > 0) if pulse else jnp.sin)
    arguments = model._asdict() | {"step_size": step_size}

    def formula(theta):
        emitted = np.cos(theta) > 0 if pulse else np.sin(theta)
        return theta + step64 * (
            omega64 + value64 * np.cos(theta) * emitted.mean(-1, keepdims=True)
        )

    result = evolve(theta, omega, **arguments, steps=2, trajectory=True, energies=True)
    until = evolve_until(theta, omega, **arguments, max_steps=2, tolerance=-1.0)
    assert (np.asarray(until.taken) == 2).all()
    np.testing.assert_array_equal(until.theta, result.theta)
    assert result.theta.dtype == expected_dtype(theta)
    np.testing.assert_array_equal(result.trajectory[-1], result.theta)
    eps = eps_of(result.theta)
    first, second = (np.asarray(x, np.float64) for x in result.trajectory)
    near_the_edge = pulse and (np.abs(np.cos([wide, first])) < 1e3 * eps).any()
    if not near_the_edge:  # where rounding decides whether an oscillator fires
        tiny = 300 * eps
        assert (circle_distance(first, formula(wide)) <= tiny).all()
        assert (circle_distance(second, formula(first)) <= tiny).all()


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_systems_without_oscillators_or_without_members(shape, steps):
    model = symmetry_broken_kuramoto(np.ones(2 * shape[-1:]), 0.5)
    result = evolve(
        np.zeros(shape), 1, **model._asdict(), step_size=1, steps=steps, trajectory=True
    )
    assert result.theta.shape == shape and result.trajectory.shape == (steps, *shape)
