"""Floating-point operations of a model: those of its products, from what JAX traced.

Matrix products and convolutions count, two operations for each multiply-add, loops as often as
they run; what is done cell by cell does not (nor does it in published utilisations). They are
the model's operations: attention as it is written down whatever the kernel, nothing twice
that the backward pass recomputes. A backward pass has two products for each one forward, with
respect to its input and to its weights, so that a training step is three forward passes.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from wonn_jax.config import Config
from wonn_jax.dist.grid import ALONE
from wonn_jax.models import Model
from wonn_jax.tasks import Task
from wonn_jax.train.step import init_variables

TRAINING = 3
"""Operations of a training step in units of the forward pass."""


def forward_operations(model: Model, task: Task, config: Config) -> int:
    """Floating-point operations of the forward pass of one example.

    Traces the model and computes nothing.

    Raises:
      ValueError: see `count_operations`.
    """
    model = model.clone(placement=ALONE)
    if config.model.name == "winfree":
        # Kernels differ in what they recompute, and some are opaque.
        model = model.clone(attention="plain", remat=0)
    inputs = jax.eval_shape(lambda: task.prepare(_zeros(task.abstract_batch(config, 1))))["input"]
    theta = jax.ShapeDtypeStruct((1, *model.phase_shape(inputs.shape[1:])), jnp.float32)
    variables = jax.eval_shape(lambda: init_variables(model, task, config))

    def forward(variables: Any, inputs: jax.Array, theta: jax.Array) -> jax.Array:
        return model.apply(variables, inputs, theta).logits

    return count_operations(jax.make_jaxpr(forward)(variables, inputs, theta))


def count_operations(jaxpr: core.ClosedJaxpr | core.Jaxpr) -> int:
    """Floating-point operations of the products in a traced function, two per multiply-add.

    A convolution counts its whole kernel at every output, on the padding beyond the edges and
    between dilated inputs too. Of the branches of a `cond` the costliest counts.

    Raises:
      ValueError: products whose number the trace does not tell: in a `while` loop, or inside a
        Pallas kernel.
    """
    return sum(_operations(equation) for equation in jaxpr.eqns)


def _operations(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left: Any = equation.invars[0].aval
        return 2 * _size(equation.outvars[0]) * math.prod(left.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel: Any = equation.invars[1].aval
        channels = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2 * _size(equation.outvars[0]) * (math.prod(kernel.shape) // channels)
    if name == "pallas_call":
        raise ValueError(
            "operations of a Pallas kernel cannot be counted; trace the function with the plain "
            "implementation instead."
        )
    inner = [count_operations(body) for body in core.jaxprs_in_params(params)]
    if name == "while" and any(inner):
        raise ValueError(
            "a `while` loop with products in it does not tell how often it runs; use lax.scan, or "
            "lax.fori_loop with bounds known when it is traced."
        )
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _size(variable: core.Var) -> int:
    shape: Any = variable.aval
    return math.prod(shape.shape)


def _zeros(shapes: dict[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    return {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
