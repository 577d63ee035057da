"""Models, one file each."""

from wonn_jax.models.grid import GridModel, GridOutput

__all__ = ["GridModel", "GridOutput"]
