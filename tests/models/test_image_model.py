"""The network for pictures: counts, shapes, what it records, what its answers depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import QUICK_OPTIONS

from wonn_jax.common.rng import example_keys
from wonn_jax.models.image import KERNELS, ImageModel, layer_widths
from wonn_jax.nn.phases import initial_phases
from wonn_jax.nn.transitions import PhaseTransition


def small(**changes) -> ImageModel:
    fields = {"classes": 5, "width": 16, "layers": 2, "steps": (2,), "heads": 2}
    return ImageModel(**(fields | changes))


def inputs(model: ImageModel, height: int = 5, width: int = 6, batch: int = 3):
    """Pictures and initial phases."""
    images = np.random.default_rng(3).normal(size=(batch, height, width, 3)).astype(np.float32)
    keys = example_keys(jax.random.key(1), jnp.arange(batch))
    return images, initial_phases(keys, model.phase_shape(images.shape[1:]), scale=1.0)


def shapes_of(model: ImageModel, height: int = 5, width: int = 6, batch: int = 3, **options):
    """Shapes of what the model gives and of its variables, without running it."""
    images = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32)
    theta = jax.ShapeDtypeStruct((batch, *model.phase_shape((height, width, 3))), jnp.float32)

    def run(images, theta):
        return model.init_with_output(jax.random.key(0), images, theta, **options)

    return jax.eval_shape(run, images, theta)


def weights(model: ImageModel):
    """Variables of which none is 0 or 1 except for the statistics."""
    shapes = shapes_of(model)[1]
    rng = np.random.default_rng(5)

    def fill(path, leaf):
        noise = rng.normal(scale=0.3, size=leaf.shape).astype(np.float32)
        return jnp.asarray(1 + noise if path[-1].key == "scale" else noise)

    params = jax.tree_util.tree_map_with_path(fill, shapes["params"])
    statistics = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, path[-1].key == "var", leaf.dtype),
        shapes["batch_stats"],
    )
    return {"params": params, "batch_stats": statistics}


@pytest.fixture(scope="module")
def variables():
    return weights(small())


@pytest.fixture(scope="module")
def logits(variables):
    return answer(small(), variables, *inputs(small())).logits


def answer(model: ImageModel, variables, *args, **options):
    """What the compiled network gives."""

    def apply(variables, args):
        return model.apply(variables, *args, **options)

    return jax.jit(apply, compiler_options=QUICK_OPTIONS)(variables, args)


MLP = {"interaction": "mlp"}
NARROW = {"width": 64, "widening": True}
IMAGENET_100 = {"classes": 100, "width": 128, "patch": 7, "transition_bias": True}


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"classes": 10, "width": 128}, 2_984_970),
        ({"classes": 10, "width": 256, **MLP}, 12_021_258),
        ({"classes": 10, **NARROW, **MLP}, 7_535_626),
        ({"classes": 100, "width": 256, **MLP, "coupling": "convolution"}, 18_722_916),
        ({"classes": 100, "width": 256, "group": 1}, 11_794_020),
        ({"classes": 100, "width": 256, "layers": 1, **MLP}, 1_653_348),
        ({**IMAGENET_100, **MLP}, 3_104_868 + 640),
    ],
)
def test_parameter_counts_of_the_paper(fields, count):
    model = ImageModel(**({"layers": 6, "interaction": "trig", "group": 2} | fields))
    _, shapes = shapes_of(model, 28, 28, batch=1)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def test_counts_are_for_the_kernels_of_the_paper():
    assert KERNELS == (7, 5, 5, 3, 3, 3)


@pytest.mark.parametrize(
    ("fields", "size", "grid"),
    [
        ({}, (5, 6), (5, 6)),
        ({"group": 4}, (5, 6), (5, 6)),
        ({"patch": 3}, (14, 10), (4, 3)),
        ({"patch": 2, "group": 1, "coupling": "convolution"}, (9, 4), (4, 2)),
    ],
)
def test_shapes(fields, size, grid):
    model = small(**fields)
    assert model.phase_shape((*size, 3)) == (*grid, 16)
    output, _ = shapes_of(model, *size, trajectory=True, energies=True)
    assert output.logits.shape == (3, 5) and len(output.layers) == 2
    for evolution in output.layers:
        assert evolution.theta.shape == (3, *grid, 16)
        assert evolution.trajectory.shape == (2, 3, *grid, 16)
        assert evolution.energies.shape == (2, 3)


def test_nothing_is_recorded_unasked():
    output, _ = shapes_of(small())
    for evolution in output.layers:
        assert evolution.trajectory is None and evolution.energies is None


def test_widening_network():
    output, variables = shapes_of(small(width=4, layers=5, widening=True, heads=2))
    assert [x.theta.shape[-1] for x in output.layers] == [4, 8, 8, 16, 16]
    assert variables["params"]["logits"]["kernel"].shape == (16, 5)
    norms = [variables["params"][f"layer_{k}"]["coupling"]["norm"]["scale"] for k in range(5)]
    assert [x.size for x in norms] == [4, 8, 8, 16, 16]


def test_layer_widths():
    assert layer_widths(8, 3, False) == (8, 8, 8)
    assert layer_widths(8, 4, True) == (8, 16, 16, 32)
    assert layer_widths(8, 6, True) == (8, 16, 16, 32, 32, 32)
    with pytest.raises(ValueError, match="at least 4 layers.* not layers=3"):
        layer_widths(8, 3, True)


def test_steps_of_each_layer():
    model = small(steps=(1, 3))
    lengths = [len(x.energies) for x in shapes_of(model, energies=True)[0].layers]
    assert lengths == [1, 3]
    lengths = [len(x.energies) for x in shapes_of(model, energies=True, steps=4)[0].layers]
    assert lengths == [4, 4]


def test_kernels_of_each_layer():
    def sides(**changes) -> list[int]:
        model = small(coupling="convolution", **changes)
        params = shapes_of(model)[1]["params"]
        kernels = [params[f"layer_{k}"]["coupling"]["conv"]["kernel"] for k in range(model.layers)]
        assert all(kernel.shape[0] == kernel.shape[1] for kernel in kernels)
        return [kernel.shape[0] for kernel in kernels]

    assert sides() == [7, 5]  # the first of the paper's
    assert sides(kernels=(1, 3)) == [1, 3]
    assert sides(kernels=(5,)) == [5, 5]
    with pytest.raises(ValueError, match=r"kernels=\(5, 3\) has 2 values for layers=3"):
        sides(layers=3, kernels=(5, 3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": (1, 2, 3)}, r"steps=\(1, 2, 3\) has 3 values for layers=2"),
        ({"heads": 3}, "multiple of twice the number of heads"),
        ({"interaction": "fixed"}, "group=2 has no effect on the fixed influence"),
        ({"coupling": "dense"}, "coupling='dense' is unknown"),
        ({"norm": "batch"}, "norm='batch' is unknown"),
        ({"widening": True}, "at least 4 layers"),
    ],
)
def test_messages(fields, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(small(**fields))


def names_of(**fields) -> set[str]:
    params = shapes_of(small(**fields))[1]["params"]
    return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}


def test_parameters_that_come_and_go():
    plain = names_of()
    assert names_of(transition_bias=True) - plain == {"['phase_transition_1']['conv']['bias']"}
    assert plain - names_of(norm="none") == {
        f"['layer_{k}']['coupling']['norm']['{name}']" for k in (0, 1) for name in ("scale", "bias")
    }
    learned = {name for name in names_of(interaction="mlp") - plain}
    assert learned and all("['sensitivity']" in name for name in learned)
    assert names_of(interaction="fixed", group=1) == {n for n in plain if "influence" not in n}


@pytest.mark.parametrize("side", [1, 3])
def test_readout_side(side):
    readout = shapes_of(small(readout_side=side))[1]["params"]["readout"]
    assert readout["conv_1"]["kernel"].shape == (side, side, 16, 32)
    assert readout["conv_2"]["kernel"].shape == (1, 1, 32, 16)


@pytest.mark.parametrize(
    "changes", [{"heads": 4}, {"norm": "token"}, {"step_size": 0.2}, {"steps": (3,)}], ids=str
)
def test_settings_without_parameters_change_the_answer(changes, variables, logits):
    model = small(**changes)
    changed = answer(model, variables, *inputs(model)).logits
    assert np.abs(changed - logits).max() > 1e-4


def test_one_set_of_parameters_fits_any_picture(variables):
    images, theta = inputs(small(), 7, 4)
    together = answer(small(), variables, images, theta)
    assert together.layers[1].theta.shape == (3, 7, 4, 16)
    assert np.abs(together.layers[1].theta).max() <= np.float32(np.pi)
    alone = answer(small(), variables, images[1:2], theta[1:2])  # examples are independent
    np.testing.assert_allclose(together.logits[1:2], alone.logits, atol=1e-5)


def test_initial_phases_matter_modulo_a_turn(variables, logits):
    images, theta = inputs(small())
    run = jax.jit(small().apply, compiler_options=QUICK_OPTIONS)
    np.testing.assert_allclose(run(variables, images, theta + 2 * jnp.pi).logits, logits, atol=1e-4)
    assert np.abs(run(variables, images, 0 * theta).logits - logits).max() > 1e-3
    assert np.abs(run(variables, images + 1, theta).logits - logits).max() > 1e-3


def test_phases_enter_the_next_layer_by_the_transition(variables):
    """θ' = atan2 of one convolution of sin θ and cos θ, recorded after no steps at all."""
    first, second = answer(small(), variables, *inputs(small()), steps=0).layers
    kernel = variables["params"]["phase_transition_1"]["conv"]["kernel"]
    theta = np.asarray(first.theta, np.float64)
    np.testing.assert_allclose(theta, inputs(small())[1], atol=1e-6)
    padded = np.pad(theta, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    waves = []
    for wave in (np.sin, np.cos):
        cells = np.nan_to_num(wave(padded))
        waves.append(
            sum(
                cells[:, i : i + 5, j : j + 6] @ np.asarray(kernel[i, j], np.float64)
                for i in range(3)
                for j in range(3)
            )
        )
    turn = np.exp(1j * np.asarray(second.theta)) - np.exp(1j * np.arctan2(*waves))
    np.testing.assert_allclose(np.abs(turn), 0, atol=1e-4)


def test_padding_is_unseen_by_batch_norm(variables):
    images, theta = inputs(small())

    @functools.partial(jax.jit, compiler_options=QUICK_OPTIONS)
    def train(images, theta, weight):
        output, after = small().apply(
            variables, images, theta, weight=weight, train=True, mutable=["batch_stats"]
        )
        return output.logits, after["batch_stats"]

    expected, statistics = train(images[:2], theta[:2], jnp.ones(2))
    weight = jnp.array([1.0, 1.0, 0.0])
    for padding in (0, 100):
        filled = np.concatenate([images[:2], np.full_like(images[2:], padding)])
        result, after = train(filled, theta, weight)
        np.testing.assert_allclose(result[:2], expected, atol=1e-4)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), after, statistics
        )
    moved = jax.tree.map(lambda x, y: (x != y).any(), statistics, variables["batch_stats"])
    assert all(jax.tree.leaves(moved))
    assert np.abs(train(filled, theta, jnp.ones(3))[0][:2] - expected).max() > 1e-2


def test_bfloat16_maps_keep_phases_energies_and_logits_in_float32(variables, logits):
    model = small(dtype=jnp.bfloat16)
    output, shapes = shapes_of(model, trajectory=True, energies=True, train=True)
    for evolution in output.layers:
        assert {x.dtype for x in jax.tree.leaves(evolution)} == {np.dtype(np.float32)}
    assert output.logits.dtype == jnp.float32
    floats = [x.dtype for x in jax.tree.leaves(shapes) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floats) == {np.dtype(np.float32)}
    low = answer(model, variables, *inputs(model)).logits
    assert 0 < np.abs(low - logits).max() < 0.05


@pytest.mark.parametrize(
    ("fields", "train"),
    [
        ({"interaction": "trig", "transition_bias": True}, False),
        ({"interaction": "mlp", "coupling": "convolution", "kernels": (3,)}, True),
    ],
    ids=["trig", "mlp"],
)
def test_gradients_reach_every_parameter(fields, train):
    model = small(**fields)
    variables, batch = weights(model), inputs(model)

    @functools.partial(jax.jit, compiler_options=QUICK_OPTIONS)
    @jax.grad
    def gradient(params):
        given = {**variables, "params": params}
        output, _ = model.apply(given, *batch, train=train, mutable=["batch_stats"])
        return jnp.square(output.logits - 1).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        name = jax.tree_util.keystr(path)
        assert bool(jnp.isfinite(leaf).all()), name
        # A bias before a norm is taken away again by the statistics of the batch.
        if not (train and name == "['frequency_transition_1']['conv']['bias']"):
            assert float(jnp.abs(leaf).max()) > 1e-4, name


def test_phase_transition_of_nothing_has_a_finite_gradient():
    """u = v = 0 everywhere, where atan2 has no derivative."""
    theta = jnp.ones((1, 3, 3, 2))
    params = {"params": {"conv": {"kernel": jnp.zeros((3, 3, 2, 4))}}}
    module = PhaseTransition(2, 4, bias=False)
    grads = jax.grad(lambda *args: module.apply(*args).sum(), (0, 1))(params, theta)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
