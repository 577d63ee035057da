"""Weights of other implementations, and the comparison with them."""

from wonn_jax.interop.winfree import from_pytorch, load_state_dict, to_pytorch

__all__ = ["from_pytorch", "load_state_dict", "to_pytorch"]
