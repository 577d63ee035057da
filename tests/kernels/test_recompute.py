"""A few examples at a time: the same values and gradients, and less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.kernels import recompute
from wonn_jax.kernels.recompute import chunk_size, map_examples, recomputed

SHAPE = (6, 5, 4)


def operands():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in (SHAPE, SHAPE, (4, 4))]


def results(wrap, x, y, weights):
    """Two outputs of each example, summed to a loss, and gradients; weights are closed over."""

    def loss(x, y, weights):
        first, second = wrap(lambda x, y: (jnp.sin(x @ weights) * y, y.sum(1)), x, y)
        return (first**2).sum() + (second**3).sum(), (first, second)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(x, y, weights)


@pytest.mark.parametrize("wrap", [map_examples, recomputed])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_same_as_the_whole_batch(wrap, size, monkeypatch):
    monkeypatch.setattr(recompute, "CHUNK_ELEMENTS", size * 20)
    assert chunk_size(6, 20) == size
    expected = results(lambda function, *x: function(*x), *operands())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        results(wrap, *operands()),
        expected,
    )


@pytest.mark.parametrize(
    ("batch", "size", "expected"),
    [(8, 2**17, 1), (8, 2**18, 1), (8, 2**15, 4), (7, 2**15, 1), (8, 1, 8), (1, 2**20, 1)],
)
def test_takes_a_divisor_of_the_batch(batch, size, expected):
    assert chunk_size(batch, size) == expected


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_takes_all_on_an_accelerator(platform):
    assert chunk_size(64, 2**20, platform) == 64
    x = jnp.zeros((4, 2**18))
    for function in (map_examples, recomputed):
        for name, loops in (("cpu", 1), (platform, 0)):
            jaxpr = str(jax.make_jaxpr(functools.partial(function, jnp.sin, platform=name))(x))
            assert jaxpr.count("scan[") == loops


def test_keeps_only_its_arguments():
    """Of a chain of products the arguments of the links; the whole would keep all in between."""

    def temporaries(wrap):
        def loss(x, weights):
            def link(x):
                for _ in range(8):
                    x = jnp.tanh(x @ weights)
                return x

            for _ in range(4):
                x = wrap(link, x)
            return x.sum()

        shapes = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((16, 256, 512), (512, 512)))
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    array = 4 * 16 * 256 * 512
    assert temporaries(recomputed) < 10 * array
    assert temporaries(lambda function, x: function(x)) > 30 * array
