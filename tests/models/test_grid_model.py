"""The network for boards: counts, shapes, what it records, what its answers depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import QUICK_OPTIONS

from wonn_jax import interaction_energy
from wonn_jax.common.rng import example_keys
from wonn_jax.kernels.rotary import grid_positions
from wonn_jax.models import GridModel
from wonn_jax.nn.coupling import AttentionCoupling, norm_groups
from wonn_jax.nn.phases import initial_phases


def small(**changes) -> GridModel:
    fields = {"tokens": 4, "classes": 5, "width": 8, "layers": 2, "steps": (3,), "heads": 2}
    return GridModel(**(fields | changes))


def tokens_of(height: int, width: int, batch: int = 2) -> jax.Array:
    return jax.random.randint(jax.random.key(9), (batch, height, width), 0, 4)


def phases_of(tokens: jax.Array, width: int = 8, **kind) -> jax.Array:
    keys = example_keys(jax.random.key(1), jnp.arange(len(tokens)))
    return initial_phases(keys, (*tokens.shape[1:], width), **kind)


def answer(model: GridModel, variables, *args, **options):
    """What the compiled network gives."""

    def apply(variables, args):
        return model.apply(variables, *args, **options)

    return jax.jit(apply, compiler_options=QUICK_OPTIONS)(variables, args)


@pytest.fixture(scope="module")
def variables():
    tokens = tokens_of(3, 3)
    init = jax.jit(small().init, compiler_options=QUICK_OPTIONS)
    return init(jax.random.key(0), tokens, phases_of(tokens))


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"tokens": 4, "classes": 5, "width": 128, "layers": 1}, 396_293),
        ({"tokens": 10, "classes": 9, "width": 256, "layers": 1}, 1_581_577),
    ],
)
def test_parameter_counts_of_the_paper(fields, count):
    model = small(**fields, heads=8)
    board = jax.ShapeDtypeStruct((1, 9, 9), jnp.int32)
    theta = jax.ShapeDtypeStruct((1, 9, 9, fields["width"]), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), board, theta)
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 7), (1, 9)])
def test_one_set_of_parameters_fits_any_board(variables, shape):
    tokens = tokens_of(*shape)
    output = answer(small(), variables, tokens, phases_of(tokens), trajectory=True, energies=True)
    assert output.logits.shape == (2, *shape, 5)
    assert len(output.layers) == 2
    for layer in output.layers:
        assert layer.trajectory.shape == (3, 2, *shape, 8) and layer.energies.shape == (3, 2)
        np.testing.assert_array_equal(layer.trajectory[-1], layer.theta)
        assert bool((jnp.abs(layer.theta) <= jnp.pi).all())


def test_nothing_is_recorded_unasked(variables):
    tokens = tokens_of(3, 4)
    output = jax.eval_shape(small().apply, variables, tokens, phases_of(tokens))
    for layer in output.layers:
        assert layer.trajectory is None and layer.energies is None


def test_examples_do_not_see_each_other(variables):
    tokens = tokens_of(4, 5, batch=3)
    theta = phases_of(tokens)
    together = answer(small(), variables, tokens, theta, energies=True)
    alone = answer(small(), variables, tokens[1:2], theta[1:2], energies=True)
    np.testing.assert_allclose(together.logits[1:2], alone.logits, atol=1e-5)
    np.testing.assert_allclose(
        together.layers[1].energies[:, 1:2], alone.layers[1].energies, rtol=1e-4, atol=1e-3
    )


def test_initial_phases_matter_modulo_a_turn(variables):
    tokens = tokens_of(3, 3)
    theta = phases_of(tokens)
    answers = {
        kind: answer(small(), variables, tokens, x).logits
        for kind, x in {
            "noise": theta,
            "turned": theta + 2 * jnp.pi,
            "zeros": phases_of(tokens, kind="zeros"),
        }.items()
    }
    np.testing.assert_allclose(answers["turned"], answers["noise"], atol=1e-4)
    assert float(jnp.abs(answers["zeros"] - answers["noise"]).max()) > 1e-3
    assert not phases_of(tokens, kind="zeros").any()


def test_more_steps_at_inference_go_on_from_the_same_trajectory(variables):
    tokens = tokens_of(3, 3)
    theta = phases_of(tokens)
    model = small()
    short = answer(model, variables, tokens, theta, trajectory=True).layers[0]
    long = answer(model, variables, tokens, theta, steps=5, trajectory=True).layers[0]
    np.testing.assert_allclose(long.trajectory[:3], short.trajectory, atol=1e-6)
    assert long.trajectory.shape[0] == 5


def test_first_energy_is_that_of_the_initial_phases(variables):
    """−Σ sin θ ⊙ field, by the public function on the bound coupling."""
    model = small(layers=1)
    tokens = tokens_of(3, 4)
    theta = phases_of(tokens)
    params = {
        "params": {k: v for k, v in variables["params"].items() if "_1" not in k},
        "batch_stats": {k: v for k, v in variables["batch_stats"].items() if k == "readout"},
    }
    recorded = answer(model, params, tokens, theta, energies=True).layers[0].energies[0]

    coupling = AttentionCoupling(8, 2, groups=norm_groups(8))
    codes = coupling.position_codes(jnp.asarray(grid_positions(3, 4)))
    expected = interaction_energy(
        theta.reshape(2, 12, 8),
        influence=jnp.sin,
        coupling=lambda x: coupling.apply(
            {"params": variables["params"]["layer_0"]["coupling"]}, x, codes
        ),
        event_ndim=2,
    )
    np.testing.assert_allclose(recorded, expected, rtol=1e-3)


def test_given_cells_are_injected_again_or_all(variables):
    tokens = tokens_of(3, 3)
    theta = phases_of(tokens)

    def logits(**changes):
        given = changes.pop("given", None)
        run = answer(small(**changes), variables, tokens, theta, given=given)
        return run.logits

    everywhere = logits()
    np.testing.assert_allclose(
        logits(inject="given", given=jnp.ones(tokens.shape, bool)), everywhere, atol=1e-6
    )
    assert float(jnp.abs(logits(inject="given") - everywhere).max()) > 1e-3
    np.testing.assert_allclose(
        logits(inject="given"), logits(inject="given", given=tokens > 0), atol=1e-6
    )


def test_bfloat16_maps_keep_phases_and_energies_in_float32(variables):
    tokens = tokens_of(3, 3)
    output = answer(
        small(dtype=jnp.bfloat16),
        variables,
        tokens,
        phases_of(tokens),
        trajectory=True,
        energies=True,
    )
    for layer in output.layers:
        assert layer.trajectory.dtype == layer.energies.dtype == jnp.float32
    assert output.logits.dtype == jnp.float32
    exact = answer(small(), variables, tokens, phases_of(tokens)).logits
    np.testing.assert_allclose(output.logits, exact, atol=0.1)


def test_training_moves_the_statistics_and_evaluation_does_not(variables):
    tokens = tokens_of(3, 3)
    theta = phases_of(tokens)
    _, updates = answer(small(), variables, tokens, theta, train=True, mutable=["batch_stats"])
    moved = jax.tree.map(
        lambda x, y: bool((x != y).any()), updates["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    with pytest.raises(Exception, match="batch_stats"):  # immutable unless asked for
        answer(small(), variables, tokens, theta, train=True)


def test_gradients_reach_every_parameter(variables):
    tokens = tokens_of(3, 3)

    def loss(params):
        output, _ = small().apply(
            {**variables, "params": params},
            tokens,
            phases_of(tokens),
            train=True,
            mutable=["batch_stats"],
        )
        return jnp.square(output.logits).sum()

    grads = jax.jit(jax.grad(loss), compiler_options=QUICK_OPTIONS)(variables["params"])
    silent = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not bool(jnp.isfinite(g).all()) or float(jnp.abs(g).max()) == 0.0
    ]
    assert not silent
