"""Dropout: its distribution, and a mask that does not depend on the devices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from wonn_jax.nn.dropout import Dropout
from wonn_jax.parallel import mesh as sharding
from wonn_jax.parallel.mesh import GRID, ROWS, MeshConfig
from wonn_jax.parallel.placement import ALONE, Placement

SHAPE = (8, 4, 3, 5)


def drop(x, seed: int = 0, rate: float = 0.4, placement: Placement = ALONE, **settings):
    module = Dropout(rate, placement, **settings)
    return module.apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


def test_elements_are_zero_or_scaled():
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (100, 50)), jnp.float32)
    out = drop(x)
    kept = out != 0
    np.testing.assert_allclose(out[kept], x[kept] / 0.6, rtol=1e-6)
    assert abs(kept.mean() - 0.6) < 0.02
    assert abs(out.mean() / x.mean() - 1) < 0.03


def test_mask_depends_on_key_and_row():
    x = jnp.ones((50, 40))
    masks = [np.asarray(drop(x, seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).mean() > 0.3
    assert len(np.unique(masks[0], axis=0)) == 50
    # A row keeps its mask, however many rows there are.
    np.testing.assert_array_equal(drop(x[:7]), masks[0][:7])


def test_layers_of_one_network_have_masks_of_their_own():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dropout(0.5)(x, train=True), Dropout(0.5)(x, train=True)

    first, second = Two().apply({}, jnp.ones((20, 20)), rngs={"dropout": jax.random.key(0)})
    assert (first != second).any()


def test_evaluation_and_rate_zero_leave_the_input_alone():
    x = jnp.ones(SHAPE)
    assert Dropout(0.4).apply({}, x, train=False) is x
    assert Dropout(0.0).apply({}, x, train=True) is x


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtype_stays(dtype):
    assert drop(jnp.ones(SHAPE, dtype)).dtype == dtype


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=r"rate=.* must be at least 0 and below 1"):
        Dropout(rate).apply({}, jnp.ones(3), train=True)


MESHES = [(2, 1, 1), (1, 1, 2), (2, 2, 1), (2, 1, 2), (1, 2, 2)]


def on_mesh(sizes, x, spec, **settings):
    """The result on a mesh of data × fsdp × grid devices, with its gradient."""
    count = int(np.prod(sizes))
    mesh = sharding.make_mesh(MeshConfig(*sizes), jax.devices()[:count])
    placement = sharding.placement(mesh)

    def loss(x):
        out = drop(x, placement=placement, **settings)
        return (out * out).sum(), out

    def each(x):
        (_, out), grad = jax.value_and_grad(loss, has_aux=True)(x)
        return out, grad

    return jax.jit(sharding.per_device(each, mesh, in_specs=spec, out_specs=spec))(x)


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_mask_does_not_depend_on_devices(sizes):
    x = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)
    same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
    same(on_mesh(sizes, x, P(ROWS, GRID)), on_mesh((1, 1, 1), x, P()))


@pytest.mark.parametrize("sizes", [(2, 1, 2), (1, 1, 4)], ids=str)
def test_mask_of_what_every_device_along_the_grid_holds(sizes):
    """Pooled features are whole, and stay the same on all these devices."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=(8, 6)), jnp.float32)
    out, _ = on_mesh(sizes, x, P(ROWS), whole=True)
    np.testing.assert_array_equal(out, drop(x))
