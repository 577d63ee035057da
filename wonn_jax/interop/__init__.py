"""Weights of other implementations, one file each, and the comparison with them.

`files` reads weights, `state_dict` finds those of the network in them, `layers` converts between
PyTorch and Flax layers, `winfree` describes the reference's networks with them; `fixture` reads
what was recorded from the reference, and `verify` compares both implementations.
"""

from wonn_jax.interop.files import load_state_dict
from wonn_jax.interop.winfree import from_pytorch, to_pytorch

__all__ = ["from_pytorch", "load_state_dict", "to_pytorch"]
