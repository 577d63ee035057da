"""Puzzles for `solve`: in files and piped in."""

from hypothesis import strategies as st

from experiments.faults.inputs import damage
from experiments.faults.inputs.base import HERE, Input

SOLVE = "wonn_jax.solve"


def puzzle(draw: st.DrawFn, task: str, fault: str, text: str) -> Input:
    """A text that holds a bad puzzle."""
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-8-sig"])))
    piped = draw(st.booleans())
    return Input(
        fault,
        SOLVE,
        (task, "-" if piped else "puzzle.txt", f"--workdir={HERE}/run"),
        ("standard input", f"{task} 1") if piped else ("puzzle.txt", f"{task} 1"),
        {"run": "run"},
        {} if piped else {"puzzle.txt": content},
        content if piped else b"",
    )


@st.composite
def no_puzzle(draw: st.DrawFn, task: str) -> Input:
    """A file of anything but puzzles."""
    ends = ["txt", "json", "npy", "npz", "csv", "gz", "zip", "pt", "xlsx", "parquet", ""]
    name = f"puzzle.{draw(st.sampled_from(ends))}".rstrip(".")
    content = draw(damage.whole_or_gone() | st.binary(min_size=1, max_size=40))
    return Input(
        f"no {task} at all",
        SOLVE,
        (task, name, f"--workdir={HERE}/run"),
        (name,),
        {"run": "run"},
        {name: content},
    )
