"""The paper's tables, with the results measured here beside every row.

    python -m experiments.tables

The paper's results are in `wonn_jax/tools/paper_results.json`. A measurement is a JSON file in
`experiments/results/` that names its row:

    {"paper_row": ["maze_hard", "WONN-trig L1T24"], "accuracy": 76.0, "command": "…",
     "hardware": "…", "date": "2026-11-24"}

A row without one is printed as 'not measured'; every number is printed with its file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.results import markdown
from wonn_jax.tools.paper import results as paper_results

RESULTS = Path(__file__).parent / "results"
FIELDS = ("paper_row", "accuracy", "command", "hardware", "date")


class Measured(NamedTuple):
    """Accuracy measured for a row of a table of the paper, %.

    table, row, column: where the paper's result stands.
    accuracy: measured, %.
    source: name of the file.
    """

    table: str
    row: str
    column: str
    accuracy: float
    source: str


def measurements(folder: Path, paper: dict[str, Any]) -> list[Measured]:
    """All measurements in a folder.

    Raises:
      ValueError: malformed JSON, a missing field, or a row that the paper does not have.
    """
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"{file} is malformed JSON: {error}.") from error
        if not isinstance(content, dict) or "paper_row" not in content:
            continue
        if missing := [name for name in FIELDS if name not in content]:
            raise ValueError(f"{file} lacks {', '.join(missing)}; it must have {FIELDS}.")
        table, row, *column = content["paper_row"]
        rows = paper.get(table, {}).get("rows", {})
        if row not in rows:
            known = ", ".join(rows) or ", ".join(k for k, v in paper.items() if isinstance(v, dict))
            raise ValueError(f"{file}: the paper has no row {row!r} in {table!r}; it has {known}.")
        columns = [c for c in paper[table]["columns"] if c.endswith("acc")]
        if (column or columns[:1])[0] not in columns or not column and len(columns) > 1:
            raise ValueError(f"{file}: paper_row must end with one of {', '.join(columns)}.")
        name = (column or columns)[0]
        found.append(Measured(table, row, name, float(content["accuracy"]), file.name))
    return found


def tables(paper: dict[str, Any], measured: list[Measured]) -> str:
    """Every table of the paper that has accuracies, as Markdown."""
    parts = [f"Paper: {paper['source']}.", ""]
    for name, table in paper.items():
        columns = table.get("columns", []) if isinstance(table, dict) else []
        accuracies = [c for c in columns if c.endswith("acc")]
        if not accuracies:
            continue
        lines: list[tuple[str, ...]] = [("row", "what", "paper, %", "measured, %", "file")]
        for row, values in table["rows"].items():
            figures = dict(zip(columns, values, strict=True))
            for column in accuracies:
                printed = figures[column]
                spread = figures.get(column.replace("acc", "std"))
                said = "–" if printed is None else f"{printed:.2f}"
                said += f" ± {spread:.2f}" if spread is not None else ""
                here = [m for m in measured if (m.table, m.row, m.column) == (name, row, column)]
                lines += [
                    (row, column, said, f"{m.accuracy:.2f}", f"results/{m.source}") for m in here
                ] or [(row, column, said, "not measured", "–")]
        parts += [f"## {name}", "", markdown(lines, text=(0, 1, 4)), ""]
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args(argv)
    paper = paper_results()
    try:
        print(tables(paper, measurements(options.results, paper)))
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
