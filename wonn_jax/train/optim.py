"""Optimizer and learning-rate schedule by name, from Optax."""

import optax

from wonn_jax.config import OptimizerConfig, duration

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine", "linear")
WARMUP_FROM = 0.1  # share of the learning rate at which a warm-up begins


def make_schedule(config: OptimizerConfig, *, steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate as a function of the number of updates already made.

    Warm-up from a tenth, then the learning rate, then over the last `decay` (all the rest, if
    'never') a cosine or a line to `end_learning_rate`.

    Args:
      config: durations in steps or epochs.
      steps: of the whole run.
      steps_per_epoch: to convert epochs.

    Raises:
      ValueError: warm-up and decay are longer than the run.
    """
    warmup = duration(config.warmup).steps(steps_per_epoch)
    decay = 0
    if config.schedule != "constant":
        decay = duration(config.decay).steps(steps_per_epoch) or steps - warmup
    if warmup + decay > steps or (config.schedule != "constant" and decay <= 0):
        raise ValueError(
            f"The warm-up ({config.warmup}: {warmup} steps) and the decay ({config.decay}: {decay} "
            f"steps) do not fit into a run of {steps} steps; use a longer --config.train.length, "
            f"or --config.optimizer.warmup=never --config.optimizer.decay='{max(steps // 10, 1)} "
            "steps' (or decay=never and schedule=constant)."
        )
    peak, end = config.learning_rate, config.end_learning_rate
    pieces: list[optax.Schedule] = []
    if warmup:
        pieces.append(optax.linear_schedule(WARMUP_FROM * peak, peak, warmup))
    pieces.append(optax.constant_schedule(peak))
    if config.schedule == "cosine":
        pieces.append(optax.cosine_decay_schedule(peak, decay, alpha=end / peak if peak else 0.0))
    if config.schedule == "linear":
        pieces.append(optax.linear_schedule(peak, end, decay))
    borders = ([warmup] if warmup else []) + ([steps - decay] if decay else [])
    return optax.join_schedules(pieces, borders)


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam, or AdamW with decoupled decay of all parameters, after clipping of the gradient."""
    common = {"b1": config.b1, "b2": config.b2, "eps": config.eps}
    if config.name == "adamw":
        core = optax.adamw(schedule, weight_decay=config.weight_decay, **common)
    else:
        core = optax.adam(schedule, **common)
    if config.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), core)
    return core
