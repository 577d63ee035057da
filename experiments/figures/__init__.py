"""Figures of the paper, from a run."""
