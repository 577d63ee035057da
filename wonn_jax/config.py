"""The configuration: every field there is, its default, its meaning, and what contradicts what.

A file in `configs/` fills a mutable view of these dataclasses (`default_config`); the command
line overrides single fields of it; `freeze` checks the result once and turns it into the
frozen dataclasses that the rest of the package reads.
"""

import collections
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import ml_collections

from wonn_jax import durations
from wonn_jax.dist.mesh import MeshConfig
from wonn_jax.durations import Duration


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where examples come from."""

    path: str = ""  # of the data; '': boards are generated, CIFAR is fetched
    dir: str = "~/.cache/wonn_jax"  # where generated and fetched data sets are kept
    workers: int = 0  # processes that load; 0: threads of this one
    prefetch: int = 8  # batches ready ahead
    # boards
    height: int = 30  # of a maze, cells
    width: int = 30
    min_path: int = 109  # shortest path of a generated maze, at least, moves
    train_examples: int = 1000  # to generate
    test_examples: int = 1000
    seed: int = 0  # of the generator
    # images
    name: str = "cifar10"  # cifar10, cifar100, imagenet (or other class folders), digits
    classes: int = 10
    class_list: str = ""  # imagenet: file with the folders to use, one a line; '': all
    image_size: int = 32  # side of what the network sees, pixels
    resize: int = 0  # evaluation: shorter side before the centre is cut out; 0: sizes are right
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # of the channels, of values from 0 to 1
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    damaged_limit: int = 10  # imagenet: images that may be unreadable, for each loading process


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """What happens to a training image, in this order; see `wonn_jax.data.augment`."""

    crop_scale: float = 0.0  # random resized crop: least share of the area; 0: none
    crop_filter: str = "bilinear"  # or bicubic
    flip: bool = False  # left to right, every second image
    randaugment: int = 0  # operations of RandAugment; 0: none
    magnitude: int = 9  # of RandAugment, 0 to 30
    jitter: tuple[float, ...] = ()  # brightness, contrast, saturation, hue; (): none
    augmix: bool = False
    erasing: float = 0.0  # probability, per image, of random erasing
    cutmix: float = 0.0  # probability, per batch, of CutMix
    cutmix_alpha: float = 1.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network; see `wonn_jax.models`."""

    name: str = "winfree"  # or resnet, a baseline for images: it reads width and precision alone
    width: int = 128  # channels C
    layers: int = 1  # L
    steps: tuple[int, ...] = (24,)  # T, one for all layers or one for each
    heads: int = 8
    step_size: float = 0.1  # γ, unit time
    initial_phase: str = "noise"  # or 'zeros'
    phase_scale: float = 0.1  # standard deviation of the noise, rad
    norm: str = "group"  # of the coupling: group, token, none
    precision: str = "float32"  # of the maps: float32, bfloat16; phases are float32 at least
    attention: str = "auto"  # kernel: auto, plain, blockwise, cudnn, pallas
    remat: int = 1  # recomputed in the backward pass: 0 nothing, 1 each step, k chunks of k too
    keep_attention: bool = True  # but keep the attention outputs (kernels blockwise and pallas)
    # images
    interaction: str = "trig"  # S and I: trig, mlp (learned)
    group: int = 2  # N, side of the patches of oscillators that emit an influence together
    coupling: str = "attention"  # or convolution
    kernels: tuple[int, ...] = (
        7,
        5,
        5,
        3,
        3,
        3,
    )  # of the convolution: one for all, or layer by layer
    widening: bool = False  # C, 2C, 2C, 4C, … over the layers
    patch: int = 1  # side of the stem's patches, pixels; 1: a 3×3 convolution at every pixel
    transition_bias: bool = False  # of the phase transitions
    readout_side: int = 3  # of the readout's first convolution: 3 or 1


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
    label_smoothing: float = 0.0  # images: share of the target spread over all classes


@dataclasses.dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of weights and statistics; see `wonn_jax.train.ema`."""

    decay: float = 0.995  # limit
    every: int = 10  # steps
    after: int = 100  # steps; up to there it copies


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation on the test split, on raw and on EMA weights."""

    every: str = "100 epochs"  # and at the end
    batch_size: int = 50
    examples: int = 0  # the first so many; 0: all
    pictures: int = 4  # examples in the picture of predictions; 0: no picture
    draws: int = 1  # of the initial phases: mean, spread and ensemble over them
    checkpoint: str = "last"  # that --mode=eval reads: last, best or a step
    steps: int = 0  # T of every layer; 0: that of training
    votes: int = 1  # --mode=eval: draws of the phases to choose from by energy; 1: no voting
    at_once: int = 0  # of these draws, how many a device works on together; 0: by their size
    stop: str = "never"  # --mode=eval, each example: when its energy or prediction has settled
    limit: int = 0  # then: most steps of a layer that stops; 0: as many as without
    tolerance: float = 1e-3  # change that is none: relative, of the energy; share of classes
    patience: int = 2  # steps in a row without one, before it stops


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
    peak_flops: float = 0.0  # FLOP/s of one device, for the utilisation; 0: if known, its maker's


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """A trace of some training steps by JAX's profiler, in `profile/` of the workdir."""

    start: int = 10  # updates made before: traced are updates start + 1 to start + steps
    steps: int = 0  # 0: no trace


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """Devices of this process, and what is compiled for them."""

    cpu_devices: int = 0  # split a CPU into so many devices; 0: leave it to JAX
    compilation_cache: str = ""  # folder of compiled programs, to start faster again; '': none


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment."""

    task: str = "maze"  # maze, sudoku, image
    seed: int = 0  # of weights, order of examples and phases
    loss_weights: tuple[float, ...] = ()  # see the task; (): the paper's
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    ema: EmaConfig = dataclasses.field(default_factory=EmaConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    profile: ProfileConfig = dataclasses.field(default_factory=ProfileConfig)
    devices: DeviceConfig = dataclasses.field(default_factory=DeviceConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


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
        elif typing.get_origin(kind) is tuple:
            number = typing.get_args(kind)[0]
            allowed = int if number is int else (int, float)
            if not isinstance(value, list | tuple) or not all(
                isinstance(x, allowed) and not isinstance(x, bool) for x in value
            ):
                what = "integers" if number is int else "numbers"
                raise ValueError(
                    f"{where}.{name}={value!r} must be {what} in brackets, for example "
                    f"--{where}.{name}='(1, 2)'."
                )
            value = tuple(number(x) for x in value)
        elif type(value) is not kind:
            raise ValueError(
                f"{where}.{name}={value!r} is of type {type(value).__name__}; "
                f"it must be {kind.__name__}."
            )
        arguments[name] = value
    return cls(**arguments)


# What only the tasks on boards, or only those on images, read.
_BOARDS = {
    "data": ("height", "width", "min_path", "train_examples", "test_examples", "seed"),
}
_IMAGES = {
    "data": (
        *("name", "classes", "class_list", "image_size", "resize", "mean", "deviation"),
        "damaged_limit",
    ),
    "augment": tuple(field.name for field in dataclasses.fields(AugmentConfig)),
    "model": (
        *("name", "interaction", "group", "coupling", "kernels", "widening", "patch"),
        *("transition_bias", "readout_side"),
    ),
    "train": ("label_smoothing",),
}


def _check(config: Config) -> None:
    """Everything that can be known to be wrong without a device or data."""
    from wonn_jax.tasks import TASKS
    from wonn_jax.train.optim import OPTIMIZERS, SCHEDULES

    t, o, d, e = config.train, config.optimizer, config.data, config.eval
    _one_of("task", config.task, TASKS)
    _one_of("optimizer.name", o.name, OPTIMIZERS)
    _one_of("optimizer.schedule", o.schedule, SCHEDULES)
    _one_of("eval.stop", e.stop, ("never", "energy", "prediction"))
    _one_of("train.last_batch", t.last_batch, ("keep", "drop"))
    _at_least(
        1,
        train__batch_size=t.batch_size,
        train__accumulate=t.accumulate,
        eval__batch_size=e.batch_size,
        eval__draws=e.draws,
        eval__votes=e.votes,
        eval__patience=e.patience,
        checkpoint__keep=config.checkpoint.keep,
        data__height=d.height,
        data__width=d.width,
        data__min_path=d.min_path,
        data__train_examples=d.train_examples,
        data__test_examples=d.test_examples,
        data__prefetch=d.prefetch,
        ema__every=config.ema.every,
    )
    _at_least(
        0,
        seed=config.seed,
        data__seed=d.seed,
        data__workers=d.workers,
        optimizer__learning_rate=o.learning_rate,
        optimizer__end_learning_rate=o.end_learning_rate,
        optimizer__weight_decay=o.weight_decay,
        optimizer__clip_norm=o.clip_norm,
        ema__after=config.ema.after,
        eval__examples=e.examples,
        eval__pictures=e.pictures,
        eval__steps=e.steps,
        eval__at_once=e.at_once,
        eval__limit=e.limit,
        eval__tolerance=e.tolerance,
        optimizer__eps=o.eps,
        log__seconds=config.log.seconds,
        log__peak_flops=config.log.peak_flops,
        profile__start=config.profile.start,
        profile__steps=config.profile.steps,
        devices__cpu_devices=config.devices.cpu_devices,
    )
    for group, names in (_BOARDS if config.task == "image" else _IMAGES).items():
        for name in names:
            value = getattr(getattr(config, group), name)
            default = getattr(getattr(Config(), group), name)
            if value != default:
                raise ValueError(
                    f"config.{group}.{name}={value!r} has no effect on the task {config.task}; "
                    f"leave it at {default!r}."
                )
    _check_model(config)
    _check_votes(config)
    if config.task == "image":
        _check_images(config)
    config.mesh.check()
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
    _below_one("ema.decay", config.ema.decay)
    _below_one("optimizer.b1", o.b1)
    _below_one("optimizer.b2", o.b2)
    if not all(math.isfinite(w) and w >= 0 for w in config.loss_weights):
        raise ValueError(f"config.loss_weights={config.loss_weights} must not be negative.")
    weights = TASKS[config.task].weight_names
    if config.loss_weights and len(config.loss_weights) != len(weights):
        raise ValueError(
            f"config.loss_weights={config.loss_weights} has {len(config.loss_weights)} weights; "
            f"{config.task} takes {len(weights)}"
            + (f", of {', '.join(weights)}." if weights else ": leave it at ().")
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
    task = TASKS[config.task].from_config(config)
    metrics = task.summarise(collections.defaultdict(float))
    if e.draws > 1:
        metrics |= {f"ensemble_{metric}": 0.0 for metric in metrics}
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


def _one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(
            f"config.{field}={value!r} is unknown; use one of {', '.join(allowed)}, "
            f"for example --config.{field}={next(iter(allowed))}."
        )


def _at_least(bound: float, **values: float) -> None:
    for field, value in values.items():
        field = field.replace("__", ".")
        if not (math.isfinite(value) and value >= bound):
            raise ValueError(
                f"config.{field}={value} must be at least {bound:g}: "
                f"--config.{field}={max(bound, 1):g}, say."
            )


def _below_one(field: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"config.{field}={value} must be at least 0 and below 1.")


def _check_model(config: Config) -> None:
    from wonn_jax.kernels.attention import IMPLEMENTATIONS
    from wonn_jax.nn.coupling import NORMS
    from wonn_jax.nn.oscillators import per_layer
    from wonn_jax.nn.phases import INITIAL_PHASES

    m = config.model
    _one_of("model.name", m.name, ("winfree", "resnet"))
    _one_of("model.initial_phase", m.initial_phase, INITIAL_PHASES)
    _one_of("model.norm", m.norm, NORMS)
    _one_of("model.precision", m.precision, ("float32", "bfloat16"))
    _one_of("model.attention", m.attention, IMPLEMENTATIONS)
    _at_least(1, model__width=m.width, model__layers=m.layers, model__heads=m.heads)
    _at_least(
        0, model__step_size=m.step_size, model__phase_scale=m.phase_scale, model__remat=m.remat
    )
    if not m.steps or min(m.steps) < 1:
        raise ValueError(
            f"config.model.steps={m.steps} must be at least 1: --config.model.steps=3."
        )
    per_layer(m.steps, m.layers, "config.model.steps")
    if m.name == "resnet":
        return
    if m.width % (2 * m.heads) and m.coupling == "attention":
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
    # What a kernel cannot take on its own device, it can take on none.
    check_attention(config, {"cudnn": "gpu", "pallas": "tpu"}.get(m.attention, ""))


def _check_votes(config: Config) -> None:
    e, m = config.eval, config.model
    if m.name == "resnet" and (e.votes > 1 or e.steps or e.stop != "never"):
        raise ValueError(
            f"config.eval.votes={e.votes}, config.eval.steps={e.steps} and "
            f"config.eval.stop={e.stop!r} are for oscillators, which config.model.name='resnet' "
            "has none of: leave them out."
        )
    if e.stop == "never":
        for name in ("limit", "tolerance", "patience"):
            if getattr(e, name) != getattr(EvalConfig(), name):
                raise ValueError(
                    f"config.eval.{name}={getattr(e, name)} has no effect where nothing stops; use "
                    "--config.eval.stop=prediction, or leave it out."
                )
    if e.at_once and e.votes == 1:
        raise ValueError(
            f"config.eval.at_once={e.at_once} has no effect without voting; use "
            "--config.eval.votes=32, or leave it out."
        )
    if e.votes > 1 and m.initial_phase == "zeros":
        raise ValueError(
            f"config.eval.votes={e.votes} draws are all the same with "
            "config.model.initial_phase='zeros'; use --config.model.initial_phase=noise."
        )


def check_grid(config: Config, parts: int) -> None:
    """Raises a ValueError if boards or pictures cannot be split over `parts` devices by rows."""
    m, d = config.model, config.data
    if parts == 1:
        return
    if m.name != "winfree":
        raise ValueError(
            f"config.mesh.grid={parts} splits the cells of Winfree networks, not of "
            f"config.model.name={m.name!r}: --config.mesh.grid=1."
        )
    if config.task == "image":
        rows, unit = d.image_size, m.patch * m.group
        what = f"config.data.image_size={rows} in patches of {m.patch} and groups of {m.group}"
    else:
        rows, unit = d.height, 1
        what = f"config.data.height={rows}"
    if rows % (unit * parts):
        fits = [n for n in range(1, rows // unit + 1) if rows % (unit * n) == 0]
        raise ValueError(
            f"config.mesh.grid={parts} does not split {what} into equal rows; it can be "
            f"{', '.join(map(str, fits)) or 1}: --config.mesh.grid="
            f"{max((n for n in fits if n < parts), default=1)}."
        )
    if m.coupling == "attention" and m.attention not in ("auto", "plain", "blockwise"):
        raise ValueError(
            f"config.model.attention={m.attention!r} cannot go round a ring of devices, which "
            f"config.mesh.grid={parts} makes; use --config.model.attention=auto."
        )


def check_attention(config: Config, backend: str) -> None:
    """Raises a ValueError if `model.attention` cannot be used on `backend`, 'cpu' say."""
    from jax import numpy as jnp

    from wonn_jax.kernels.attention import refusal

    m = config.model
    if m.name != "winfree" or m.coupling != "attention":
        return
    for width in {m.width, 4 * m.width} if m.widening else {m.width}:
        if reason := refusal(m.attention, backend, width // m.heads, jnp.dtype(m.precision)):
            raise ValueError(
                f"config.model.attention={m.attention!r} {reason}; use "
                "--config.model.attention=auto, or other heads, width or precision."
            )


def _check_images(config: Config) -> None:
    from wonn_jax.data import IMAGE_SETS
    from wonn_jax.nn.oscillators import COUPLINGS, per_layer

    d, a, m = config.data, config.augment, config.model
    _one_of("data.name", d.name, IMAGE_SETS)
    _one_of("augment.crop_filter", a.crop_filter, ("bilinear", "bicubic"))
    _one_of("model.interaction", m.interaction, ("trig", "mlp"))
    _one_of("model.coupling", m.coupling, COUPLINGS)
    _at_least(
        1,
        data__classes=d.classes,
        data__image_size=d.image_size,
        model__group=m.group,
        model__patch=m.patch,
    )
    _at_least(
        0,
        data__resize=d.resize,
        data__damaged_limit=d.damaged_limit,
        augment__randaugment=a.randaugment,
        augment__magnitude=a.magnitude,
    )
    _below_one("train.label_smoothing", config.train.label_smoothing)
    for name in ("crop_scale", "erasing", "cutmix"):
        if not 0 <= (value := getattr(a, name)) <= 1:
            raise ValueError(f"config.augment.{name}={value} must lie between 0 and 1.")
    if not a.cutmix_alpha > 0:
        raise ValueError(f"config.augment.cutmix_alpha={a.cutmix_alpha} must be above 0.")
    if a.magnitude > 30:
        raise ValueError(f"config.augment.magnitude={a.magnitude} must be at most 30.")
    if (
        len(a.jitter) not in (0, 3, 4)
        or not all(0 <= x < math.inf for x in a.jitter)
        or max(a.jitter[3:], default=0) > 0.5
    ):
        raise ValueError(
            f"config.augment.jitter={a.jitter} must be three or four numbers, brightness, "
            "contrast, saturation and hue, not negative, and a hue of at most 0.5: "
            "--config.augment.jitter='(0.4, 0.4, 0.4, 0.1)', or '()'."
        )
    finite = all(map(math.isfinite, d.mean + d.deviation))
    if not finite or len(d.mean) != 3 or len(d.deviation) != 3 or min(d.deviation) <= 0:
        raise ValueError(
            f"config.data.mean={d.mean} and config.data.deviation={d.deviation} must be three "
            "numbers each, the deviations above 0: --config.data.mean='(0.5, 0.5, 0.5)', say."
        )
    if 0 < d.resize < d.image_size:
        raise ValueError(
            f"config.data.resize={d.resize} must be at least config.data.image_size="
            f"{d.image_size}, which is cut out of it, or 0."
        )
    if a.cutmix and config.train.last_batch != "drop":
        raise ValueError(
            f"config.augment.cutmix={a.cutmix} mixes the pictures of a batch, which must then be "
            "full: --config.train.last_batch=drop."
        )
    if d.class_list and d.name != "imagenet":
        raise ValueError(
            f"config.data.class_list={d.class_list!r} has no effect on {d.name}; leave it out."
        )
    if m.readout_side not in (1, 3):
        raise ValueError(
            f"config.model.readout_side={m.readout_side} must be 1 or 3: "
            "--config.model.readout_side=3."
        )
    if m.name == "resnet":
        return
    if d.image_size < m.patch:
        raise ValueError(
            f"config.model.patch={m.patch} is larger than the picture, config.data.image_size="
            f"{d.image_size}; use --config.model.patch=1."
        )
    side = d.image_size // m.patch
    if m.group > side:
        raise ValueError(
            f"config.model.group={m.group} does not fit on a grid of {side}×{side} oscillators "
            f"(config.data.image_size={d.image_size}, config.model.patch={m.patch}); it must be "
            f"at most {side}."
        )
    if m.widening and m.layers < 4:
        raise ValueError(
            f"config.model.widening=True needs at least 4 layers (C, 2C, 2C, 4C, …), not "
            f"config.model.layers={m.layers}: --config.model.layers=6, say."
        )
    if not m.kernels or min(m.kernels) < 1 or any(side % 2 == 0 for side in m.kernels):
        raise ValueError(
            f"config.model.kernels={m.kernels} must be odd numbers from 1: "
            "--config.model.kernels='(3,)', say."
        )
    if m.coupling == "convolution":
        per_layer(m.kernels[: m.layers], m.layers, "config.model.kernels")


def duration(text: str) -> Duration:
    """A duration of a frozen configuration, which has been checked."""
    return durations.parse(text, "duration")
