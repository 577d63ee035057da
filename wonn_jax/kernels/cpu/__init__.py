"""Kernels for CPUs, where XLA's own are slow; on other platforms they defer to JAX."""
