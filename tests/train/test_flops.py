"""Operations counted from the trace, against what a person counts with a pencil."""

import jax
import jax.numpy as jnp
import pytest
from cards import card, changed
from jax import lax
from jax.interpreters import partial_eval
from miniatures import miniature

from wonn_jax.kernels.cpu.convolution import convolve
from wonn_jax.train.card import freeze
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.flops import TRAINING, count_operations, forward_operations
from wonn_jax.train.state import blank_batch


def count(function, *shapes) -> int:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_operations(jax.make_jaxpr(function)(*arguments))


def test_matrix_products():
    assert count(jnp.matmul, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert count(lambda x: 2 * x + jnp.sin(x), (3, 5)) == 0  # cell by cell
    heads = count(lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k), (2, 9, 4, 6), (2, 11, 4, 6))
    assert heads == 2 * 2 * 4 * 9 * 11 * 6


def conv(stride: int, padding, groups: int = 1):
    return lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def test_convolutions():
    """The whole kernel at every output, those on the padding too."""
    assert count(conv(1, "SAME"), (2, 8, 6, 3), (3, 3, 3, 5)) == 2 * (2 * 8 * 6 * 5) * (9 * 3)
    assert count(conv(2, "SAME"), (1, 8, 6, 3), (3, 3, 3, 5)) == 2 * (4 * 3 * 5) * (9 * 3)
    assert count(conv(2, "VALID"), (1, 8, 6, 3), (2, 2, 3, 5)) == 2 * (4 * 3 * 5) * (4 * 3)
    assert count(conv(1, "SAME", 3), (1, 8, 6, 6), (3, 3, 2, 9)) == 2 * (8 * 6 * 9) * (9 * 2)
    ours = count(lambda x, k: convolve(x, k, (1, 1), "SAME"), (2, 8, 6, 3), (3, 3, 3, 5))
    assert ours == count(conv(1, "SAME"), (2, 8, 6, 3), (3, 3, 3, 5))


def test_loops_count_as_often_as_they_run():
    square = 2 * 4**3

    def scanned(x):
        inner = jax.jit(lambda x: x @ x)
        body = jax.checkpoint(lambda x, _: lax.scan(lambda y, _: (inner(y), None), x, None, 3)[0])
        return lax.scan(lambda x, _: (body(x, _), None), x, None, length=5)[0]

    assert count(scanned, (4, 4)) == 15 * square
    assert count(lambda x: lax.fori_loop(1, 8, lambda _, y: y @ x, x), (4, 4)) == 7 * square
    assert count(lambda x: lax.map(lambda y: y @ y, x), (6, 4, 4)) == 6 * square


def test_the_costliest_branch_counts():
    def branches(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert count(branches, (4, 4)) == 2 * 2 * 4**3


def test_what_cannot_be_counted_is_refused():
    def until(x, product: bool):
        return lax.while_loop(lambda y: y[0, 0] < 9, lambda y: y @ y if product else 2 * y, x)

    assert count(lambda x: until(x, False), (4, 4)) == 0
    with pytest.raises(ValueError, match="does not tell how often.*use lax.scan"):
        count(lambda x: until(x, True), (4, 4))

    from jax.experimental import pallas as pl

    def kernel(x, out):
        out[...] = x[...] @ x[...]

    call = pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct((8, 8), jnp.float32))
    with pytest.raises(ValueError, match="Pallas kernel cannot be counted"):
        count(call, (8, 8))


SMALL = {"model__width": 16, "model__heads": 2, "model__layers": 2}


def maze(**changes):
    board = {"data__height": 6, "data__width": 5, "model__steps": (2, 5)}
    return miniature("maze", **board, **SMALL, **changes)


def test_a_network_for_boards_by_hand():
    n, c, classes = 30, 16, 5  # cells, channels
    step = 2 * n * c * 3 * c  # query, key and value
    step += 2 * (2 * n * n * c)  # their products, and with the values
    step += 2 * n * c * c  # the map after them
    frequency = 2 * n * (9 * 2 * c) * c  # 3×3, phases and frequencies
    phase = 2 * (2 * n * (9 * c) * c)  # 3×3, once of the cos and once of the sin
    readout = 2 * n * c * (2 * c) + 2 * n * (9 * 2 * c) * c  # 1×1, 3×3
    experiment = Experiment(maze())
    assert experiment.task.examples.classes == classes
    head = 2 * n * c * classes
    counted = forward_operations(experiment.alone, experiment.task)
    assert counted == experiment.forward_flops
    assert counted == (2 + 5) * step + frequency + phase + readout + head


def test_kernel_and_recomputation_do_not_count():
    """They change what a device does, not what the model is."""
    counts = set()
    for changes in ({}, {"model__attention": "plain"}, {"model__remat": 0}, {"model__remat": 3}):
        counts.add(Experiment(maze(**changes)).forward_flops)
    assert len(counts) == 1


@pytest.mark.parametrize("task", ["maze", "image"])
def test_a_training_step_is_three_forward_passes(task):
    """But for the input of the first layers, with respect to which nobody differentiates."""
    size = {"data__image_size": 8} if task == "image" else {"data__height": 6, "data__width": 6}
    plain = {"model__remat": 0, "model__attention": "plain"}
    experiment = Experiment(miniature(task, **size, **SMALL, **plain))
    model = experiment.alone.model
    inputs = jax.eval_shape(lambda: blank_batch(experiment.task, 1))["input"]
    variables = experiment.abstract_variables

    def loss(params, stats, inputs):
        theta = jnp.zeros((1, *model.phase_shape(inputs.shape[1:])))
        return model.apply({"params": params, "batch_stats": stats}, inputs, theta).logits.sum()

    traced = jax.make_jaxpr(jax.grad(loss))(variables["params"], variables["batch_stats"], inputs)
    # Without the values of functions of which only the derivative is used.
    used, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.out_avals))
    forward = forward_operations(experiment.alone, experiment.task)
    assert 0.9 * TRAINING * forward < count_operations(used) <= TRAINING * forward


def test_residual_network():
    """He et al. count 0.56 G multiply-adds for the CIFAR form of ResNet-18."""
    config = freeze(changed(card("cifar10", "resnet18"), model__precision="float32"))
    operations = Experiment(config).forward_flops
    assert operations == pytest.approx(2 * 0.56e9, rel=0.01)
