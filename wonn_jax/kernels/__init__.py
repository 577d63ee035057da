"""Attention kernels, rotary position codes, and what the backward pass recomputes."""
