"""Optimizers and learning-rate schedules, from Optax."""

import dataclasses
from typing import Any, ClassVar

import optax

from wonn_jax.common.checks import at_least, length, one_of, share
from wonn_jax.common.durations import Duration
from wonn_jax.config import Component, register

SCHEDULES = ("constant", "cosine", "linear")
WARMUP_FROM = 0.1
"""Share of the learning rate at which a warm-up begins."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Component):
    """Learning-rate schedule, clipping, and what all optimizers have in common.

    The learning rate warms up from a tenth, is constant, and over the last `decay` falls along a
    cosine or a line to `end_learning_rate`.
    """

    kind: ClassVar[str] = "optimizer"

    learning_rate: float = 1e-3
    schedule: str = "constant"  # after the warm-up: constant, cosine, linear
    warmup: str = "never"  # linear, from a tenth of the learning rate
    decay: str = "never"  # length of the cosine or line at the end; 'never': all after warm-up
    end_learning_rate: float = 1e-6  # where the decay ends
    clip_norm: float = 0.0  # of the whole gradient; 0: no clipping

    def check(self) -> None:
        one_of("optimizer.schedule", self.schedule, SCHEDULES)
        at_least(0, "optimizer", self, "learning_rate", "end_learning_rate", "clip_norm")
        length("optimizer.warmup", self.warmup, "steps", "epochs")
        decay = length("optimizer.decay", self.decay, "steps", "epochs")
        if self.schedule == "constant":
            if decay.amount:
                raise ValueError(
                    f"config.optimizer.decay='{self.decay}' has no effect on a constant schedule; "
                    "use --config.optimizer.schedule=cosine, or --config.optimizer.decay=never."
                )
        elif self.end_learning_rate > self.learning_rate:
            raise ValueError(
                f"config.optimizer.end_learning_rate={self.end_learning_rate:g} is above "
                f"config.optimizer.learning_rate={self.learning_rate:g}, from which the schedule "
                f"{self.schedule} decays: --config.optimizer.end_learning_rate=0, say."
            )

    def unused(self) -> dict[str, str]:
        if self.schedule == "constant":
            return {"end_learning_rate": "optimizer.schedule=constant does not decay"}
        return {}

    def make_schedule(self, steps: int, steps_per_epoch: int) -> optax.Schedule:
        """Learning rate as a function of the number of updates already made.

        Args:
          steps: of the whole run.
          steps_per_epoch: to convert epochs.

        Raises:
          ValueError: warm-up and decay are longer than the run.
        """
        units = ("steps", "epochs")
        warmup = length("optimizer.warmup", self.warmup, *units).steps(steps_per_epoch)
        decay = 0
        if self.schedule != "constant":
            asked: Duration = length("optimizer.decay", self.decay, *units)
            decay = asked.steps(steps_per_epoch) or steps - warmup
        if warmup + decay > steps or (self.schedule != "constant" and decay <= 0):
            raise ValueError(
                f"The warm-up ({self.warmup}: {warmup} steps) and the decay ({self.decay}: {decay} "
                f"steps) do not fit into a run of {steps} steps; use a longer "
                "--config.train.length, or --config.optimizer.warmup=never "
                f"--config.optimizer.decay='{max(steps // 10, 1)} steps' (or decay=never and "
                "schedule=constant)."
            )
        peak, end = self.learning_rate, self.end_learning_rate
        pieces: list[optax.Schedule] = []
        if warmup:
            pieces.append(optax.linear_schedule(WARMUP_FROM * peak, peak, warmup))
        pieces.append(optax.constant_schedule(peak))
        if self.schedule == "cosine":
            alpha = end / peak if peak else 0.0
            pieces.append(optax.cosine_decay_schedule(peak, decay, alpha=alpha))
        if self.schedule == "linear":
            pieces.append(optax.linear_schedule(peak, end, decay))
        borders = ([warmup] if warmup else []) + ([steps - decay] if decay else [])
        return optax.join_schedules(pieces, borders)

    def core(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer proper, without clipping."""
        raise NotImplementedError

    def build(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer, after clipping of the gradient."""
        core = self.core(schedule)
        if self.clip_norm > 0:
            return optax.chain(optax.clip_by_global_norm(self.clip_norm), core)
        return core


@register("adam")
@dataclasses.dataclass(frozen=True)
class Adam(OptimizerConfig):
    """Adam (Kingma & Ba, arXiv 1412.6980)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def check(self) -> None:
        super().check()
        at_least(0, "optimizer", self, "eps")
        share("optimizer", self, "b1", "b2", one=False)

    def core(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.adam(schedule, b1=self.b1, b2=self.b2, eps=self.eps)


@register("adamw")
@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay of all parameters (arXiv 1711.05101)."""

    weight_decay: float = 0.0

    def check(self) -> None:
        super().check()
        at_least(0, "optimizer", self, "weight_decay")

    def core(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        decay: Any = self.weight_decay
        return optax.adamw(schedule, weight_decay=decay, b1=self.b1, b2=self.b2, eps=self.eps)


def freeze_some(
    optimizer: optax.GradientTransformation, labels: Any
) -> optax.GradientTransformation:
    """The optimizer on parameters labelled 'train' alone; those labelled 'freeze' stay.

    Args:
      optimizer: of the others.
      labels: a tree like the parameters; None to train all.
    """
    if labels is None:
        return optimizer
    return optax.multi_transform({"train": optimizer, "freeze": optax.set_to_zero()}, labels)
