"""Models, one file each."""

import jax.numpy as jnp

from wonn_jax.config import Config
from wonn_jax.models.grid import GridModel, GridOutput
from wonn_jax.tasks import TASKS, Task

__all__ = ["GridModel", "GridOutput", "build"]


def build(config: Config, axis_name: str | None = None) -> tuple[Task, GridModel]:
    """The task and the model of an experiment.

    Args:
      config: the experiment.
      axis_name: mesh axis the batch is split over, inside `shard_map`.
    """
    kind = TASKS[config.task]
    task = kind(config.loss_weights) if config.loss_weights else kind()
    m = config.model
    model = GridModel(
        tokens=task.tokens,
        classes=len(task.classes),
        width=m.width,
        layers=m.layers,
        steps=m.steps,
        heads=m.heads,
        step_size=m.step_size,
        inject=task.inject,
        normalise_transition=task.normalise_transition,
        norm=m.norm,
        attention=m.attention,
        remat=m.remat,
        keep_attention=m.keep_attention,
        axis_name=axis_name,
        dtype=jnp.bfloat16 if m.precision == "bfloat16" else jnp.float32,
    )
    return task, model
