"""Whole layers that the backward pass recomputes: the same gradients, of less that is stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import QUICK_OPTIONS

from wonn_jax.kernels.recompute import LARGE, recomputes_layers
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import ImageModel
from wonn_jax.parallel.placement import Placement

ELSEWHERE = Placement(platform="gpu")  # one program for the batch, which any platform can run


def image(**fields) -> ImageModel:
    common = {"width": 8, "heads": 2, "layers": 2, "steps": (2,), "remat": 1}
    return ImageModel(classes=3, interaction="mlp", placement=ELSEWHERE, **common | fields)


def grid(**fields) -> GridModel:
    common = {"width": 8, "heads": 2, "layers": 2, "steps": (2,), "remat": 1}
    fields = {"inject": "given", "placement": ELSEWHERE, **common, **fields}
    return GridModel(tokens=5, classes=5, **fields)


def example(model):
    """A batch of two, of a seed: inputs and initial phases."""
    if isinstance(model, ImageModel):
        inputs = jax.random.normal(jax.random.key(1), (2, 6, 6, 3))
    else:
        inputs = jax.random.randint(jax.random.key(1), (2, 4, 4), 0, 5)
    theta = model.initial_phases(jax.random.split(jax.random.key(2), 2), inputs.shape[1:])
    return inputs, theta


def differentiated(model):
    """The loss as a function of the parameters, these, and the state beside them."""
    batch = example(model)
    variables = jax.jit(model.init, compiler_options=QUICK_OPTIONS)(jax.random.key(0), *batch)
    state, params = {"batch_stats": variables["batch_stats"]}, variables["params"]

    def loss(params):
        output, new = model.apply({"params": params, **state}, *batch, train=True, mutable=[*state])
        return jnp.square(output.logits).sum(), new

    return loss, params


@pytest.mark.parametrize("make", [image, grid])
def test_same_gradients_and_statistics(make, x64):
    found = {}
    for choice in ("on", "off"):
        loss, params = differentiated(
            make(remat_layers=choice, attention="plain", dtype=jnp.float64)
        )
        gradient = jax.value_and_grad(loss, has_aux=True)
        found[choice] = jax.jit(gradient, compiler_options=QUICK_OPTIONS)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *found.values()
    )


@pytest.mark.parametrize("make", [image, grid])
def test_only_what_enters_a_layer_is_stored(make):
    """Each layer costs the phases of a step and an embedding less than its steps do."""

    def stored(choice: str, layers: int) -> int:
        model = make(remat_layers=choice, layers=layers, attention="plain", steps=(4,))
        loss, params = differentiated(model)
        pullback = jax.eval_shape(lambda p: jax.vjp(loss, p, has_aux=True)[1], params)
        return sum(x.size for x in jax.tree.leaves(pullback))

    _, theta = example(make())
    cells = theta.size  # of a state of the whole batch
    weights = sum(x.size for x in jax.tree.leaves(differentiated(make(layers=1))[1]))
    per_layer = {c: stored(c, 3) - stored(c, 2) for c in ("on", "off")}
    assert per_layer["on"] < 3 * cells + 5 * weights  # u, v, x, and copies of the weights
    assert per_layer["off"] > per_layer["on"] + 3 * cells


def test_layers_are_recomputed_if_they_are_large_but_not_on_a_cpu():
    theta = jax.ShapeDtypeStruct((128, 56, 56, 256), jnp.float32)
    small = jax.ShapeDtypeStruct((1, 28, 28, 128), jnp.float32)
    assert 18 * 4 * 128 * 56 * 56 * 256 > LARGE > 18 * 4 * 28 * 28 * 128
    assert recomputes_layers("auto", theta, 18, "gpu")
    assert recomputes_layers("auto", theta, 18, "tpu")
    assert not recomputes_layers("auto", small, 18, "gpu")
    assert not recomputes_layers("auto", theta, 18, "cpu")
    assert recomputes_layers("on", small, 1, "cpu")
    assert not recomputes_layers("off", theta, 18, "gpu")
