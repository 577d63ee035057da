"""Run folders in which something is missing or damaged."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.inputs.command_lines import MAZE
from experiments.faults.runs import KINDS, STEPS

RUN = tuple(KINDS["mazes"].flags(Path(HERE, "mazes"), Path(HERE, "run")))
CHECKPOINT = f"run/checkpoints/{STEPS}"
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "solve": ("wonn_jax.solve", ("maze", "good.txt", "--workdir=run")),
    "evaluate": ("wonn_jax.main", (*RUN, "--mode=eval")),
    "train": ("wonn_jax.main", RUN),
    "report": ("wonn_jax.report", ("run",)),
}


@st.composite
def configurations(draw: st.DrawFn, bases: Path) -> Input:
    """`config.json` is damaged, or of something else."""
    good = (bases / "run" / "config.json").read_bytes()
    config = json.loads(good)
    section = draw(st.sampled_from([name for name, x in config.items() if isinstance(x, dict)]))
    field = draw(st.sampled_from(sorted(config[section])))
    odd = draw(st.sampled_from([None, [], {}, {"name": "nonsense_q"}, "nonsense_q", -1, 1e300]))
    faults: dict[str, st.SearchStrategy[Content]] = {
        "another file": damage.whole_or_gone().filter(lambda x: x is not None),
        "cut off": damage.cut(good.rstrip()),
        "no object": st.sampled_from([b"[]", b"null", b"3", b'"text"', b"NaN", b"{}"]),
        "a section is odd": st.just(_json(config | {section: odd})),
        "deep": st.just(b"[" * 100_000),
        "an unknown field": st.just(_json(config | {section: config[section] | {"nonsense_q": 1}})),
        "an odd field": st.just(
            _json(config | {section: config[section] | {field: {"nonsense_q": odd}}})
        ),
    }
    fault = draw(st.sampled_from(list(faults)))
    command = draw(st.sampled_from(["solve", "train", "report"]))
    names = ("config.json", "nonsense_q", field)
    files = {"run/config.json": draw(faults[fault])}
    # A link to nowhere is no file; training then begins by the checkpoint, and it writes settings
    # anew that may differ. A report shows what is written, also by a later version.
    accepted = command == "train" and files["run/config.json"] == ("link", "nowhere")
    if fault in ("an unknown field", "an odd field", "a section is odd"):
        accepted |= command in ("train", "report")
    return _input(f"config.json: {fault}", command, names, files, refused=not accepted)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def checkpoints(draw: st.DrawFn, bases: Path) -> Input:
    """The only checkpoint is damaged."""
    inside = [x for x in (bases / CHECKPOINT).rglob("*") if x.is_file()]
    needed = [
        x
        for x in inside
        if x.name in ("manifest.ocdbt", "metadata") and x.parent.name in ("state", "meta")
    ]
    path = draw(st.sampled_from(sorted(needed)))
    name = f"{CHECKPOINT}/{path.relative_to(bases / CHECKPOINT)}"
    faults: dict[str, st.SearchStrategy[dict[str, Content]]] = {
        "another file": damage.whole_or_gone().map(lambda x: {name: x}),
        "cut off": damage.cut(path.read_bytes()).map(lambda x: {name: x}),
        "no arrays": st.just({f"{CHECKPOINT}/state": None}),
        "no description": st.just({f"{CHECKPOINT}/meta": None}),
        "empty": st.just({CHECKPOINT: ("folder",)}),
        "a file": st.just({"run/checkpoints": b"hello"}),
    }
    fault = draw(st.sampled_from(list(faults)))
    command = draw(st.sampled_from(["solve", "evaluate"]))
    return _input(f"checkpoint: {fault}", command, ("checkpoint",), draw(faults[fault]))


@st.composite
def missing(draw: st.DrawFn) -> Input:
    """Parts of the run are not there."""
    faults: dict[str, tuple[dict[str, Content], tuple[str, ...]]] = {
        "no checkpoints": ({"run/checkpoints": None}, ("solve", "evaluate")),
        "no checkpoint": ({CHECKPOINT: None}, ("solve", "evaluate")),
        "no config.json": ({"run/config.json": None}, ("solve", "report")),
        "nothing": ({"run": ("folder",)}, ("solve", "evaluate", "report")),
        "a file": ({"run": b"hello"}, ("solve", "evaluate", "report", "train")),
        "no folder": ({"run": None}, ("solve", "evaluate", "report")),
        "a link to itself": ({"run": ("link", "run")}, ("solve", "evaluate", "report", "train")),
    }
    fault = draw(st.sampled_from(list(faults)))
    files, commands = faults[fault]
    return _input(fault, draw(st.sampled_from(commands)), ("run", "checkpoint"), files)


@st.composite
def records(draw: st.DrawFn) -> Input:
    """What a report can do without, damaged: it may be left out or refused, but is no traceback."""
    name = draw(st.sampled_from(["metrics.jsonl", "run.json", "voting.json", "timing.jsonl"]))
    lines = [b"null", b"[]", b'{"step": "x"}', b'{"step": 1, "kind": 3}', b'{"step": 1e400}', b"{"]
    lines += [b'{"step": 6, "kind": "test", "raw_accuracy": "x"}', b"\xff", b"\0" * 20, b"3"]
    content = draw(
        damage.whole_or_gone()
        | st.lists(st.sampled_from(lines), min_size=1, max_size=3).map(b"\n".join)
    )
    return _input(f"{name} damaged", "report", (name,), {f"run/{name}": content}, refused=False)


def _input(
    fault: str,
    command: str,
    names: tuple[str, ...],
    files: dict[str, Content],
    *,
    refused: bool = True,
) -> Input:
    module, words = COMMANDS[command]
    copies = {"run": "run", "mazes": "mazes"}
    return Input(f"{fault}, {command}", module, words, names, copies, MAZE | files, refused=refused)


def inputs(bases: Path) -> st.SearchStrategy[Input]:
    return configurations(bases) | checkpoints(bases) | missing() | records()
