"""Data: boards and images, read or generated, and batches as a function of the step."""

from wonn_jax.data.augment import ImageAugmentation, NoAugmentation
from wonn_jax.data.base import Augmentation, BoardData, DataSet
from wonn_jax.data.cifar import Cifar10, Cifar100
from wonn_jax.data.digits import Digits
from wonn_jax.data.imagenet import ImageNet
from wonn_jax.data.images import ImageData
from wonn_jax.data.maze import Mazes
from wonn_jax.data.pipeline import Source
from wonn_jax.data.sudoku import Sudokus

__all__ = [
    "Augmentation",
    "BoardData",
    "Cifar10",
    "Cifar100",
    "DataSet",
    "Digits",
    "ImageAugmentation",
    "ImageData",
    "ImageNet",
    "Mazes",
    "NoAugmentation",
    "Source",
    "Sudokus",
]
