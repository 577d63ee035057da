"""Training: the loop, the step, the optimizer, checkpoints."""
