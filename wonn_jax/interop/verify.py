"""Compares the networks of this project with the PyTorch reference, in float64."""

import functools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.interop.fixture import Case, Fixture, make_case, read_fixture
from wonn_jax.interop.winfree import COPIES, UNUSED, to_pytorch

# Every program runs once: optimising it would take longer than it saves.
_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Row(NamedTuple):
    """A quantity that is compared.

    error: relative, as `verify` defines it.
    tolerance: up to which it agrees.
    note: on what is compared, or why it cannot be.
    """

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        return self.error <= self.tolerance  # False for NaN

    def __str__(self) -> str:
        note = f"  ({self.note})" if self.note else ""
        return f"{self.name}{note}"


def verify(path: str | Path, tolerance: float | None = None) -> bool:
    """Runs our network on a fixture in float64 and prints the error of every quantity.

    The error is the largest absolute difference divided by the largest absolute value in the
    fixture. Phases are compared modulo 2π. A gradient that is zero in the fixture is measured
    against our largest gradient. Of phases and energies, the last steps may be recorded alone; they
    are compared with our last. What is not recorded is listed, and is no difference.

    Args:
      path: of the fixture.
      tolerance: largest error; None for 1e-8, or the square root of the machine epsilon of the
        coarsest type among the weights, the initial phases and the quantity if that is more.

    Returns:
      Whether every error is within the tolerance.

    Raises:
      OSError, ImportError, ValueError: the file is missing, damaged, or no fixture; the message
        names it.
    """
    try:
        fixture = read_fixture(path)
        with jax.enable_x64(True):
            ours = _our_values(fixture)
    except ValueError as error:
        text = str(error).rstrip(".")
        raise ValueError(f"{text}." if str(path) in text else f"{path}: {text}.") from error
    rows = [_round_trip(fixture)]
    rows += [_compare(fixture, name, ours) for name in fixture.recorded if name in ours]
    if tolerance is not None:
        rows = [row._replace(tolerance=tolerance) for row in rows]
    absent = _summarised(_expected(fixture), fixture.recorded)
    unknown = [name for name in fixture.recorded if name not in ours]
    width = max(len(text) for text in [*map(str, rows), *absent, *unknown])
    for row in rows:
        print(f"{row!s:{width}}  {row.error:9.2e}  {'ok' if row.agrees else 'DIFFERS'}")
    for name in absent:
        print(f"{name:{width}}  not recorded")
    for name in unknown:
        print(f"{name:{width}}  not known here, not compared")
    passed = all(row.agrees for row in rows)
    verdict = f"{'all' if passed else 'NOT'} within {max(row.tolerance for row in rows):g}"
    print(f"{path}: {verdict}{' of what is recorded' if absent else ''}")
    return passed


# --- Our values -----------------------------------------------------------------------------------


def _our_values(fixture: Fixture) -> dict[str, Any]:
    """What our network computes of what is recorded, under the same names and in that layout."""
    parts = {name.partition("/")[0] for name in fixture.recorded}
    if not parts:
        return {}
    case = make_case(fixture)
    variables = jax.tree.map(jnp.asarray, fixture.variables)
    ours = _evaluation(case, variables) if "eval" in parts else {}
    return ours | (_training(fixture, case, variables) if "train" in parts else {})


def _evaluation(case: Case, variables: Any) -> dict[str, Any]:
    """Logits, and the phases and energies of every layer, with running statistics."""

    @_jit
    def run(variables: Any) -> Any:
        model: Any = case.model
        return model.apply(
            variables,
            case.batch["input"],
            case.theta,
            trajectory=True,
            energies=True,
            **case.options,
        )

    output = run(variables)
    ours = {"eval/logits": output.logits}
    for i, layer in enumerate(output.layers):
        ours[f"eval/layer{i}/theta"] = layer.trajectory.transpose(0, 1, 4, 2, 3)
        ours[f"eval/layer{i}/energy"] = layer.energies
    return ours


def _training(fixture: Fixture, case: Case, variables: Any) -> dict[str, Any]:
    """Logits, loss, gradients and buffers of one training batch."""

    @_jit
    def run(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            model: Any = case.model
            output, updates = model.apply(
                {**variables, "params": params},
                case.batch["input"],
                case.theta,
                train=True,
                mutable=["batch_stats"],
                **case.options,
            )
            total = case.task.loss_sum(output.logits, case.batch)
            return total / case.task.loss_count(case.batch), (output.logits, updates)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    (loss, (logits, updates)), grads = run(variables)
    tensors = to_pytorch({"params": grads, **updates}, fixture.kind, step_size=fixture.step_size)
    ours = {"train/logits": logits, "train/loss": loss}
    return ours | {_of_training(name): x for name, x in tensors.items()}


def _of_training(name: str) -> str:
    return f"train/{'buffer' if name.endswith(_BUFFERS) else 'grad'}/{name}"


def _expected(fixture: Fixture) -> list[str]:
    """The names of all that a complete fixture records."""
    names = ["eval/logits"]
    for i in range(fixture.layers):
        names += [f"eval/layer{i}/theta", f"eval/layer{i}/energy"]
    names += ["train/logits", "train/loss"]
    tensors = to_pytorch(fixture.variables, fixture.kind)
    once = [n for n in tensors if not (UNUSED.fullmatch(n) or n.startswith((*COPIES, "gamma")))]
    return names + sorted(map(_of_training, once), key=lambda name: name.startswith("train/buffer"))


def _summarised(expected: Iterable[str], recorded: Iterable[str]) -> list[str]:
    """What is not recorded; as one if it is all gradients, or all buffers."""
    absent = [name for name in expected if name not in set(recorded)]
    for group in ("train/grad/", "train/buffer/"):
        own = [name for name in absent if name.startswith(group)]
        if own and not any(name.startswith(group) for name in recorded):
            place = absent.index(own[0])
            absent = [name for name in absent if name not in own]
            absent.insert(place, f"{group}*")
    return absent


# --- Comparison -----------------------------------------------------------------------------------


def _round_trip(fixture: Fixture) -> Row:
    """Import followed by export must reproduce every tensor that the reference uses."""
    back = to_pytorch(fixture.variables, fixture.kind)
    same = all(
        name in back and np.array_equal(back[name].reshape(x.shape), x, equal_nan=True)
        for name, x in fixture.tensors.items()
        if name != "gamma" and not UNUSED.fullmatch(name)
    )
    return Row("import and export", 0.0 if same else math.inf, _tolerance(fixture))


def _compare(fixture: Fixture, name: str, ours: Mapping[str, Any]) -> Row:
    """Our value and the recorded one."""
    theirs, mine = fixture.recorded[name], np.asarray(ours[name], np.float64)
    row = Row(name, math.inf, _tolerance(fixture, theirs))
    if not jnp.issubdtype(theirs.dtype, jnp.number):
        return row._replace(note=f"of type {theirs.dtype}, no numbers")
    theirs = theirs.astype(np.float64)
    over_steps = name.endswith(("/theta", "/energy"))
    if over_steps:
        mine, theirs, note = _last_steps(mine, theirs)
        row = row._replace(note=note)
    if mine.shape != theirs.shape:
        return row._replace(note=f"of shape {theirs.shape}, here {mine.shape}")
    scale = np.abs(theirs).max()
    if name.startswith("train/grad/"):
        largest = max(np.abs(x).max() for n, x in ours.items() if n.startswith("train/grad/"))
        scale = largest if scale < 1e-12 * largest else scale
    difference = mine - theirs
    if name.endswith("/theta"):
        difference = np.angle(np.exp(1j * difference))
    return row._replace(error=float(np.abs(difference).max() / (scale or 1.0)))


def _last_steps(mine: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The steps that both have: the last ones, or the last one if theirs has no axis of steps.

    The reference puts a zero before the energies, and may put the initial phases before the others.
    """
    steps = len(mine)
    if theirs.ndim == mine.ndim - 1:
        theirs = theirs[None]
    if theirs.ndim != mine.ndim or len(theirs) > steps + 1:
        return mine, theirs, ""
    count = min(len(theirs), steps)
    note = "" if count == steps else f"the last {count} of {steps} steps"
    return mine[-count:], theirs[-count:], note


def _tolerance(fixture: Fixture, *recorded: np.ndarray) -> float:
    """1e-8, or more if some of what a value follows from, or itself, is coarser than float64."""
    arrays = [*fixture.tensors.values(), *recorded]
    arrays += [x for name, x in fixture.inputs.items() if name == "theta0"]
    floats = [x.dtype for x in arrays if jnp.issubdtype(x.dtype, jnp.floating)]
    coarser = [math.sqrt(jnp.finfo(x).eps) for x in floats if x != np.float64]
    return max([1e-8, *coarser])
