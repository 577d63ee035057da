"""The training step: equal in any number of micro-batches, and blind to padding.

That it is equal on any mesh is tested in `test_mesh`.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniatures import miniature
from runs import QUICK_OPTIONS

from wonn_jax.evaluators.accuracy import make_accuracy_step
from wonn_jax.parallel import mesh as sharding
from wonn_jax.train.card import Config
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.state import TrainState, init_state, state_specs
from wonn_jax.train.step import make_train_step


def small(**changes) -> Config:
    return miniature("maze", ema__after=0, ema__every=1, **changes)


def random_batch(rows: int, *, padding: int = 0, side: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = np.arange(rows, dtype=np.int32)
    ids[rows - padding :] = -1
    shape = (rows, side, side)
    return {
        "input": rng.integers(0, 4, shape, np.int32),
        "target": rng.integers(0, 5, shape, np.int32),
        "valid": rng.random(shape) < 0.9,
        "id": ids,
    }


class OneDtype(Experiment):
    """An experiment with the maps of its network in another dtype."""

    dtype: Any = jnp.float64

    @property
    def model(self):
        return super().model.clone(dtype=self.dtype)


def prepared(config: Config, devices: int, dtype: Any) -> tuple[Experiment, TrainState, Any]:
    """An experiment, its first state, and its step by plain SGD, which hides no wrong scale."""
    experiment = OneDtype(config, devices=jax.devices()[:devices])
    experiment.dtype = dtype
    optimizer = optax.sgd(0.1)

    def first() -> TrainState:
        rows = config.train.batch_size
        return init_state(experiment.alone, experiment.task, optimizer, config.seed, rows)

    specs = state_specs(jax.eval_shape(first), experiment.mesh)
    everywhere = sharding.shardings(specs, experiment.mesh)
    state = jax.jit(first, out_shardings=everywhere, compiler_options=QUICK_OPTIONS)()
    update = make_train_step(
        experiment.method,
        experiment.task,
        optimizer,
        lambda _: 0.1,
        specs,
        experiment.mesh,
        seed=config.seed,
        accumulate=config.train.accumulate,
        ema=config.ema,
    )
    return experiment, state, update


def run_steps(config: Config, batch, *, devices: int = 1, steps: int = 3):
    """State and metrics after some steps in float64, which leaves rounding out of the picture."""
    return evaluated_steps(config, batch, devices=devices, steps=steps, evaluate=False)[:2]


def evaluated_steps(config: Config, batch, *, devices: int = 1, steps=3, evaluate: bool = True):
    """The same, and counts and predictions of the average of the weights."""
    experiment, state, update = prepared(config, devices, jnp.float64)
    here = sharding.put_batch(batch, experiment.mesh)
    for _ in range(steps):
        state, metrics = update(state, here)
    found: Any = ()
    if evaluate:
        counts, predictions = make_accuracy_step(experiment)(state.variables("ema"), here)
        found = counts[0], predictions
    return jax.device_get((state, metrics, *found))


def assert_close(left, right, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), left, right)


@pytest.mark.usefixtures("quick_compilation")
def test_accumulation_is_device_independent_and_adds_up(x64):
    """Micro-batches are consecutive rows, whatever the devices; a linear loss adds up exactly."""
    config = small(train__accumulate=2)
    batch = random_batch(8)
    one, four = (evaluated_steps(config, batch, devices=n) for n in (1, 4))
    assert_close(one, four)
    whole = run_steps(small(), batch, steps=1)
    parts = run_steps(config, batch, steps=1)
    # The only difference is BatchNorm, which sees half a batch at a time.
    assert_close(parts[1]["cells"], whole[1]["cells"])
    np.testing.assert_allclose(parts[1]["loss"], whole[1]["loss"], rtol=0.2)
    assert float(parts[1]["loss"]) != float(whole[1]["loss"])
    # The same micro-batch twice is the micro-batch.
    half = {name: x[:4] for name, x in batch.items()}
    twice = {name: np.concatenate([x, x]) for name, x in half.items()}
    once = run_steps(small(), half)
    again = run_steps(config, twice)
    assert_close(again[0].params, once[0].params)
    assert_close(again[1]["gradient_norm"], once[1]["gradient_norm"])


@pytest.mark.usefixtures("quick_compilation")
def test_padding_changes_nothing(x64):
    config = small(model__layers=2)
    short = random_batch(5)
    long = random_batch(8, padding=3)
    long = {name: np.concatenate([short[name], long[name][5:]]) for name in long}
    long["id"][5:] = -1
    left = evaluated_steps(config, short)
    right = evaluated_steps(config, long)
    assert_close(left[:3], right[:3])
    np.testing.assert_array_equal(left[3], right[3][:5])


@pytest.mark.usefixtures("quick_compilation")
def test_compiles_once_and_donates():
    experiment, state, update = prepared(small(), 1, jnp.float32)
    batch = sharding.put_batch(random_batch(4), experiment.mesh)
    first = state
    for _ in range(3):
        state, _ = update(state, batch)
    assert update._cache_size() == 1
    assert first.params["frequency"].is_deleted()
    assert int(state.step) == 3


def one_step(config, *, dtype):
    """Parameters and metrics after one step with maps in `dtype`."""
    experiment, state, update = prepared(config, 1, dtype)
    state, metrics = update(state, sharding.put_batch(random_batch(4), experiment.mesh))
    return state.params, metrics


@pytest.mark.usefixtures("quick_compilation")
def test_recomputation_changes_memory_and_not_the_function(x64):
    """In float64: of float32, the rounding alone may switch a ReLU on or off."""
    whole = one_step(small(model__remat=0), dtype=jnp.float64)
    for remat, attention in ((1, "plain"), (1, "blockwise"), (2, "blockwise"), (5, "plain")):
        config = small(model__remat=remat, model__attention=attention)
        assert_close(one_step(config, dtype=jnp.float64), whole, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("quick_compilation")
def test_bfloat16_maps_stay_near_float32():
    _, single = one_step(small(), dtype=jnp.float32)
    params, half = one_step(small(), dtype=jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(params), jnp.float32)
    np.testing.assert_allclose(half["loss"], single["loss"], rtol=0.02)
    assert float(half["loss"]) != float(single["loss"])


def test_memory_of_maze_training_stays_below_a_gigabyte():
    """C 128, T 24, 30×30, batch 8, by the compiler's own account."""
    size = {"data__height": 30, "data__width": 30, "model__width": 128, "model__heads": 8}
    config = miniature("maze", **size, model__steps=(24,), train__batch_size=8)
    experiment = Experiment(config, 1000, devices=jax.devices()[:1])
    update, state = experiment.train_step, experiment.abstract_state()
    batch = experiment.task.abstract_batch(8)
    memory = update.compile(state, batch).memory_analysis()
    assert memory.temp_size_in_bytes < 2**30


def test_indivisible_batch_is_refused():
    mesh = sharding.make_mesh(devices=jax.devices())
    with pytest.raises(
        ValueError,
        match=r"train\.batch_size=6 cannot be split over 4 devices; .*"
        r"multiple of 4: --config\.train\.batch_size=4 or 8",
    ):
        sharding.check_divisible("train.batch_size", 6, mesh)
    with pytest.raises(ValueError, match="in 2 micro-batches; it must be a multiple of 8"):
        sharding.check_divisible("train.batch_size", 12, mesh, 2)


@pytest.mark.usefixtures("quick_compilation")
def test_phases_are_those_of_the_example_and_step():
    config = small()
    other = small(seed=1)
    batch = random_batch(4)
    one = run_steps(config, batch, steps=1)[1]["loss"]
    shuffled = {name: x[::-1].copy() for name, x in batch.items()}
    np.testing.assert_allclose(run_steps(config, shuffled, steps=1)[1]["loss"], one, rtol=1e-5)
    assert float(run_steps(other, batch, steps=1)[1]["loss"]) != float(one)
