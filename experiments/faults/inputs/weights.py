"""Bad weights, for `solve`, evaluation and `verify`."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.inputs.command_lines import MAZE
from experiments.faults.runs import KINDS

EVALUATE = tuple(KINDS["mazes"].flags(Path(HERE, "mazes"), Path(HERE, "new")))
FIXTURES = "tests/fixtures"
_ENDS = ("npz", "safetensors", "pth", "pt")


@st.composite
def other_files(draw: st.DrawFn) -> Input:
    """Something that is no file of weights."""
    end = draw(st.sampled_from([*_ENDS, "bin", "ckpt", "h5", ""]))
    name = f"weights.{end}".rstrip(".")
    content = draw(damage.whole_or_gone() | st.binary(min_size=1, max_size=40))
    return _use(draw, f"no weights, .{end}", name, {name: content})


@st.composite
def damaged(draw: st.DrawFn, bases: Path) -> Input:
    """A file of weights that was cut off, or has a byte changed where its structure is."""
    end = draw(st.sampled_from(["npz", "safetensors"]))
    good = (bases / f"weights.{end}").read_bytes()
    if draw(st.booleans()):
        return _use(
            draw, f"cut off, .{end}", f"weights.{end}", {f"weights.{end}": draw(damage.cut(good))}
        )
    place, byte = draw(st.integers(0, 400)), draw(st.integers(0, 255))
    changed = good[:place] + bytes([byte]) + good[place + 1 :]
    fault = f"a byte changed, .{end}"
    return _use(draw, fault, f"weights.{end}", {f"weights.{end}": changed}, refused=False)


@st.composite
def wrong_tensors(draw: st.DrawFn, bases: Path) -> Input:
    """Tensors that are missing, too many, or of other shapes or types."""
    good = tensors(bases)
    name = draw(st.sampled_from(sorted(good)))
    odd = draw(st.sampled_from(sorted(damage.ODD_ARRAYS)))
    x = good[name]
    faults: dict[str, dict[str, Any]] = {
        "a tensor is missing": {n: y for n, y in good.items() if n != name},
        "a tensor too many": good | {f"{name}_q": x},
        "an axis too many": good | {name: x[None]},
        "a row too many": good | {name: np.concatenate([x, x[:1]]) if x.ndim else x[None]},
        f"a tensor of {odd}": good | {name: damage.ODD_ARRAYS[odd]},
        "no tensors": {},
        "other names": {f"module.model.{n}": y for n, y in good.items()},
        "all empty": {n: y[:0] if y.ndim else y[None][:0] for n, y in good.items()},
    }
    fault = draw(st.sampled_from(list(faults)))
    # Some tensors are counters, or may be left out.
    spare = "num_batches_tracked" in name or "i_func" in name or name == "gamma"
    refused = not (spare and fault in ("a tensor is missing", "a tensor too many"))
    files: dict[str, Content] = {"weights.npz": damage.npz(faults[fault])}
    return _use(draw, fault, "weights.npz", files, (name,), refused=refused)


@st.composite
def fixtures(draw: st.DrawFn) -> Input:
    """A fixture for `verify` that is none."""
    arrays: dict[str, Any] = {
        "meta": np.array('{"kind": "maze", "model": {}}'),
        "input": np.ones(3),
    }
    faults: dict[str, st.SearchStrategy[Content]] = {
        "another file": damage.whole_or_gone(),
        "no meta": st.just(damage.npz({"input": np.ones(3)})),
        "meta is no JSON": st.just(damage.npz(arrays | {"meta": np.array("{")})),
        "meta is a number": st.just(damage.npz(arrays | {"meta": np.float64(3)})),
        "meta is a list": st.just(damage.npz(arrays | {"meta": np.array("[]")})),
        "unknown kind": st.just(damage.npz(arrays | {"meta": np.array('{"kind": "q"}')})),
        "arrays are missing": st.just(damage.npz(arrays)),
        "weights": st.just(damage.npz({"gamma": np.ones(1)})),
    }
    fault = draw(st.sampled_from(list(faults)))
    content = draw(faults[fault])
    files = {"fixture.npz": content}
    arguments = ("verify", "fixture.npz")
    return Input(f"fixture: {fault}", "wonn_jax.interop", arguments, ("fixture.npz",), {}, files)


@functools.cache
def tensors(bases: Path) -> dict[str, np.ndarray]:
    with np.load(bases / "weights.npz") as file:
        return dict(file)


def _use(
    draw: st.DrawFn,
    fault: str,
    name: str,
    files: dict[str, Content],
    names: tuple[str, ...] = (),
    *,
    refused: bool = True,
) -> Input:
    """Solves with a file of weights, or evaluates them."""
    if draw(st.booleans()):
        words: tuple[str, ...] = ("maze", "good.txt", f"--weights={name}", "--heads=2")
        module = "wonn_jax.solve"
    else:
        words = (*EVALUATE, "--mode=eval", f"--weights={HERE}/{name}")
        module = "wonn_jax.main"
    copies = {"mazes": "mazes"}
    return Input(fault, module, words, (name, *names), copies, MAZE | files, refused=refused)


def inputs(bases: Path) -> st.SearchStrategy[Input]:
    return other_files() | damaged(bases) | wrong_tensors(bases) | fixtures()
