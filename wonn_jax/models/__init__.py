"""Models, one file each."""

import jax.numpy as jnp

from wonn_jax.config import Config
from wonn_jax.dist.placement import ALONE, Placement
from wonn_jax.models.base import Model, Output
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import ImageModel
from wonn_jax.models.resnet import ResNet
from wonn_jax.tasks import TASKS, BoardTask, Task

__all__ = ["GridModel", "ImageModel", "Model", "Output", "ResNet", "build"]


def build(config: Config, placement: Placement = ALONE) -> tuple[Task, Model]:
    """The task and the model of an experiment.

    Args:
      config: the experiment.
      placement: where the model runs, see `dist.mesh.placement`.
    """
    task = TASKS[config.task].from_config(config)
    m = config.model
    dtype = jnp.bfloat16 if m.precision == "bfloat16" else jnp.float32
    if m.name == "resnet":
        return task, ResNet(config.data.classes, m.width, placement=placement, dtype=dtype)
    common = {
        "width": m.width,
        "layers": m.layers,
        "heads": m.heads,
        "step_size": m.step_size,
        "norm": m.norm,
        "attention": m.attention,
        "remat": m.remat,
        "keep_attention": m.keep_attention,
        "placement": placement,
        "dtype": dtype,
    }
    if isinstance(task, BoardTask):
        return task, GridModel(
            tokens=task.tokens,
            classes=len(task.classes),
            steps=m.steps,
            inject=task.inject,
            **common,
        )
    return task, ImageModel(
        classes=config.data.classes,
        steps=m.steps,
        widening=m.widening,
        patch=m.patch,
        interaction=m.interaction,
        group=m.group,
        coupling=m.coupling,
        kernels=m.kernels,
        transition_bias=m.transition_bias,
        readout_side=m.readout_side,
        **common,
    )
