"""Searches for inputs that a command does not refuse as it should, and makes them small.

    python -m experiments.faults.inputs.search mazes --seed=1 --examples=20 --folder=FOLDER

prints a line of JSON at the end. FOLDER keeps what Hypothesis has found (which it tries first the
next time), and of each fault the smallest input, with the command line and what it printed.
"""

import argparse
import json
import os
import shlex
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.database import DirectoryBasedExampleDatabase

from experiments.faults.inputs import kinds
from experiments.faults.inputs.base import Ending, Input, check, command, prepare
from experiments.faults.runs import QUICK, ROOT


class Search:
    """Draws inputs of a kind and remembers the last, and smallest, of each fault.

    Args:
      kind: of inputs, see `kinds`.
      bases: folder of `bases.py`.
      folder: for what is found.
    """

    def __init__(self, kind: str, bases: Path, folder: Path):
        self._strategy = kinds.KINDS[kind](bases)
        self._bases = bases
        self._folder = folder
        self._here = folder / "here"
        self._kinds: dict[str, type[Exception]] = {}
        self.seen: set[str] = set()
        self.numbers: Counter[str] = Counter()
        self.failing: dict[str, tuple[Input, list[str], Ending]] = {}

    def draw(self, seed: int, examples: int) -> None:
        """Tries so many inputs, and more to make those with faults smaller."""

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            database=DirectoryBasedExampleDatabase(self._folder / "examples"),
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(self._strategy)
        def refused(input: Input) -> None:
            self._try(input)

        try:
            refused()
        except* AssertionError:
            pass  # remembered in `failing`

    def _try(self, input: Input) -> None:
        shutil.rmtree(self._here, ignore_errors=True)
        faults, ending = check(input, self._bases, self._here)
        if (text := repr(input)) not in self.seen:
            self.seen.add(text)
            self.numbers["refused" if ending.status == 2 else "accepted"] += 1
        if faults:
            key = f"{input.fault}: {_general(faults[0])}"
            self.failing[key] = input, faults, ending
            # Hypothesis makes the smallest example of each type of exception.
            raise self._kinds.setdefault(key, type("Fault", (AssertionError,), {}))(key)

    def save(self) -> list[str]:
        """Writes the smallest inputs with faults to the folder; a line for each."""
        lines = []
        shutil.rmtree(self._folder / "found", ignore_errors=True)
        for number, (input, faults, ending) in enumerate(self.failing.values()):
            here = self._folder / "found" / f"{number}"
            prepare(input, self._bases, here)
            words = shlex.join(command(input, here))
            (here.parent / f"{number}.txt").write_text(
                f"cd {here}\npython -m {words}\n\n{'; '.join(faults)}\nstatus {ending.status}\n"
                f"{ending.err}\n{input!r}\n",
                errors="backslashreplace",
            )
            lines.append(f"{input.fault}: {'; '.join(faults)} ({here.parent / str(number)}.txt)")
        return lines


def _general(fault: str) -> str:
    """A fault without what differs from example to example."""
    return fault.partition(" of ")[0] if fault.startswith("the message") else fault[:60]


def run(kind: str, seed: int, examples: int, folder: Path) -> dict[str, Any]:
    """Searches until there were as many different inputs; numbers and faults."""
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(kind, folder.parent / "bases", folder)
    for again in range(5):
        if (left := examples - len(search.seen)) > 0:
            search.draw(seed + 1000 * again, left)
    return {"numbers": dict(search.numbers), "faults": search.save()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=list(kinds.KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    # The representation of a file of weights is long.
    warnings.simplefilter("ignore", hypothesis.errors.HypothesisWarning)
    os.environ |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK, "PYTHONPATH": str(ROOT)}
    kinds.import_libraries()
    print(json.dumps(run(options.kind, options.seed, options.examples, options.folder.resolve())))


if __name__ == "__main__":
    main()
