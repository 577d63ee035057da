"""Compiles a program in a process of its own, which may fail, crash or take too long.

    python -m experiments.compile_check.children

is that process: it reads a program from standard input and writes what it found to a file.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from experiments.compile_check.programs import Program, compile_program


def found_by_child(program: Program, limit: float, keep: Path | None = None) -> dict[str, Any]:
    """What `compile_program` returns, or an 'error' in a sentence.

    Args:
      program: to compile.
      limit: s; the child is ended after it.
      keep: see `compile_program`.
    """
    # Read when JAX is imported, so that it looks for no chip and no card.
    settings = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        job = {"program": program._asdict(), "keep": str(keep or ""), "output": str(output)}
        try:
            child = subprocess.run(
                [sys.executable, "-m", __spec__.name],
                input=json.dumps(job),
                env=os.environ | settings,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _error(f"not compiled within {limit:g} s")
        if output.exists():
            found: dict[str, Any] = json.loads(output.read_text())
            return found
    last = (child.stderr.strip().splitlines() or [""])[-1]
    return _error(f"the compiler ended with status {child.returncode}: {last}")


def _error(text: str) -> dict[str, Any]:
    text = re.sub(r"\s+", " ", text)[:300]
    return {"error": text, "date": date.today().isoformat()}


def main() -> None:
    """Reads a job, compiles it, writes what was found."""
    job = json.load(sys.stdin)
    try:
        keep = Path(job["keep"]) if job["keep"] else None
        found = compile_program(Program(**job["program"]), keep)
    except Exception as error:  # whatever the compiler raises is a row of the table
        found = _error(str(error) or type(error).__name__)
    Path(job["output"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
