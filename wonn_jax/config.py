"""The configuration: every field there is, its default, its meaning, and what contradicts what.

A file in `configs/` fills a mutable view of these dataclasses (`default_config`); the command
line overrides single fields of it; `freeze` checks the result once and turns it into the
frozen dataclasses that the rest of the package reads.
"""

import collections
import dataclasses
import difflib
import math
from typing import Any, TypeVar

import ml_collections

from wonn_jax import durations
from wonn_jax.durations import Duration


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where boards come from."""

    path: str = ""  # published arrays; '' generates a data set
    dir: str = "~/.cache/wonn_jax"  # where generated data sets are kept
    height: int = 30  # of a maze, cells
    width: int = 30
    min_path: int = 109  # shortest path of a generated maze, at least, moves
    train_examples: int = 1000  # to generate
    test_examples: int = 1000
    seed: int = 0  # of the generator
    workers: int = 0  # processes that load; 0: threads of this one
    prefetch: int = 8  # batches ready ahead


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network; see `wonn_jax.models.grid.GridModel`."""

    width: int = 128  # channels C
    layers: int = 1  # L
    steps: int = 24  # T per layer
    heads: int = 8
    step_size: float = 0.1  # γ, unit time
    initial_phase: str = "noise"  # or 'zeros'
    phase_scale: float = 0.1  # standard deviation of the noise, rad
    norm: str = "group"  # of the coupling: group, token, none
    precision: str = "float32"  # of the maps: float32, bfloat16; phases are float32 at least
    attention: str = "auto"  # kernel: auto, plain, cudnn, per_head
    remat: int = 1  # recompute in the backward pass: 0 nothing, 1 each step, k in chunks of k
    keep_attention: bool = True  # but keep the attention outputs (kernel per_head)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Optax optimizer and learning-rate schedule."""

    name: str = "adam"  # adam, adamw
    learning_rate: float = 1e-3
    schedule: str = "constant"  # after the warm-up: constant, cosine, linear
    warmup: str = "never"  # linear, from a tenth of the learning rate
    decay: str = "never"  # length of the cosine or line at the end; 'never': all after warm-up
    end_learning_rate: float = 1e-6  # where the decay ends
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  # adamw only, on all parameters
    clip_norm: float = 0.0  # of the whole gradient; 0: no clipping


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length and batches of training."""

    length: str = "9000 epochs"
    batch_size: int = 64  # over all devices and hosts
    last_batch: str = "keep"  # of an epoch, if partial: keep or drop
    accumulate: int = 1  # micro-batches per update


@dataclasses.dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of weights and statistics; see `wonn_jax.ema`."""

    decay: float = 0.995  # limit
    every: int = 10  # steps
    after: int = 100  # steps; up to there it copies


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation on the test split, on raw and on EMA weights."""

    every: str = "100 epochs"  # and at the end
    batch_size: int = 50
    examples: int = 0  # the first so many; 0: all
    boards: int = 4  # in the picture; 0: no picture
    checkpoint: str = "last"  # that --mode=eval reads: last, best or a step


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run."""

    every: str = "10 minutes"  # or steps, epochs; and at the end
    keep: int = 3  # last ones
    best: str = "ema_accuracy"  # evaluation metric of which the best is kept too; '': none


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while training."""

    every: str = "10 steps"  # metrics.jsonl and TensorBoard
    seconds: float = 10.0  # between plain lines, where there is no terminal
    tensorboard: bool = True


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """Devices of this process."""

    cpu_devices: int = 0  # split a CPU into so many devices; 0: leave it to JAX


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment."""

    task: str = "maze"  # maze, sudoku
    seed: int = 0  # of weights, order of examples and phases
    loss_weights: tuple[float, ...] = ()  # see the task; (): the paper's
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    ema: EmaConfig = dataclasses.field(default_factory=EmaConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    devices: DeviceConfig = dataclasses.field(default_factory=DeviceConfig)


def default_config() -> ml_collections.ConfigDict:
    """All fields with their defaults, to be filled by a file in `configs/`."""
    return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def freeze(config: ml_collections.ConfigDict) -> Config:
    """The checked, frozen form of a configuration.

    Raises:
      ValueError: unknown or missing fields, wrong types, values out of range, contradictions.
    """
    frozen = _build(Config, config.to_dict(), "config")
    _check(frozen)
    return frozen


T = TypeVar("T")


def _build(cls: type[T], values: dict[str, Any], where: str) -> T:
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {where}.{close[0]}?" if close else f": {', '.join(fields)}."
            raise ValueError(f"{where}.{name} is no field of the configuration{hint}")
    missing = [name for name in fields if name not in values]
    if missing:
        raise ValueError(
            f"{where} lacks {', '.join(missing)}; begin a config with "
            "wonn_jax.config.default_config(), which has every field."
        )
    arguments = {}
    for name, value in values.items():
        kind: Any = fields[name].type
        if dataclasses.is_dataclass(kind):
            value = _build(kind, value, f"{where}.{name}")  # type: ignore[arg-type]
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif kind == tuple[float, ...]:
            if not isinstance(value, list | tuple) or not all(
                isinstance(x, int | float) for x in value
            ):
                raise ValueError(f"{where}.{name}={value!r} must be numbers in brackets.")
            value = tuple(float(x) for x in value)
        elif type(value) is not kind:
            raise ValueError(
                f"{where}.{name}={value!r} is of type {type(value).__name__}; "
                f"it must be {kind.__name__}."
            )
        arguments[name] = value
    return cls(**arguments)


def _check(config: Config) -> None:
    """Everything that can be known to be wrong without a device or data."""
    from wonn_jax.attention import IMPLEMENTATIONS
    from wonn_jax.coupling import NORMS
    from wonn_jax.optim import OPTIMIZERS, SCHEDULES
    from wonn_jax.rng import INITIAL_PHASES
    from wonn_jax.tasks import TASKS

    def one_of(field: str, value: str, allowed) -> None:
        if value not in allowed:
            raise ValueError(
                f"config.{field}={value!r} is unknown; use one of {', '.join(allowed)}, "
                f"for example --config.{field}={next(iter(allowed))}."
            )

    def at_least(bound: float, **values: float) -> None:
        for field, value in values.items():
            field = field.replace("__", ".")
            if not (math.isfinite(value) and value >= bound):
                raise ValueError(
                    f"config.{field}={value} must be at least {bound:g}: "
                    f"--config.{field}={max(bound, 1):g}, say."
                )

    m, t, o, d, e = config.model, config.train, config.optimizer, config.data, config.eval
    one_of("task", config.task, TASKS)
    one_of("model.initial_phase", m.initial_phase, INITIAL_PHASES)
    one_of("model.norm", m.norm, NORMS)
    one_of("model.precision", m.precision, ("float32", "bfloat16"))
    one_of("model.attention", m.attention, IMPLEMENTATIONS)
    one_of("optimizer.name", o.name, OPTIMIZERS)
    one_of("optimizer.schedule", o.schedule, SCHEDULES)
    one_of("train.last_batch", t.last_batch, ("keep", "drop"))
    at_least(
        1,
        model__width=m.width,
        model__layers=m.layers,
        model__steps=m.steps,
        model__heads=m.heads,
        train__batch_size=t.batch_size,
        train__accumulate=t.accumulate,
        eval__batch_size=e.batch_size,
        checkpoint__keep=config.checkpoint.keep,
        data__height=d.height,
        data__width=d.width,
        data__min_path=d.min_path,
        data__train_examples=d.train_examples,
        data__test_examples=d.test_examples,
        data__prefetch=d.prefetch,
        ema__every=config.ema.every,
    )
    at_least(
        0,
        model__step_size=m.step_size,
        model__phase_scale=m.phase_scale,
        model__remat=m.remat,
        seed=config.seed,
        data__seed=d.seed,
        data__workers=d.workers,
        optimizer__learning_rate=o.learning_rate,
        optimizer__end_learning_rate=o.end_learning_rate,
        optimizer__weight_decay=o.weight_decay,
        optimizer__clip_norm=o.clip_norm,
        ema__after=config.ema.after,
        eval__examples=e.examples,
        eval__boards=e.boards,
        optimizer__eps=o.eps,
        log__seconds=config.log.seconds,
        devices__cpu_devices=config.devices.cpu_devices,
    )
    if m.width % (2 * m.heads):
        fits = [h for h in range(1, m.width + 1) if m.width % (2 * h) == 0]
        raise ValueError(
            f"config.model.width={m.width} is not divisible by twice config.model.heads={m.heads} "
            "(rotary codes turn the channels of a head in pairs); try "
            f"--config.model.width={max(1, round(m.width / m.heads / 2)) * 2 * m.heads}"
            + (
                f" or --config.model.heads={min(fits, key=lambda h: abs(h - m.heads))}."
                if fits
                else "."
            )
        )
    if t.batch_size % t.accumulate:
        raise ValueError(
            f"config.train.batch_size={t.batch_size} is not divisible by "
            f"config.train.accumulate={t.accumulate}; try --config.train.batch_size="
            f"{math.ceil(t.batch_size / t.accumulate) * t.accumulate}."
        )
    if o.weight_decay and o.name != "adamw":
        raise ValueError(
            f"config.optimizer.weight_decay={o.weight_decay:g} has no effect on "
            f"config.optimizer.name='{o.name}'; use --config.optimizer.name=adamw, "
            "or --config.optimizer.weight_decay=0."
        )
    if o.schedule == "constant" and durations.parse(o.decay, "config.optimizer.decay").amount:
        raise ValueError(
            f"config.optimizer.decay='{o.decay}' has no effect on a constant schedule; use "
            "--config.optimizer.schedule=cosine, or --config.optimizer.decay=never."
        )
    if not 0 <= config.ema.decay < 1:
        raise ValueError(f"config.ema.decay={config.ema.decay} must be at least 0 and below 1.")
    for name, beta in (("b1", o.b1), ("b2", o.b2)):
        if not 0 <= beta < 1:
            raise ValueError(f"config.optimizer.{name}={beta} must be at least 0 and below 1.")
    if not all(math.isfinite(w) and w >= 0 for w in config.loss_weights):
        raise ValueError(f"config.loss_weights={config.loss_weights} must not be negative.")
    if m.attention == "cudnn" and m.precision != "bfloat16":
        raise ValueError(
            f"config.model.attention='cudnn' takes bfloat16, not {m.precision}; use "
            "--config.model.precision=bfloat16, or --config.model.attention=auto."
        )
    weights = TASKS[config.task].weight_names
    if config.loss_weights and len(config.loss_weights) != len(weights):
        raise ValueError(
            f"config.loss_weights={config.loss_weights} has {len(config.loss_weights)} weights; "
            f"{config.task} takes {len(weights)}, of {', '.join(weights)}."
        )
    if config.task == "sudoku" and (d.height, d.width) != (9, 9):
        raise ValueError(
            f"A Sudoku has 9×9 cells, not config.data.height={d.height} by width={d.width}: "
            "--config.data.height=9 --config.data.width=9."
        )
    if e.checkpoint not in ("last", "best") and not e.checkpoint.isdigit():
        raise ValueError(f"config.eval.checkpoint={e.checkpoint!r} must be last, best or a step.")
    if e.checkpoint == "best" and not config.checkpoint.best:
        raise ValueError("config.eval.checkpoint='best' needs config.checkpoint.best, a metric.")
    metrics = TASKS[config.task]().summarise(collections.defaultdict(float))
    known = [f"{weights}_{metric}" for weights in ("raw", "ema") for metric in metrics]
    if config.checkpoint.best and config.checkpoint.best not in known:
        raise ValueError(
            f"config.checkpoint.best={config.checkpoint.best!r} is no metric of {config.task}; use "
            f"one of {', '.join(known)}, or ''."
        )
    for field in ("train.length", "optimizer.warmup", "optimizer.decay", "eval.every", "log.every"):
        group, name = field.split(".")
        length = durations.parse(
            getattr(getattr(config, group), name), f"config.{field}", ("steps", "epochs")
        )
        if field in ("train.length", "log.every") and not length.amount:
            raise ValueError(f"config.{field} must not be 'never': --config.{field}='100 steps'.")
    durations.parse(config.checkpoint.every, "config.checkpoint.every")


def duration(text: str) -> Duration:
    """A duration of a frozen configuration, which has been checked."""
    return durations.parse(text, "duration")
