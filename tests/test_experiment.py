"""Steps that are compiled once, and the messages about what does not fit."""

import jax
import jax.numpy as jnp
import pytest

from wonn_jax import config as configuration
from wonn_jax.experiment import CompiledStep, Experiment


def test_a_step_is_compiled_once_and_takes_one_shape():
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2 * x

    step = CompiledStep(jax.jit(double))
    assert step.seconds == 0
    step.compile(jax.ShapeDtypeStruct((3,), jnp.float32))
    seconds = step.seconds
    assert seconds > 0
    for _ in range(2):
        assert step(jnp.ones(3)).tolist() == [2, 2, 2]
    assert traced == [(3,)] and step.seconds == seconds
    with pytest.raises(TypeError, match=r"float32\[3\].*float32\[4\]"):
        step(jnp.ones(4))


def profiled(start: int, steps: int) -> configuration.Config:
    config = configuration.default_config()
    config.train.length = "20 steps"
    config.profile.start, config.profile.steps = start, steps
    return configuration.freeze(config)


def test_a_trace_beyond_the_run():
    Experiment(profiled(15, 5), 1000)
    Experiment(profiled(100, 0), 1000)  # none
    with pytest.raises(ValueError, match=r"up to step 23, but the run has 20; try .*start=15\."):
        Experiment(profiled(18, 5), 1000)
    with pytest.raises(ValueError, match=r"start=0 --config\.profile\.steps=20\."):
        Experiment(profiled(0, 30), 1000)


@pytest.mark.parametrize("field", ["profile.start", "profile.steps", "log.peak_flops"])
def test_negative_numbers(field):
    config = configuration.default_config()
    group, name = field.split(".")
    config[group][name] = -1
    with pytest.raises(ValueError, match=rf"config\.{field}=-1.* must be at least 0"):
        configuration.freeze(config)
