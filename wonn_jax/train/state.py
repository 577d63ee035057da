"""The state of training: everything that an update changes, and how it is split over devices."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from wonn_jax.common.rng import stream_key
from wonn_jax.parallel.mesh import ROWS, parameter_specs
from wonn_jax.tasks import Batch, Task
from wonn_jax.train.methods import Method

Variables = dict[str, Any]
"""What a network is applied with: 'params' and its other collections, such as 'batch_stats'."""


@flax.struct.dataclass
class TrainState:
    """All that changes in training.

    Attributes:
      step: k after k updates.
      params: parameters.
      model_state: the other collections of the network by name; {} if it has none.
      opt_state: of the optimizer.
      ema: averages of `params` and `model_state`, as `variables` has them.
      carry: what the method hands from one update to the next, rows like those of a batch.
    """

    step: Array
    params: Any
    model_state: dict[str, Any]
    opt_state: optax.OptState
    ema: Variables
    carry: Any = ()

    def variables(self, weights: str) -> Variables:
        """What the network is applied with: the 'raw' or the 'ema' weights."""
        if weights == "ema":
            return self.ema
        return {"params": self.params, **self.model_state}


def blank_batch(task: Task, rows: int) -> Batch:
    """A prepared batch of zeros, from which a network learns the shapes of its inputs."""
    shapes = task.abstract_batch(rows)
    return task.prepare({name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()})


def init_variables(method: Method, task: Task, seed: int) -> Variables:
    """Fresh parameters and collections, a function of the seed alone."""
    params, model_state = method.init(stream_key(seed, "parameters"), blank_batch(task, 1))
    return {"params": params, **model_state}


def init_state(
    method: Method, task: Task, optimizer: optax.GradientTransformation, seed: int, rows: int
) -> TrainState:
    """The state before the first update.

    Args:
      method: with the network on a single device.
      task: of the batches.
      optimizer: of the parameters.
      seed: of the parameters.
      rows: of a training batch.
    """
    variables = init_variables(method, task, seed)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={name: x for name, x in variables.items() if name != "params"},
        opt_state=optimizer.init(params),
        # A copy: the state is donated, and one buffer cannot be given away twice.
        ema=jax.tree.map(jnp.array, variables),
        carry=method.init_carry(blank_batch(task, rows)),
    )


def variables_specs(variables: Variables, mesh: Mesh) -> Variables:
    """How the variables are split over the mesh: parameters are, other collections are not."""
    specs = {name: jax.tree.map(lambda _: P(), x) for name, x in variables.items()}
    return specs | {"params": parameter_specs(variables["params"], mesh)}


def state_specs(state: TrainState, mesh: Mesh) -> TrainState:
    """How every array of a state is split over the mesh: a state of `PartitionSpec`."""
    current = variables_specs(state.variables("raw"), mesh)
    specs: dict[str, Any] = {
        "step": P(),
        "params": current["params"],
        "model_state": {name: x for name, x in current.items() if name != "params"},
        "opt_state": parameter_specs(state.opt_state, mesh),
        "ema": current,
        "carry": jax.tree.map(lambda _: P(ROWS), state.carry),
    }
    return TrainState(**specs)
