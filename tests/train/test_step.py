"""The training step: equal in any number of micro-batches, and blind to padding.

That it is equal on any mesh is tested in `test_mesh`.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wonn_jax import config as configuration
from wonn_jax.dist import mesh as sharding
from wonn_jax.models import build
from wonn_jax.tasks import TASKS
from wonn_jax.train import step
from wonn_jax.train.step import init_state, make_eval_step, make_train_step


def small_config(task: str = "maze", **changes):
    config = configuration.default_config()
    config.task = task
    side = 9 if task == "sudoku" else 5
    config.data.height = config.data.width = side
    config.model.width, config.model.heads, config.model.steps = 8, 2, (3,)
    config.model.layers = 2
    config.ema.after, config.ema.every = 0, 1
    with config.unlocked():
        for name, value in changes.items():
            group, _, field = name.partition("__")
            config[group][field] = value
    return configuration.freeze(config)


def random_batch(task: str, rows: int, *, padding: int = 0, side: int = 5):
    rng = np.random.default_rng(0)
    kind = TASKS[task]
    ids = np.arange(rows, dtype=np.int32)
    ids[rows - padding :] = -1
    shape = (rows, side, side)
    return {
        "input": rng.integers(0, kind.tokens, shape, np.int32),
        "target": rng.integers(0, len(kind.classes), shape, np.int32),
        "valid": rng.random(shape) < 0.9,
        "id": ids,
    }


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture
def quick_compilation(monkeypatch):
    """These programs run for milliseconds and would be compiled for ten seconds."""
    monkeypatch.setattr(step, "compiler_options", lambda: QUICK)


def start(model, task, optimizer, config, mesh):
    """The state before the first update, on all devices."""
    create = jax.jit(
        lambda: init_state(model, task, optimizer, config),
        out_shardings=sharding.replicated(mesh),
        compiler_options=QUICK,
    )
    return create()


def run_steps(config, batch, *, devices: int, steps: int = 3):
    """State and metrics after some steps of plain SGD, which hides no wrong scale."""
    mesh = sharding.make_mesh(devices=jax.devices()[:devices])
    task, model = build(config, sharding.placement(mesh))
    model = model.clone(dtype=jnp.float64)  # leaves rounding out of the comparison
    optimizer = optax.sgd(0.1)
    state = start(model, task, optimizer, config, mesh)
    update = make_train_step(model, task, optimizer, lambda _: 0.1, config, mesh)
    for _ in range(steps):
        state, metrics = update(state, sharding.put_batch(batch, mesh))
    evaluate = make_eval_step(model, task, config, mesh)
    counts, predictions = evaluate(state.variables("ema"), sharding.put_batch(batch, mesh))
    return jax.device_get((state, metrics, counts, predictions))


def assert_close(left, right, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), left, right)


@pytest.mark.usefixtures("quick_compilation")
def test_accumulation_is_device_independent_and_adds_up(x64):
    """Micro-batches are consecutive rows, whatever the devices; a linear loss adds up exactly."""
    config = small_config(train__accumulate=2)
    batch = random_batch("maze", 8)
    one, four = (run_steps(config, batch, devices=n) for n in (1, 4))
    assert_close(one, four)
    whole = run_steps(small_config(), batch, devices=1, steps=1)
    parts = run_steps(config, batch, devices=1, steps=1)
    # The only difference is BatchNorm, which sees half a batch at a time.
    assert_close(parts[1]["cells"], whole[1]["cells"])
    np.testing.assert_allclose(parts[1]["loss"], whole[1]["loss"], rtol=0.2)
    assert float(parts[1]["loss"]) != float(whole[1]["loss"])
    # The same micro-batch twice is the micro-batch.
    half = {name: x[:4] for name, x in batch.items()}
    twice = {name: np.concatenate([x, x]) for name, x in half.items()}
    once = run_steps(small_config(), half, devices=1)
    again = run_steps(config, twice, devices=1)
    assert_close(again[0].params, once[0].params)
    assert_close(again[1]["gradient_norm"], once[1]["gradient_norm"])


@pytest.mark.usefixtures("quick_compilation")
def test_padding_changes_nothing(x64):
    config = small_config()
    short = random_batch("maze", 5)
    long = random_batch("maze", 8, padding=3)
    long = {name: np.concatenate([short[name], long[name][5:]]) for name in long}
    long["id"][5:] = -1
    left = run_steps(config, short, devices=1)
    right = run_steps(config, long, devices=1)
    assert_close(left[:3], right[:3])
    np.testing.assert_array_equal(left[3], right[3][:5])


@pytest.mark.usefixtures("quick_compilation")
def test_compiles_once_and_donates():
    config = small_config()
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task, model = build(config)
    optimizer = optax.adam(1e-3)
    state = start(model, task, optimizer, config, mesh)
    update = make_train_step(model, task, optimizer, optax.constant_schedule(1e-3), config, mesh)
    batch = sharding.put_batch(random_batch("maze", 4), mesh)
    first = state
    for _ in range(3):
        state, _ = update(state, batch)
    assert update._cache_size() == 1
    assert first.params["frequency"].is_deleted()
    assert int(state.step) == 3


def one_step(config, *, dtype):
    """Parameters and metrics after one step of plain SGD with maps in `dtype`."""
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task, model = build(config)
    model = model.clone(dtype=dtype)
    optimizer = optax.sgd(0.1)
    state = start(model, task, optimizer, config, mesh)
    update = make_train_step(model, task, optimizer, lambda _: 0.1, config, mesh)
    state, metrics = update(state, sharding.put_batch(random_batch("maze", 4), mesh))
    return state.params, metrics


@pytest.mark.usefixtures("quick_compilation")
def test_recomputation_changes_memory_and_not_the_function(x64):
    """In float64: of float32, the rounding alone may switch a ReLU on or off."""
    whole = one_step(small_config(model__remat=0), dtype=jnp.float64)
    for remat, attention in ((1, "plain"), (1, "blockwise"), (2, "blockwise"), (5, "plain")):
        config = small_config(model__remat=remat, model__attention=attention)
        assert_close(one_step(config, dtype=jnp.float64), whole, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("quick_compilation")
def test_bfloat16_maps_stay_near_float32():
    _, single = one_step(small_config(), dtype=jnp.float32)
    params, half = one_step(small_config(), dtype=jnp.bfloat16)
    chex.assert_type(jax.tree.leaves(params), jnp.float32)
    np.testing.assert_allclose(half["loss"], single["loss"], rtol=0.02)
    assert float(half["loss"]) != float(single["loss"])


def test_memory_of_maze_training_stays_below_a_gigabyte():
    """C 128, T 24, 30×30, batch 8, by the compiler's own account."""
    config = configuration.default_config()
    config.train.batch_size = 8
    frozen = configuration.freeze(config)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    task, model = build(frozen)
    optimizer = optax.adam(1e-3)
    state = jax.eval_shape(lambda: init_state(model, task, optimizer, frozen))
    update = make_train_step(model, task, optimizer, optax.constant_schedule(1e-3), frozen, mesh)
    batch = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype)
        for name, x in random_batch("maze", 8, side=30).items()
    }
    memory = update.lower(state, batch).compile().memory_analysis()
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
    config = small_config()
    other = dataclasses.replace(config, seed=1)
    batch = random_batch("maze", 4)
    one = run_steps(config, batch, devices=1, steps=1)[1]["loss"]
    shuffled = {name: x[::-1].copy() for name, x in batch.items()}
    np.testing.assert_allclose(
        run_steps(config, shuffled, devices=1, steps=1)[1]["loss"], one, rtol=1e-5
    )
    assert float(run_steps(other, batch, devices=1, steps=1)[1]["loss"]) != float(one)
