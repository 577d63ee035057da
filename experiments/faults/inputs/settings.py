"""Bad configurations: values and names of settings, contradictions, and cards of one's own."""

import functools
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.runs import KINDS, ROOT

TRAIN = tuple(KINDS["mazes"].flags(Path(HERE, "mazes"), Path(HERE, "new")))
DIGITS = tuple(KINDS["digits"].flags(Path(HERE, "mazes"), Path(HERE, "new")))
_LENGTHS = ("every", "length", "warmup", "decay")
_FREE = ("data.path", "data.dir", "devices.compilation_cache", "checkpoint.best", "data.class_list")
"""Settings of any text, or of more than `_text` knows."""


@functools.cache
def fields(card: str) -> dict[str, Any]:
    """Settings of a card and their values, by dotted name."""
    import importlib.util

    from wonn_jax.common.files import named_fields

    spec = importlib.util.spec_from_file_location(card, ROOT / "configs" / f"{card}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = named_fields(module.get_config().to_dict())
    return {name: x for name, x in found.items() if not name.endswith(("name", *_FREE))}


def bad_value(name: str, value: Any) -> st.SearchStrategy[str]:
    """Values that a setting cannot have, whatever the others are."""
    if isinstance(value, bool):
        return st.sampled_from(["maybe", "2", "", "None", "tru"])
    if isinstance(value, int):
        return st.sampled_from(
            ["many", "1.5", "", "nan", "1,000", "-1", str(-(2**65)), str(10**30), "None", "(1,)"]
        )
    if isinstance(value, float):
        return st.sampled_from(["much", "", "nan", "inf", "-inf", "-1e30", "1e999", "None", "1,5"])
    if isinstance(value, list):
        return st.sampled_from(["x", "('a', None)", "(1, 'a')", "(nan,)", "{1: 2}", "(", "None"])
    if name.endswith(_LENGTHS):
        return st.sampled_from(
            ["3", "steps", "3 stepps", "-1 steps", "nan epochs", "inf minutes", "", "1.5.2 steps"]
            + ["3 steps 4", "1e99 epochs", "½ epochs", "never ever", "3  years"]
        )
    return st.sampled_from(["nonsense_q", "", "None", "0", "ünïcode"])


@st.composite
def values(draw: st.DrawFn) -> Input:
    """A setting with a value that it cannot have."""
    card, flags = draw(st.sampled_from([("maze_hard", TRAIN), ("digits", DIGITS)]))
    name = draw(st.sampled_from(sorted(fields(card))))
    value = draw(bad_value(name, fields(card)[name]))
    return _train(f"{name}={value}", (*flags, f"--config.{name}={value}"), (name.split(".")[-1],))


@st.composite
def names(draw: st.DrawFn) -> Input:
    """A setting that does not exist: a misspelt one, a section, one of a section that is none."""
    name = draw(st.sampled_from(sorted(fields("maze_hard"))))
    place = draw(st.integers(0, len(name)))
    letter = draw(st.sampled_from("qxz_"))
    section = name.partition(".")[0]
    faults = {
        "misspelt": name[:place] + letter + name[place:],
        "of a value": f"{name}.{letter}{letter}",
        "of another section": f"{section}_{letter}.{name.partition('.')[2] or name}",
        "of a section that is none": f"{letter}.{name}",
    }
    fault = draw(st.sampled_from(list(faults)))
    parts = tuple(x for x in faults[fault].split(".") if x)
    return _train(f"name {fault}", (*TRAIN, f"--config.{faults[fault]}=1"), parts)


@st.composite
def sections(draw: st.DrawFn) -> Input:
    """A section as a whole, or a component by name."""
    section = draw(st.sampled_from(["task", "data", "model", "optimizer", "train", "eval", "mesh"]))
    field = draw(st.sampled_from(["", ".name"]))
    value = draw(st.sampled_from(["3", "resnet", "nonsense_q", "", "{}", "None"]))
    flag = f"--config.{section}{field}={value}"
    return _train(f"section {field}", (*TRAIN, flag), (section,))


@st.composite
def contradictions(draw: st.DrawFn) -> Input:
    """Settings each of which is possible, but not together."""
    odd = draw(st.sampled_from([3, 5, 7, 9, 11]))
    faults: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "heads": ((f"model.heads={odd}",), ("heads",)),
        "devices": ((f"devices.cpu_devices={odd}",), ("batch_size", "devices")),
        "accumulate": ((f"train.accumulate={odd}",), ("accumulate",)),
        "fsdp": ((f"mesh.fsdp={odd}",), ("fsdp",)),
        "grid": ((f"mesh.grid={odd}",), ("grid",)),
        "size": ((f"data.height={odd + 1}",), ("height", "mazes")),
        "decay": (("optimizer.decay=3 steps",), ("decay",)),
        "metric": (("checkpoint.best=nonsense_q",), ("nonsense_q",)),
        "evaluators": (("eval.evaluators=('nonsense_q',)",), ("nonsense_q",)),
        "no evaluator": (("eval.evaluators=()",), ("evaluators",)),
        "best of none": (("checkpoint.best=", "eval.checkpoint=best"), ("best",)),
    }
    fault = draw(st.sampled_from(list(faults)))
    flags, mentioned = faults[fault]
    return _train(fault, (*TRAIN, *(f"--config.{x}" for x in flags)), mentioned)


def _train(fault: str, flags: tuple[str, ...], mentioned: tuple[str, ...]) -> Input:
    return Input(fault, "wonn_jax.main", flags, mentioned, {"mazes": "mazes"})


_CARDS: dict[str, Content] = {
    "empty": b"",
    "no get_config": b"x = 3\n",
    "misspelt": b"def get_config(preset=''):\n    retrun 3\n",
    "nothing returned": b"def get_config(preset=''):\n    pass\n",
    "a number returned": b"def get_config(preset=''):\n    return 3\n",
    "a dictionary returned": b"def get_config(preset=''):\n    return {'train': 3}\n",
    "an empty configuration": (
        b"import ml_collections\n\ndef get_config():\n    return ml_collections.ConfigDict()\n"
    ),
    "an import that fails": b"import nonsense_q\n",
    "an error": b"def get_config(preset=''):\n    return 1 / 0\n",
    "a key that is missing": b"def get_config(preset=''):\n    return {}['nonsense_q']\n",
    "an exit": b"raise SystemExit('no')\n",
    "endless recursion": b"def get_config(preset=''):\n    return get_config(preset)\n",
    "not UTF-8": b"# \xff\xfe\ndef get_config():\n    return None\n",
    "NUL": b"\0" * 100,
    "two presets": b"def get_config(preset, other):\n    return None\n",
    "no function": b"get_config = 3\n",
    "an unknown field": (
        b"from wonn_jax.train.card import Config\n\n"
        b"def get_config(preset=''):\n    return Config(nonsense_q=3)\n"
    ),
    "a folder": ("folder",),
    "a link to nowhere": ("link", "nowhere"),
}


@st.composite
def cards(draw: st.DrawFn) -> Input:
    """A card that is none, with or without a preset."""
    fault = draw(st.sampled_from(list(_CARDS)))
    preset = draw(st.sampled_from(["", ":small", ":", "::", ":nonsense_q"]))
    flags = (f"--config={HERE}/mine.py{preset}", f"--workdir={HERE}/new", "--config.seed=3")
    return Input(
        f"a card: {fault}",
        "wonn_jax.main",
        flags[: draw(st.integers(2, 3))],
        ("mine.py", "nonsense_q"),
        files={"mine.py": _CARDS[fault]},
    )


def inputs() -> st.SearchStrategy[Input]:
    return values() | names() | sections() | contradictions() | cards()
