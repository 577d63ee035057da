"""The page of the results: a section for each seed, a table for each part of the campaign."""

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.steps import cores, cpu_name

TITLES = {
    "kills": "Runs that are killed",
    "checkpoints": "The newest checkpoint damaged",
    "disks": "Disks",
    "inputs": "Bad inputs",
    "dynamics": "The functions of `wonn_jax.dynamics`",
}
MEANING = {
    "kills": (
        "Each line is one run: killed with SIGKILL, started again, and at its end equal to the run "
        "that nobody disturbed, bit for bit, in all files, the arrays of all checkpoints and the "
        "scalars of TensorBoard, with no batch lost or repeated. 'Between files' is before one of "
        "the changes of files in the workdir, which the process itself counts."
    ),
    "checkpoints": (
        "The same command goes on from the checkpoint before, says which one is damaged, and ends "
        "as the run did."
    ),
    "disks": (
        "The run ends with a sentence and status 2; when the disk is mended, the same command goes "
        "on, and the run equals the one that nobody disturbed."
    ),
    "inputs": (
        "Each ends with status 2 and a sentence that names what was found and says what to do, "
        "without a traceback; no file is changed or left behind. Accepted are those that turned "
        "out to be good, where that is possible."
    ),
    "dynamics": "Against the plain formulas in float64, by Hypothesis.",
}


def write_table(workdir: Path, output: Path) -> None:
    """Writes the page on all campaigns in a folder."""
    texts = [x.read_text() for x in sorted(workdir.glob("seed-*/cases.json"))]
    campaigns = [json.loads(x.replace(f"{workdir.resolve()}/", "")) for x in texts]
    output.write_text(page(campaigns, datetime.date.today().isoformat()))


def page(campaigns: list[dict[str, Any]], date: str) -> str:
    """The page as Markdown."""
    commands = [f"    python -m experiments.faults --seed={x['about']['seed']}" for x in campaigns]
    text = ["# What faults of machines and people come to", ""]
    text += [f"{date}; {cores()} cores, {cpu_name()}.", "", *commands, ""]
    text += [_table(_summary(campaigns)), ""]
    for part, title in TITLES.items():
        text += [f"## {title}", "", MEANING[part], ""]
        for campaign in campaigns:
            cases = _of(part, campaign)
            if cases:
                rows = [(x["what"], x["found"], "; ".join(x["faults"]) or "–") for x in cases]
                text += [f"Seed {campaign['about']['seed']}:", ""]
                text += [_table([("case", "came to", "faults"), *rows]), ""]
    return "\n".join(text)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A header and rows in Markdown, without padding: cells are sentences."""
    lines = [[" ".join(cell.replace("|", r"\|").split()) for cell in row] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _summary(campaigns: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Sums over the cases of each campaign."""
    rows = [("", *(f"seed {x['about']['seed']}" for x in campaigns))]
    totals = [_totals(x) for x in campaigns]
    for name in dict.fromkeys(name for total in totals for name in total):
        rows.append((name, *(f"{total[name]}" for total in totals)))
    return rows


def _totals(campaign: Mapping[str, Any]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in TITLES:
        cases = _of(part, campaign)
        total[f"{part}: cases"] = len(cases)
        for case in cases:
            total.update({f"{part}: {name}": n for name, n in case["numbers"].items()})
        total[f"{part}: faults"] = sum(len(case["faults"]) for case in cases)
    return total


def _of(part: str, campaign: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [x for name, x in campaign["cases"].items() if name.startswith(f"{part}/")]
