"""Weights of other implementations, one file each, and the comparison with them.

`files` reads weights, `layers` converts between PyTorch and Flax layers, `winfree` describes the
reference's networks with them, and `verify` compares both implementations.
"""

from wonn_jax.interop.files import load_state_dict
from wonn_jax.interop.winfree import from_pytorch, to_pytorch

__all__ = ["from_pytorch", "load_state_dict", "to_pytorch"]
