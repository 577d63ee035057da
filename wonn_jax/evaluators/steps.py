"""The network at inference, with the T of training or of `config.eval.steps`."""

import dataclasses
from typing import Any

from wonn_jax.models import Oscillatory
from wonn_jax.nn.oscillators import per_layer
from wonn_jax.train.experiment import Experiment
from wonn_jax.train.methods import Method


def steps_per_layer(experiment: Experiment) -> tuple[int, ...]:
    """T of each layer at inference: `eval.steps` if set, else that of training."""
    model, steps = oscillators(experiment), experiment.config.eval.steps
    return per_layer((steps,) if steps else model.steps, model.layers, "steps")


def oscillators(experiment: Experiment) -> Oscillatory:
    """The network, if it has oscillators; raises a ValueError otherwise."""
    if not isinstance(experiment.model, Oscillatory):
        raise ValueError(f"config.model.name={experiment.config.model.name!r} has no oscillators.")
    return experiment.model


def at_inference(experiment: Experiment) -> Method:
    """The method, with the T of inference."""
    if not experiment.config.eval.steps:
        return experiment.method
    model = oscillators(experiment).clone(steps=steps_per_layer(experiment))
    method: Any = experiment.method
    return dataclasses.replace(method, model=model)
