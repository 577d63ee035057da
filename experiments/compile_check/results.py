"""Results that grow: what was found of each program, by key, in a JSON file and as a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.compile_check import platforms
from experiments.compile_check.children import found_by_child
from experiments.compile_check.programs import Program

GIGA = 1e9

ABOUT = "about"
"""The key of a line on versions."""

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
    programs = [x for key, x in found.items() if key != ABOUT] if isinstance(found, dict) else [{}]
    if not all(isinstance(x, dict) and "date" in x for x in programs):
        raise ValueError(f"{path} does not hold the results of this command; use --output.")
    return found


def write(path: Path, results: Results, report: Callable[[Results], str]) -> None:
    """Both files; what is there is replaced when the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {path: json.dumps(results, indent=1, ensure_ascii=False) + "\n"}
    for file, text in (texts | {path.with_suffix(".md"): report(results)}).items():
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.replace(file)


def compile_into(
    path: Path,
    key: str,
    program: Program,
    report: Callable[[Results], str],
    *,
    limit: float,
    keep: Path | None = None,
) -> None:
    """Compiles a program and adds what was found to the results.

    Args:
      path: of the JSON file; the page lies beside it.
      key: of the program.
      program: to compile.
      report: makes the page.
      limit: s.
      keep: folder for the optimised HLO.
    """
    print(f"{key}: {program.flags}", flush=True)
    file = keep / f"{key.replace(' ', '_').replace('/', '-')}.hlo.gz" if keep else None
    found = found_by_child(program, limit, file)
    print(f"  {found.get('error') or summary(found)}", flush=True)
    # Read again: another process may have added to them meanwhile.
    new = {ABOUT: platforms.versions(program.platform), key: found}
    write(path, read(path) | new, report)


def complete(found: dict[str, Any] | None) -> bool:
    """Whether a program is there and was compiled."""
    return found is not None and "error" not in found


def summary(found: dict[str, Any]) -> str:
    """A line on a program that was compiled."""
    return f"{used(found) / GIGA:.2f} GB, compiled in {found['compile_seconds']:.0f} s"


def used(found: dict[str, Any]) -> int:
    """Memory that the program needs on a device, bytes."""
    total: int = found["arguments"] + found["temporaries"] + found["output"]
    return total
