"""One training step and one evaluation step: loss, gradients, update, EMA.

Inside `per_device` every device sees its rows. Parameters are cast to varying there, so that
their gradients stay local through the scan over time and are added over devices once; the
loss is a local sum over a global count, which makes that sum the gradient of the global mean.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from wonn_jax.config import Config
from wonn_jax.ema import update_ema
from wonn_jax.models import GridModel
from wonn_jax.rng import example_keys, initial_phases, stream_key
from wonn_jax.sharding import DATA, axis_name, by_row, per_device, replicated
from wonn_jax.tasks import Batch, Task
from wonn_jax.tasks.base import row_weight


@flax.struct.dataclass
class TrainState:
    """All that changes in training. After k updates `step` is k, and the next batch number k."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any  # {'params': …, 'batch_stats': …}

    def variables(self, weights: str) -> dict[str, Any]:
        """What the model takes: 'raw' or 'ema'."""
        if weights == "ema":
            return self.ema
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_variables(model: GridModel, config: Config) -> dict[str, Any]:
    """Fresh parameters and statistics, a function of the seed alone."""
    tokens = jnp.zeros((1, config.data.height, config.data.width), jnp.int32)
    theta = jnp.zeros((*tokens.shape, config.model.width))
    single = model.clone(axis_name=None)
    return dict(single.init(stream_key(config.seed, "parameters"), tokens, theta))


def init_state(
    model: GridModel, optimizer: optax.GradientTransformation, config: Config
) -> TrainState:
    """The state before the first update."""
    variables = init_variables(model, config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        # A copy: the state is donated, and one buffer cannot be given away twice.
        ema=jax.tree.map(jnp.array, variables),
    )


def batch_phases(batch: Batch, key: Array, config: Config) -> Array:
    """θ_0 of a batch `[B, H, W, C]`, of each example by its number."""
    shape = (*batch["input"].shape[1:], config.model.width)
    return initial_phases(
        example_keys(key, batch["id"]),
        shape,
        kind=config.model.initial_phase,
        scale=config.model.phase_scale,
    )


def _total(tree: Any, axis: str | None) -> Any:
    return jax.lax.psum(tree, axis) if axis else tree


def make_train_step(
    model: GridModel,
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    config: Config,
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """The compiled training step `(state, batch) -> (state, metrics)`; it donates the state.

    The batch is split into `train.accumulate` micro-batches of consecutive rows, each with
    BatchNorm statistics of its own; their gradients add up to that of the whole batch.
    """
    axis = axis_name(mesh)
    parts = config.train.accumulate

    def gradients(params: Any, batch_stats: Any, step: Array, batch: Batch):
        """Gradients, statistics and counts; batch `[parts, rows of this device, ...]`."""
        count = _total(jax.vmap(task.loss_count)(batch).sum(), axis)
        key = stream_key(config.seed, "phases", step)
        if axis:
            params = jax.lax.pcast(params, axis, to="varying")

        def loss(params: Any, batch_stats: Any, rows: Batch):
            output: Any
            output, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                rows["input"],
                batch_phases(rows, key, config),
                weight=row_weight(rows),
                train=True,
                mutable=["batch_stats"],
            )
            share = task.loss_sum(output.logits, rows) / jnp.maximum(count, 1.0)
            return share, (updates["batch_stats"], task.board_counts(output.logits, rows))

        def add(carry, rows: Batch):
            grads, batch_stats = carry
            (_, (batch_stats, counts)), more = jax.value_and_grad(loss, has_aux=True)(
                params, batch_stats, rows
            )
            return (jax.tree.map(jnp.add, grads, more), batch_stats), counts

        first = (jax.tree.map(jnp.zeros_like, params), batch_stats)
        if parts == 1:
            (grads, batch_stats), counts = add(first, jax.tree.map(lambda x: x[0], batch))
        else:
            (grads, batch_stats), counts = jax.lax.scan(add, first, batch)
            counts = jax.tree.map(lambda x: x.sum(0), counts)
        return _total(grads, axis), batch_stats, _total(counts, axis)

    compute = per_device(
        gradients, mesh, in_specs=(P(), P(), P(), P(None, DATA)), out_specs=(P(), P(), P())
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        batch = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
        grads, batch_stats, counts = compute(state.params, state.batch_stats, state.step, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        current = {"params": params, "batch_stats": batch_stats}
        new = TrainState(
            step, params, batch_stats, opt_state, update_ema(state.ema, current, step, config.ema)
        )
        metrics = counts | {
            "gradient_norm": optax.tree.norm(grads),
            "parameter_norm": optax.tree.norm(params),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return new, metrics

    everywhere = replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, by_row(mesh)),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def make_eval_step(model: GridModel, task: Task, config: Config, mesh: Mesh) -> jax.stages.Wrapped:
    """The compiled evaluation step `(variables, batch) -> (counts, predictions [B, H, W])`.

    The phases of an example depend on the seed and its number alone: every evaluation, with
    whatever batch size, sees the same draw.
    """
    axis = axis_name(mesh)

    def evaluate(variables: dict[str, Any], batch: Batch):
        key = stream_key(config.seed, "evaluation phases")
        theta = batch_phases(batch, key, config)
        output: Any = model.apply(variables, batch["input"], theta)
        counts = task.counts(output.logits, batch)
        return _total(counts, axis), output.logits.argmax(-1)

    compute = per_device(evaluate, mesh, in_specs=(P(), P(DATA)), out_specs=(P(), P(DATA)))
    everywhere = replicated(mesh)
    return jax.jit(
        compute,
        in_shardings=(everywhere, by_row(mesh)),
        out_shardings=(everywhere, by_row(mesh)),
    )
