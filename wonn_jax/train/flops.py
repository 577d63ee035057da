"""Floating-point operations of a network, counted in the program that JAX traces.

Matrix products and convolutions count, two operations for each multiply-add, loops as often as
they run; what is done cell by cell does not (nor does it in published utilisations). They are
the model's operations: attention as it is written down whatever the kernel, nothing twice
that the backward pass recomputes. A backward pass has two products for each one forward, with
respect to its input and to its weights, so that a training step is three forward passes.
"""

import math
from typing import Any

import jax
from jax.extend import core

from wonn_jax.tasks import Task
from wonn_jax.train.methods import Method
from wonn_jax.train.state import blank_batch, init_variables

TRAINING = 3
"""Operations of a training step in units of the forward pass."""


def forward_operations(method: Method, task: Task) -> int:
    """Floating-point operations of the forward pass of one example.

    Traces the network and computes nothing.

    Args:
      method: with a network on a single device, of kernels that can be counted (`plain`).
      task: of the examples.

    Raises:
      ValueError: see `count_operations`.
    """
    variables = jax.eval_shape(lambda: init_variables(method, task, 0))
    batch = jax.eval_shape(lambda: blank_batch(task, 1))

    def forward(variables: Any, batch: Any) -> jax.Array:
        return method.predict(variables, batch, jax.random.key(0)).logits

    return count_operations(jax.make_jaxpr(forward)(variables, batch))


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
