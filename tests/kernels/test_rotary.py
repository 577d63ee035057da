"""Rotary codes against their definition, written as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rotations import turned

from wonn_jax.kernels.rotary import grid_positions, rotary_tables, rotate


# 6 leaves odd parts on two axes, 2 leaves nothing to turn on two or three, 14 is odd on three.
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("head_width", [2, 6, 8, 14, 32])
def test_rotation_is_the_definition(axes, head_width):
    rng = np.random.default_rng([axes, head_width])
    positions = rng.integers(0, 30, (7, axes))
    x = rng.normal(size=(7, 3, head_width)).astype(np.float32)
    result = rotate(jnp.asarray(x), rotary_tables(jnp.asarray(positions), head_width))
    np.testing.assert_allclose(result, turned(x, positions), atol=2e-5)


def test_nothing_turns_at_width_two_on_a_grid():
    x = np.random.default_rng(0).normal(size=(12, 3, 2)).astype(np.float32)
    tables = rotary_tables(jnp.asarray(grid_positions(3, 4)), 2)
    np.testing.assert_array_equal(rotate(jnp.asarray(x), tables), x)


def test_an_odd_part_turns_one_half_of_a_pair():
    """d = 6 on a grid: features 0, 1 follow the row, 3, 4 the column, 2 and 5 stand still."""
    tables = rotary_tables(jnp.asarray([[5, 7]]), 6)
    angles = np.array([5, 5, 0, 7, 7, 0])
    np.testing.assert_allclose(tables.cos[0], np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(tables.sin[0], np.sin(angles), atol=1e-6)


def test_one_axis_sees_differences_of_positions_only(x64):
    query, key = np.random.default_rng(1).normal(size=(2, 8))
    places = jnp.asarray([[3], [8], [103], [108], [3.25], [8.25]])
    tables = rotary_tables(places, 8, jnp.float64)
    at = [rotate(jnp.broadcast_to(jnp.asarray(x), (6, 1, 8)), tables)[:, 0] for x in (query, key)]
    product = at[0] @ at[1].T
    np.testing.assert_allclose(product[0, 1], product[2, 3], rtol=1e-12)
    np.testing.assert_allclose(product[0, 1], product[4, 5], rtol=1e-12)
    np.testing.assert_allclose(np.diag(product), query @ key, rtol=1e-12)
    assert abs(product[0, 1] - product[1, 0]) > 1e-3  # but it does tell before from after


def test_positions_may_differ_between_examples():
    rng = np.random.default_rng(2)
    positions = rng.integers(0, 9, (4, 5, 2))
    x = rng.normal(size=(4, 5, 2, 8)).astype(np.float32)
    together = rotate(jnp.asarray(x), rotary_tables(jnp.asarray(positions), 8))
    for row in range(4):
        np.testing.assert_allclose(together[row], turned(x[row], positions[row]), atol=1e-5)


def test_dtypes():
    """Angles are float32 whatever the tables: 1000 radians in bfloat16 would be noise."""
    tables = rotary_tables(jnp.asarray([[1000]]), 4, jnp.bfloat16)
    assert tables.cos.dtype == jnp.bfloat16
    np.testing.assert_allclose(tables.cos[0, :2].astype(np.float32), np.cos(1000.0), atol=4e-3)
    x = jnp.ones((1, 1, 4), jnp.bfloat16)
    assert rotate(x, rotary_tables(jnp.asarray([[1]]), 4)).dtype == jnp.bfloat16


def test_grid_positions_go_row_by_row():
    expected = [(row, column) for row in range(3) for column in range(2)]
    np.testing.assert_array_equal(grid_positions(3, 2), expected)


def test_odd_head_width():
    with pytest.raises(ValueError, match=r"in pairs, but a head is 5 wide; choose the width as"):
        jax.eval_shape(lambda p: rotary_tables(p, 5), jnp.zeros((3, 1)))
