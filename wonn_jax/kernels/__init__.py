"""Attention kernels, rotary codes and what is recomputed."""
