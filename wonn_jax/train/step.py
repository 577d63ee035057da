"""One training step and one evaluation step: loss, gradients, update, EMA.

Inside `per_device` every device sees its rows of the batch, and works on its cells of them. It
gathers whole parameters and takes them as its own (varying), so that their gradients stay local
through the scan over time and are added over devices once. The loss of a device is its share of
the loss: a local sum over a global count, and where several have the cells of the same examples,
that divided by their number. Then the sum of the gradients is the gradient of the global mean,
whatever the axes of the mesh.
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
from wonn_jax.dist.placement import ALONE
from wonn_jax.dist.mesh import (
    GRID,
    ROWS,
    add_counts,
    add_gradients,
    by_row,
    compiler_options,
    own_batch,
    own_parameters,
    parameter_specs,
    per_device,
    platform_of,
    replicated,
    shardings,
    whole_parameters,
)
from wonn_jax.models import Model
from wonn_jax.nn.phases import initial_phases
from wonn_jax.rng import example_keys, stream_key
from wonn_jax.tasks import Batch, Task
from wonn_jax.tasks.base import row_weight
from wonn_jax.train.ema import update_ema


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


def init_variables(model: Model, task: Task, config: Config) -> dict[str, Any]:
    """Fresh parameters and statistics, a function of the seed alone."""
    shapes = task.abstract_batch(config, 1)
    example = task.prepare({name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()})
    theta = jnp.zeros((1, *model.phase_shape(example["input"].shape[1:])))
    single = model.clone(placement=ALONE)
    key = stream_key(config.seed, "parameters")
    return dict(single.init(key, example["input"], theta))


def init_state(
    model: Model, task: Task, optimizer: optax.GradientTransformation, config: Config
) -> TrainState:
    """The state before the first update."""
    variables = init_variables(model, task, config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        # A copy: the state is donated, and one buffer cannot be given away twice.
        ema=jax.tree.map(jnp.array, variables),
    )


def batch_phases(model: Model, batch: Batch, key: Array, config: Config) -> Array:
    """θ_0 of a batch `[B, H, W, C]`, of each example by its number."""
    return initial_phases(
        example_keys(key, batch["id"]),
        model.phase_shape(batch["input"].shape[1:]),
        kind=config.model.initial_phase,
        scale=config.model.phase_scale,
    )


def variables_specs(variables: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """How what the model takes is split over the mesh: parameters are, statistics are not."""
    return {
        "params": parameter_specs(variables["params"], mesh),
        "batch_stats": jax.tree.map(lambda _: P(), variables["batch_stats"]),
    }


def state_specs(state: TrainState, mesh: Mesh) -> TrainState:
    """How every array of a state is split over the mesh: a state of `PartitionSpec`."""
    current = variables_specs(state.variables("raw"), mesh)
    specs: dict[str, Any] = {
        "step": P(),
        **current,
        "opt_state": parameter_specs(state.opt_state, mesh),
        "ema": current,
    }
    return TrainState(**specs)


def make_train_step(
    model: Model,
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
    many = mesh.size > 1
    parts = config.train.accumulate
    like = jax.eval_shape(lambda: init_state(model, task, optimizer, config))
    specs = state_specs(like, mesh)

    def gradients(params: Any, batch_stats: Any, step: Array, batch: Batch):
        """Gradients, statistics and counts; batch `[parts, rows of this device, ...]`."""
        key = stream_key(config.seed, "phases", step)
        count, shares = jax.vmap(task.loss_count)(batch).sum(), 1
        if many:
            batch, count = own_batch(batch), jax.lax.psum(count, ROWS)
            shares = jax.lax.axis_size(GRID)
            params = own_parameters(params, specs.params)

        def loss(params: Any, batch_stats: Any, rows: Batch):
            output: Any
            output, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                rows["input"],
                batch_phases(model, rows, key, config),
                weight=row_weight(rows),
                train=True,
                mutable=["batch_stats"],
            )
            share = task.loss_sum(output.logits, rows) / (jnp.maximum(count, 1.0) * shares)
            return share, (updates["batch_stats"], task.training_counts(output.logits, rows))

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
        if many:
            grads, counts = add_gradients(grads, specs.params), add_counts(counts)
        return grads, batch_stats, counts

    compute = per_device(
        gradients,
        mesh,
        in_specs=(specs.params, P(), P(), P(None, ROWS)),
        out_specs=(specs.params, P(), P()),
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        batch = task.prepare(batch, stream_key(config.seed, "augmentation", state.step))
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

    placed = shardings(specs, mesh)
    return jax.jit(
        train_step,
        in_shardings=(placed, by_row(mesh)),
        out_shardings=(placed, replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler_options(platform_of(mesh)),
    )


def make_eval_step(model: Model, task: Task, config: Config, mesh: Mesh) -> jax.stages.Wrapped:
    """The compiled evaluation step `(variables, batch) -> (counts, predictions)`.

    The phases of an example depend on the seed, the draw and its number alone: every
    evaluation, with whatever batch size, sees the same draws. Counts are a list: of each of
    the `eval.draws` draws of initial phases, and if these are several, of their ensemble, which
    averages the predicted probabilities. With those of the task, a draw has `energy`, of the last
    layer before its last step, summed over the `energies` examples. Predicted are the classes of
    the first draw.
    """
    many = mesh.size > 1
    variables_like = jax.eval_shape(lambda: init_variables(model, task, config))
    specs = variables_specs(variables_like, mesh)
    draws = config.eval.draws
    oscillators = config.model.name != "resnet"

    def evaluate(variables: dict[str, Any], batch: Batch):
        if many:
            params = whole_parameters(variables["params"], specs["params"])
            variables, batch = {**variables, "params": params}, own_batch(batch)

        def answer(draw: Array | int) -> tuple[Array, Array | None]:
            key = stream_key(config.seed, "evaluation phases", draw)
            more: dict[str, Any] = {"energies": True} if oscillators else {}
            if config.eval.steps:
                more["steps"] = config.eval.steps
            output: Any = model.apply(
                variables, batch["input"], batch_phases(model, batch, key, config), **more
            )
            return output.logits, output.layers[-1].energies[-1] if oscillators else None

        # One after the other: memory is that of one.
        if draws > 1:
            logits, energies = jax.lax.map(answer, jnp.arange(draws))
        else:
            logits, energies = jax.tree.map(lambda x: x[None], answer(0))
        counts = [task.counts(x, batch) for x in logits]
        if oscillators:
            weight = row_weight(batch)
            for draw, energy in zip(counts, energies, strict=True):
                draw |= {"energy": (energy * weight).sum(), "energies": weight.sum()}
        if draws > 1:
            counts.append(task.counts(jnp.log(jax.nn.softmax(logits).mean(0)), batch))
        predictions = logits[0].argmax(-1)
        if many:
            # Devices along the grid agree; the maximum tells JAX so.
            counts, predictions = add_counts(counts), jax.lax.pmax(predictions, GRID)
        return counts, predictions

    compute = per_device(evaluate, mesh, in_specs=(specs, P(ROWS)), out_specs=(P(), P(ROWS)))
    return jax.jit(
        lambda variables, batch: compute(variables, task.prepare(batch)),
        in_shardings=(shardings(specs, mesh), by_row(mesh)),
        out_shardings=(replicated(mesh), by_row(mesh)),
        compiler_options=compiler_options(platform_of(mesh)),
    )
