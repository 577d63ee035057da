"""The residual baseline: counts, shapes, padding, statistics, gradients."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import QUICK_OPTIONS

from wonn_jax.models.resnet import ResNet


def small(**changes) -> ResNet:
    return ResNet(**({"classes": 5, "width": 4, "blocks": (1, 2)} | changes))


def pictures(batch: int = 4, side: int = 16, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(batch, side, side, 3)).astype(dtype)


quick_jit = functools.partial(jax.jit, compiler_options=QUICK_OPTIONS)


@pytest.fixture(scope="module")
def variables():
    return quick_jit(small().init)(jax.random.key(0), pictures())


@pytest.mark.parametrize(("classes", "count"), [(10, 11_173_962), (100, 11_220_132)])
def test_parameter_counts_of_resnet_18(classes, count):
    model = ResNet(classes=classes)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == count


def block_norm(module, method: str) -> bool:
    return "_norm_2" in (module.name or "")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shapes_at_32(dtype):
    model = ResNet(classes=5, width=4, dtype=dtype)

    def run(images):
        key = jax.random.key(0)
        return model.init_with_output(key, images, capture_intermediates=block_norm)

    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    output, variables = jax.eval_shape(run, images)
    assert output.logits.shape == (2, 5) and output.logits.dtype == jnp.float32
    assert output.layers == ()
    for stage, (side, width) in enumerate([(32, 4), (16, 8), (8, 16), (4, 32)]):
        for block in range(2):
            (out,) = variables["intermediates"][f"stage_{stage}_block_{block}_norm_2"]["__call__"]
            assert out.shape == (2, side, side, width) and out.dtype == dtype


def test_stride_two_pads_the_first_row_and_column():
    """Where the side is even, padding that only keeps the size would be at the other end."""
    model = small(blocks=(0, 1))
    images = pictures(1, 6)
    variables = quick_jit(model.init)(jax.random.key(0), images)

    @quick_jit
    def run(images):
        return model.apply(variables, images, mutable=["intermediates"], capture_intermediates=True)

    _, seen = run(images)
    (stem,) = seen["intermediates"]["stem_norm"]["__call__"]
    (out,) = seen["intermediates"]["stage_1_block_0_conv_1"]["__call__"]
    kernel = variables["params"]["stage_1_block_0_conv_1"]["kernel"]
    corner = np.einsum("yxi,yxio->o", nn.relu(stem)[0, :2, :2], kernel[1:, 1:])
    assert out.shape == (1, 3, 3, 8)
    np.testing.assert_allclose(out[0, 0, 0], corner, rtol=1e-4, atol=1e-5)
    last = np.einsum("yxi,yxio->o", nn.relu(stem)[0, 3:, 3:], kernel)
    np.testing.assert_allclose(out[0, 2, 2], last, rtol=1e-4, atol=1e-5)


def test_statistics_move_in_training_only(variables):
    @functools.partial(quick_jit, static_argnames="train")
    def statistics(images, train):
        return small().apply(variables, images, train=train, mutable=["batch_stats"])[1]

    frozen, moved = (statistics(pictures(), train=train) for train in (False, True))
    before = variables["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, frozen.get("batch_stats", before), before)
    for norm, old in before.items():
        assert moved["batch_stats"][norm]["batches"] == 1
        for statistic in ("mean", "var"):
            new = moved["batch_stats"][norm][statistic]
            assert (np.asarray(new) != np.asarray(old[statistic])).all(), norm


def test_padding_is_unseen(variables):
    images, weight = pictures(), np.array([1, 1, 1, 0], np.float32)

    @quick_jit
    def run(images, weight=None):
        model = small()
        options = {"train": True, "mutable": ["batch_stats"]}
        return model.apply(variables, images, weight=weight, **options)

    padded, stats = run(images, weight)
    alone, expected = run(images[:3])
    np.testing.assert_allclose(padded.logits[:3], alone.logits, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), stats, expected)


def test_gradient_reaches_every_parameter(variables):
    target = jnp.arange(4) % 5

    @quick_jit
    @jax.grad
    def gradient(params):
        output, _ = small().apply(
            variables | {"params": params}, pictures(), train=True, mutable=["batch_stats"]
        )
        return -jax.nn.log_softmax(output.logits)[jnp.arange(4), target].mean()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


def test_weights_start_as_he_and_norms_at_one():
    params = quick_jit(small(width=32, blocks=(0, 1)).init)(jax.random.key(0), pictures())
    params = params["params"]
    kernel = params["stage_1_block_0_conv_1"]["kernel"]
    assert kernel.shape == (3, 3, 32, 64)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)  # fan out
    assert (params["stage_1_block_0_norm_2"]["scale"] == 1).all()
