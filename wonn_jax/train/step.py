"""The compiled steps: one update of the parameters, and functions of variables and a batch.

Inside `per_device` every device sees its rows of the batch, and works on its cells of them. It
gathers whole parameters and takes them as its own (varying), so that their gradients stay local
through the scan over time and are added over devices once. The loss of a device is its share of
the loss: a local sum over a global count, and where several have the cells of the same examples,
that divided by their number. Then the sum of the gradients is the gradient of the global mean,
whatever the axes of the mesh.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from wonn_jax.common.rng import stream_key
from wonn_jax.parallel.mesh import (
    GRID,
    ROWS,
    add_counts,
    add_gradients,
    by_row,
    compiler_options,
    own_batch,
    own_parameters,
    per_device,
    platform_of,
    replicated,
    same_along_grid,
    shardings,
    whole_parameters,
)
from wonn_jax.tasks import Batch, Task
from wonn_jax.train.ema import EmaConfig, update_ema
from wonn_jax.train.methods import Method, StepKeys
from wonn_jax.train.state import TrainState, Variables


def make_train_step(
    method: Method,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    specs: TrainState,
    mesh: Mesh,
    *,
    seed: int,
    accumulate: int = 1,
    ema: EmaConfig | None = None,
) -> jax.stages.Wrapped:
    """The compiled training step `(state, batch) -> (state, metrics)`; it donates the state.

    The batch is split into `accumulate` micro-batches of consecutive rows, each with BatchNorm
    statistics of its own; their gradients add up to that of the whole batch.

    Args:
      method: with the network on the mesh.
      task: prepares the batch.
      optimizer: of the parameters.
      schedule: learning rate, for the metrics.
      specs: how the state is split, see `state_specs`.
      mesh: of all devices.
      seed: of all random draws.
      accumulate: number of micro-batches.
      ema: of the average; None for the default.
    """
    many = mesh.size > 1
    average = ema or EmaConfig()

    def gradients(params: Any, model_state: Any, carry: Any, step: Array, batch: Batch):
        """Gradients, collections, carry and counts; rows `[micro-batches, rows here, ...]`."""
        count, shares = jax.vmap(method.loss_count)(carry, batch).sum(), 1
        if many:
            batch, carry, count = own_batch(batch), own_batch(carry), jax.lax.psum(count, ROWS)
            shares = jax.lax.axis_size(GRID)
            params = own_parameters(params, specs.params)

        def loss(params: Any, model_state: Any, carry: Any, rows: Batch, part: Array | int):
            keys = StepKeys(seed, step, part)
            total, found = method.loss(params, model_state, carry, rows, keys)
            return total / (jnp.maximum(count, 1.0) * shares), found

        def add(sums, part):
            grads, model_state = sums
            (_, (model_state, carry, counts)), more = jax.value_and_grad(loss, has_aux=True)(
                params, model_state, *part
            )
            return (jax.tree.map(jnp.add, grads, more), model_state), (carry, counts)

        first = (jax.tree.map(jnp.zeros_like, params), model_state)
        if accumulate == 1:
            rows = jax.tree.map(lambda x: x[0], (carry, batch))
            (grads, model_state), (carry, counts) = add(first, (*rows, 0))
            carry = jax.tree.map(lambda x: x[None], carry)
        else:
            numbered = (carry, batch, jnp.arange(accumulate))
            (grads, model_state), (carry, counts) = jax.lax.scan(add, first, numbered)
            counts = jax.tree.map(lambda x: x.sum(0), counts)
        if many:
            grads, counts = add_gradients(grads, specs.params), add_counts(counts)
            carry = same_along_grid(carry)
        return grads, model_state, carry, counts

    parts = P(None, ROWS)
    compute = per_device(
        gradients,
        mesh,
        in_specs=(specs.params, P(), parts, P(), parts),
        out_specs=(specs.params, P(), parts, P()),
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        batch = task.prepare(batch, stream_key(seed, "augmentation", state.step))
        cut = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), (state.carry, batch))
        grads, model_state, carry, counts = compute(
            state.params, state.model_state, cut[0], state.step, cut[1]
        )
        carry = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), carry)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        current = {"params": params, **model_state}
        averaged = update_ema(state.ema, current, step, average)
        metrics = counts | {
            "gradient_norm": optax.tree.norm(grads),
            "parameter_norm": optax.tree.norm(params),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return TrainState(step, params, model_state, opt_state, averaged, carry), metrics

    placed = shardings(specs, mesh)
    return jax.jit(
        train_step,
        in_shardings=(placed, by_row(mesh)),
        out_shardings=(placed, replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler_options(platform_of(mesh)),
    )


def make_evaluation_step(
    function: Callable[[Variables, Batch], Any],
    task: Task,
    specs: Variables,
    mesh: Mesh,
    *,
    merge: Callable[[Any], Any] = same_along_grid,
    out_specs: Any = None,
    out_shardings: NamedSharding | Any = None,
) -> jax.stages.Wrapped:
    """The compiled step `(variables, batch) -> results` of a function of whole parameters.

    Args:
      function: of the variables, whole, and a device's rows of the prepared batch.
      task: prepares the batch.
      specs: how the variables are split, see `variables_specs`.
      mesh: of all devices.
      merge: what devices do with their results, inside `shard_map`; not called on a single one.
      out_specs: how the merged results are split; None by rows, as the batch.
      out_shardings: where they go; None to every device.
    """

    def run(variables: Variables, batch: Batch) -> Any:
        if mesh.size == 1:
            return function(variables, batch)
        params = whole_parameters(variables["params"], specs["params"])
        return merge(function({**variables, "params": params}, own_batch(batch)))

    split = P(ROWS) if out_specs is None else out_specs
    compute = per_device(run, mesh, in_specs=(specs, P(ROWS)), out_specs=split)
    return jax.jit(
        lambda variables, batch: compute(variables, task.prepare(batch)),
        in_shardings=(shardings(specs, mesh), by_row(mesh)),
        out_shardings=replicated(mesh) if out_shardings is None else out_shardings,
        compiler_options=compiler_options(platform_of(mesh)),
    )
