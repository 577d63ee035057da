"""Networks, one file each: its settings, their check, its module.

Importing this package registers every network in it, so that adding one is adding a file.
"""

import importlib
import pkgutil

from wonn_jax.models.base import Model, ModelConfig, Oscillatory, Output, Stop
from wonn_jax.models.grid import GridModel
from wonn_jax.models.image import ImageModel
from wonn_jax.models.resnet import ResNet

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = [
    "GridModel",
    "ImageModel",
    "Model",
    "ModelConfig",
    "Oscillatory",
    "Output",
    "ResNet",
    "Stop",
]
