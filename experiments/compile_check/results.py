"""Results that grow: what was found of each program, by key, in a JSON file and as a page."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.compile_check.children import found_by_child
from experiments.compile_check.programs import Program

GIGA = 1e9

Results = dict[str, Any]


def read(path: Path) -> Results:
    """The results so far.

    Raises:
      ValueError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, or use --output.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold the results of this command; use --output.")
    return found


def write(path: Path, results: Results, report: Callable[[Results], str]) -> None:
    """Both files; what is there is replaced when the new one is complete."""
    texts = {path: json.dumps(results, indent=1, ensure_ascii=False) + "\n"}
    for file, text in (texts | {path.with_suffix(".md"): report(results)}).items():
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.replace(file)


def add(
    path: Path,
    programs: Iterable[tuple[str, Program]],
    report: Callable[[Results], str],
    *,
    again: bool,
    limit: float,
    keep: Path | None = None,
) -> Results:
    """Compiles the programs that the results lack or that failed, and writes after each.

    Args:
      path: of the JSON file; the page lies beside it.
      programs: with their keys.
      report: makes the page.
      again: whether to compile those that are there, too.
      limit: s for each.
      keep: folder for the optimised HLO.
    """
    for key, program in programs:
        done = read(path).get(key)
        if done and "error" not in done and not again:
            continue
        print(f"{key}: {program.flags}", flush=True)
        file = keep / f"{key.replace(' ', '_').replace('/', '-')}.hlo.gz" if keep else None
        found = found_by_child(program, limit, file)
        print(f"  {found.get('error') or summary(found)}", flush=True)
        # Read again: another process may have added to them meanwhile.
        write(path, read(path) | {key: found}, report)
    return read(path)


def summary(found: dict[str, Any]) -> str:
    """A line on a program that was compiled."""
    return f"{used(found) / GIGA:.2f} GB, compiled in {found['compile_seconds']:.0f} s"


def used(found: dict[str, Any]) -> int:
    """Memory that the program needs on a device, bytes."""
    total: int = found["arguments"] + found["temporaries"] + found["output"]
    return total
