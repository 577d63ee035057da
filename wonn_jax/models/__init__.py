"""Networks, one file each, with settings, checks and module.

Importing this package imports every file in it, which registers the networks: to add a network, add
a file.
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
