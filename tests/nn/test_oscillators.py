"""One layer of oscillators: its steps from the parts, who hears of whom, what it records."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax import wrap
from wonn_jax.kernels.recompute import UNROLLED
from wonn_jax.kernels.rotary import grid_positions
from wonn_jax.nn.coupling import AttentionCoupling, ConvolutionCoupling
from wonn_jax.nn.interactions import LearnedSensitivity, PatchInfluence
from wonn_jax.nn.oscillators import OscillatorLayer, Until, per_layer
from wonn_jax.parallel.placement import Placement

WIDTH, HEIGHT, COLUMNS = 8, 5, 7


def layer(**changes) -> OscillatorLayer:
    fields = {"width": WIDTH, "steps": 2, "interaction": "trig", "heads": 2, "groups": 2}
    return OscillatorLayer(**(fields | changes))


def state(batch: int = 2, dtype=np.float32) -> tuple[np.ndarray, np.ndarray]:
    """θ of a whole turn and ω."""
    rng = np.random.default_rng(0)
    shape = (batch, HEIGHT, COLUMNS, WIDTH)
    return rng.uniform(-np.pi, np.pi, shape).astype(dtype), rng.normal(size=shape).astype(dtype)


def variables(module: OscillatorLayer, seed: int = 1):
    """Weights of which none is 0 or 1."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *state(1))
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(
        tree, [rng.normal(scale=0.5, size=leaf.shape).astype(np.float32) for leaf in leaves]
    )


def by_hand(module: OscillatorLayer, params, theta, omega):
    """One step and the energy before it, from the parts."""
    params = params.get("params", {})
    group = module.group
    sensitivity, influence = jnp.cos(theta), jnp.sin(theta)
    if module.interaction != "fixed":
        emit = PatchInfluence(group, module.interaction)
        influence = emit.apply({"params": params["influence"]}, theta)
    if module.interaction == "mlp":
        sensitivity = LearnedSensitivity().apply({"params": params["sensitivity"]}, theta)
    weights = {"params": params["coupling"]}
    if module.coupling == "convolution":
        couple = ConvolutionCoupling(WIDTH, module.kernel, groups=2)
        field = couple.apply(weights, influence)
    else:
        couple = AttentionCoupling(WIDTH, 2, groups=2)
        rows, columns = influence.shape[1:3]
        codes = couple.position_codes(jnp.asarray(grid_positions(rows, columns)))
        tokens = influence.reshape(len(theta), rows * columns, WIDTH)
        field = couple.apply(weights, tokens, codes).reshape(influence.shape)
    energy = -(influence * field).sum((1, 2, 3))
    rows, columns = np.arange(HEIGHT) // group, np.arange(COLUMNS) // group
    response = sensitivity * field[:, rows][:, :, columns]
    return wrap(theta + 0.1 * (omega + response)), energy


SETTINGS = [
    {"interaction": "fixed"},
    {"interaction": "trig", "group": 2},
    {"interaction": "mlp", "group": 4},
    {"interaction": "trig", "group": 1, "coupling": "convolution", "kernel": 5},
    {"interaction": "mlp", "group": 4, "coupling": "convolution"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_steps_and_energies_are_those_of_the_parts(settings):
    module = layer(**settings)
    params, (theta, omega) = variables(module), state()
    run = jax.jit(lambda *x: module.apply(params, *x, trajectory=True, energies=True))
    evolution = run(theta, omega)
    assert evolution.trajectory.shape == (2, *theta.shape) and evolution.energies.shape == (2, 2)
    np.testing.assert_array_equal(evolution.trajectory[-1], evolution.theta)
    step = jax.jit(lambda theta: by_hand(module, params, theta, omega))
    for after, energy in zip(evolution.trajectory, evolution.energies, strict=True):
        theta, expected = step(theta)
        np.testing.assert_allclose(wrap(after - theta), 0, atol=2e-5)
        np.testing.assert_allclose(energy, expected, rtol=1e-4, atol=1e-3)
        assert np.abs(expected).min() > 0.1
        theta = after


@pytest.mark.parametrize("coupling", ["attention", "convolution"])
@pytest.mark.parametrize("group", [2, 4])
def test_oscillators_of_a_patch_get_the_same_field(group, coupling, x64):
    module = layer(group=group, coupling=coupling, steps=1, dtype=jnp.float64)
    params, (theta, omega) = variables(module), state(dtype=np.float64)
    rate = wrap(module.apply(params, theta, omega).theta - theta) / 0.1
    field = np.asarray((rate - omega) / np.cos(theta))
    for row, column in np.ndindex(-(-HEIGHT // group), -(-COLUMNS // group)):
        cells = field[:, row * group : (row + 1) * group, column * group : (column + 1) * group]
        np.testing.assert_allclose(cells, np.broadcast_to(cells[:, :1, :1], cells.shape), atol=1e-8)
    assert field.std((1, 2)).max() > 0.05


def test_nothing_is_recorded_unasked():
    module = layer()
    evolution = jax.eval_shape(module.apply, variables(module), *state())
    assert evolution.trajectory is None and evolution.energies is None
    assert evolution.theta.shape == state()[0].shape


@pytest.mark.parametrize("elements", [2**17, 1])  # one chunk of all examples, or one of each
def test_each_example_stops_when_it_has_converged(monkeypatch, elements):
    monkeypatch.setattr("wonn_jax.kernels.recompute.CHUNK_ELEMENTS", elements)
    module = layer(steps=40)
    params, (theta, omega) = variables(module), state()
    whole = module.apply(params, theta, omega, trajectory=True, energies=True)
    change = np.abs(np.diff(whole.energies, axis=0) / whole.energies[1:])
    tolerance = 1.01 * np.max([c.min() for c in change.T])  # each example falls below it
    expected = (change <= tolerance).argmax(0) + 2
    found = module.apply(params, theta, omega, until=Until(40, tolerance, 1))
    np.testing.assert_array_equal(found.taken, expected)
    stopped = whole.trajectory[expected - 1, np.arange(len(theta))]
    np.testing.assert_allclose(found.theta, stopped, atol=1e-4)


@pytest.mark.parametrize("interaction", ["fixed", "mlp"])
def test_platform_reaches_every_kernel(interaction, monkeypatch):
    """Polynomials and single examples on a CPU; XLA's functions and whole batches on a TPU."""
    monkeypatch.setattr("wonn_jax.kernels.recompute.CHUNK_ELEMENTS", 1)

    def called(platform: str, steps: int = UNROLLED + 1) -> list[str]:
        module = layer(
            steps=steps,
            interaction=interaction,
            coupling="convolution",
            placement=Placement(platform=platform),
        )
        traced = jax.jit(module.apply).trace(variables(module), *state())
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        return re.findall(r"stablehlo\.(sine|cosine|while)\b", text)

    assert called("cpu") == ["while", "while"]  # over chunks of examples, over steps
    other = called("tpu")
    assert set(other) == {"sine", "cosine", "while"} and other.count("while") == 1
    assert set(called("tpu", UNROLLED)) == {"sine", "cosine"}  # a few steps are no loop
    assert called("cpu", UNROLLED) == ["while", "while"]


def test_step_size_scales_the_first_step():
    params, (theta, omega) = variables(layer()), state()
    small, large = (
        wrap(layer(steps=1, step_size=size).apply(params, theta, omega).theta - theta)
        for size in (0.01, 0.04)
    )
    np.testing.assert_allclose(4 * small, large, atol=1e-5)


@pytest.mark.parametrize(
    ("coupling", "changes"),
    [
        ("attention", [{"remat": 1}, {"remat": 2, "keep_attention": False}]),
        ("convolution", [{"remat": 2}]),
    ],
    ids=["attention", "convolution"],
)
def test_recomputing_changes_neither_values_nor_gradients(coupling, changes, x64):
    settings = {"coupling": coupling, "norm": "none", "steps": 3, "dtype": jnp.float64}
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables(layer(**settings)))
    theta, omega = state(1, np.float64)

    def results(**changes):
        module = layer(**settings, **changes)

        def loss(params, theta, omega):
            evolution = module.apply(params, theta, omega, energies=True)
            return jnp.sin(evolution.theta).sum() + evolution.energies.sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(params, theta, omega)

    stored = results(remat=0)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(stored))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
    for change in changes:
        jax.tree.map(close, results(**change), stored)


def changed_cells(**settings) -> np.ndarray:
    """`[H, W]`: whether a cell moves otherwise when the phase of cell (0, 0) is another."""
    module = layer(coupling="convolution", steps=1, **settings)
    theta, omega = state(batch=8)
    moved = theta.copy()
    moved[:, 0, 0] += 1
    run = jax.jit(lambda theta: module.apply(variables(module), theta, omega).theta)
    return np.asarray(run(theta) != run(moved)).any((0, 3))


@pytest.mark.parametrize(
    ("kernel", "group", "reach"), [(1, 1, 1), (3, 1, 2), (5, 1, 3), (3, 2, 4), (1, 2, 2)]
)
def test_convolution_reaches_the_patches_under_its_kernel(kernel, group, reach):
    expected = np.zeros((HEIGHT, COLUMNS), bool)
    expected[:reach, :reach] = True
    np.testing.assert_array_equal(changed_cells(norm="none", kernel=kernel, group=group), expected)


def test_a_norm_over_the_grid_carries_further_than_the_kernel():
    assert changed_cells(norm="group").all()


def test_kernel_side_is_that_of_the_convolution():
    for side in (3, 5):
        module = layer(coupling="convolution", kernel=side)
        kernel = variables(module)["params"]["coupling"]["conv"]["kernel"]
        assert kernel.shape == (side, side, WIDTH, WIDTH)


def test_parameters_are_those_of_the_learned_parts():
    names = {
        kind: set(variables(layer(interaction=kind))["params"]) for kind in ("fixed", "trig", "mlp")
    }
    assert names == {
        "fixed": {"coupling"},
        "trig": {"coupling", "influence"},
        "mlp": {"coupling", "influence", "sensitivity"},
    }


def test_bfloat16_maps_keep_phases_and_energies_in_float32():
    params, (theta, omega) = variables(layer()), state()
    runs = [
        layer(interaction="trig", dtype=dtype).apply(params, theta, omega, energies=True)
        for dtype in (jnp.bfloat16, jnp.float32)
    ]
    assert runs[0].theta.dtype == runs[0].energies.dtype == jnp.float32
    difference = np.abs(wrap(runs[0].theta - runs[1].theta))
    assert 0 < difference.max() < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interaction": "fixed", "group": 2}, "group=2 has no effect on the fixed influence"),
        ({"interaction": "cubic"}, "interaction='cubic' is unknown; use one of fixed, trig, mlp"),
        ({"coupling": "dense"}, "coupling='dense' is unknown; use one of attention, convolution"),
        ({"norm": "batch"}, "norm='batch' is unknown"),
        ({"coupling": "convolution", "norm": "batch"}, "norm='batch' is unknown"),
        ({"heads": 3}, "width=8 does not divide into 3 heads"),
    ],
)
def test_messages(settings, message):
    with pytest.raises(ValueError, match=message):
        variables(layer(**settings))


def test_per_layer():
    assert per_layer((3,), 4, "steps") == (3, 3, 3, 3)
    assert per_layer((1, 2), 2, "steps") == (1, 2)
    assert per_layer((5,), 1, "kernels") == (5,)
    for values in ((1, 2), ()):
        with pytest.raises(ValueError, match=r"kernels=\(.*\) has \d values for layers=3"):
            per_layer(values, 3, "kernels")
