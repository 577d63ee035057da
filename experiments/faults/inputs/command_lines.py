"""Command lines that nobody can mean."""

from pathlib import Path

from hypothesis import strategies as st

from experiments.faults.inputs.base import HERE, Content, Input
from experiments.faults.runs import KINDS

MAZE: dict[str, Content] = {"good.txt": b"S..\n##.\nG..\n"}
TRAIN = tuple(KINDS["mazes"].flags(Path(HERE, "mazes"), Path(HERE, "new")))
_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12).map(lambda x: f"{x}_q")
_NO_NUMBERS = st.sampled_from(["many", "1.5.2", "", "1e", "--", "½", "٣x", "0x1F", "one two"])
_NEGATIVE = st.integers(-(2**70), -1).map(str)


@st.composite
def training(draw: st.DrawFn) -> Input:
    """Of `wonn_jax.main`."""
    word, name = draw(_WORDS.filter(lambda x: x[0] != "-")), draw(_NAMES)
    choices: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "unknown flag": ((f"--{name}={word}",), (name,)),
        "unknown flag without a value": ((f"--{name}",), (name,)),
        "a word too many": ((word,), (word, "understood")),
        "unknown mode": ((f"--mode={name}",), (name,)),
        "no number of processes": ((f"--num_processes={draw(_NO_NUMBERS)}",), ("num_processes",)),
        "number of a process alone": (("--process_id=1",), ("process_id",)),
        "no address": (
            ("--distributed=on", f"--coordinator={name}", "--process_id=0", "--num_processes=2"),
            (name, "coordinator"),
        ),
        "process beyond": (
            ("--distributed=on", "--coordinator=localhost:1", "--process_id=5", "--num_processes=2")
            + ("--join_seconds=2",),
            ("process_id", "5"),
        ),
        "distributed how": ((f"--distributed={name}",), (name,)),
        "no cluster": (("--distributed=auto",), ("distributed",)),
        "seconds": ((f"--join_seconds={draw(_NO_NUMBERS)}",), ("join_seconds",)),
        "weights to train": (("--weights=w.npz",), ("--weights",)),
        "no weights": (("--mode=eval", f"--weights={name}.npz"), (name,)),
        "weights of a kind": (("--mode=eval", f"--weights={name}.bin"), (name,)),
        "no run to evaluate": (("--mode=eval", f"--workdir={name}"), (name, "checkpoint")),
        "a file as workdir": (("--workdir=good.txt",), ("good.txt",)),
        "workdir below a file": (("--workdir=good.txt/run",), ("good.txt",)),
        "long workdir": ((f"--workdir={'a' * 300}",), ("aaaa",)),
        "no card": ((f"--config={name}.py",), (name,)),
        "a folder as card": (("--config=mazes",), ("mazes",)),
        "no Python as card": (("--config=good.txt",), ("good.txt",)),
    }
    fault = draw(st.sampled_from(list(choices)))
    flags, names = choices[fault]
    return Input(
        f"training: {fault}", "wonn_jax.main", TRAIN + flags, names, {"mazes": "mazes"}, MAZE
    )


@st.composite
def solving(draw: st.DrawFn) -> Input:
    """Of `wonn_jax.solve`."""
    name = draw(_NAMES)
    least = {"votes": draw(_NEGATIVE), "steps": draw(_NEGATIVE), "seed": draw(_NEGATIVE)}
    number = draw(st.sampled_from(list(least)))
    choices: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "unknown task": ((name, "good.txt"), (name,)),
        "no file": (("maze",), ("file",)),
        "nothing": ((), ("task", "file")),
        "missing file": (("maze", f"{name}.txt"), (name,)),
        "a word too many": (("maze", "good.txt", name), (name,)),
        "unknown flag": (("maze", "good.txt", f"--{name}"), (name,)),
        "negative": (("maze", "good.txt", f"--{number}={least[number]}"), (number,)),
        "huge": (("maze", "good.txt", f"--{number}={10**30}"), (number, str(10**30))),
        "no number": (("maze", "good.txt", f"--{number}={draw(_NO_NUMBERS)}"), (number,)),
        "no run": (("maze", "good.txt", f"--workdir={name}"), (name,)),
        "no run at all": (("maze", "good.txt"), ("runs", "run")),
        "a file as run": (("maze", "good.txt", "--workdir=good.txt"), ("good.txt",)),
        "unknown checkpoint": (
            ("maze", "good.txt", "--workdir=run", f"--checkpoint={name}"),
            (name,),
        ),
        "no such checkpoint": (("maze", "good.txt", "--workdir=run", "--checkpoint=7"), ("7",)),
        "unknown weights": (("maze", "good.txt", "--workdir=run", f"--use={name}"), (name,)),
        "picture into a folder": (
            ("maze", "good.txt", "--workdir=run", "--picture=run"),
            ("run", "picture"),
        ),
        "picture of no kind": (
            ("maze", "good.txt", "--workdir=run", f"--picture=out.{name}"),
            (name, "picture"),
        ),
        "picture nowhere": (
            ("maze", "good.txt", "--workdir=run", f"--picture={name}/out.png"),
            (name,),
        ),
        "animation over the puzzle": (
            ("maze", "good.txt", "--workdir=run", "--animate=good.txt"),
            ("good.txt",),
        ),
        "another task": (("sudoku", "sudoku.txt", "--workdir=run"), ("maze", "sudoku")),
    }
    fault = draw(st.sampled_from(list(choices)))
    words, names = choices[fault]
    files = MAZE | {"sudoku.txt": b"." * 81}
    return Input(
        f"solving: {fault}",
        "wonn_jax.solve",
        words,
        names,
        {"run": "run"},
        files,
        refused=fault not in ("picture nowhere", "picture into a folder"),  # it may be made
    )


@st.composite
def others(draw: st.DrawFn) -> Input:
    """Of `report` and `interop`."""
    name = draw(_NAMES)
    choices: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
        "report of nothing": ("wonn_jax.report", (), ("workdir",)),
        "report of no run": ("wonn_jax.report", (name,), (name,)),
        "report of a file": ("wonn_jax.report", ("good.txt",), ("good.txt",)),
        "report of two": ("wonn_jax.report", ("run", name), (name,)),
        "report nowhere": ("wonn_jax.report", ("run", f"--output={name}/out.html"), (name,)),
        "report into a folder": ("wonn_jax.report", ("run", "--output=run"), ("run",)),
        "no command": ("wonn_jax.interop", (), ("command",)),
        "unknown command": ("wonn_jax.interop", (name,), (name,)),
        "no fixture": ("wonn_jax.interop", ("verify",), ("FILE",)),
        "missing fixture": ("wonn_jax.interop", ("verify", f"{name}.npz"), (name,)),
        "text as fixture": ("wonn_jax.interop", ("verify", "good.txt"), ("good.txt",)),
        "no tolerance": (
            "wonn_jax.interop",
            ("verify", f"--tolerance={draw(_NO_NUMBERS)}", "weights.npz"),
            ("tolerance",),
        ),
    }
    fault = draw(st.sampled_from(list(choices)))
    module, words, names = choices[fault]
    copies = {"run": "run", "weights.npz": "weights.npz"}
    return Input(fault, module, words, names, copies, MAZE)


def inputs() -> st.SearchStrategy[Input]:
    return training() | solving() | others()
