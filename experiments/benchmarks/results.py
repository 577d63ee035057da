"""Tables of measured steps."""

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

GIGA = 1e9

LABELS = {"torch": "PyTorch", "torch-compile": "torch.compile", "jax": "JAX"}


class Spread(NamedTuple):
    """Median, minimum and maximum."""

    median: float
    low: float
    high: float


def ratios(jax: list[float], torch: list[float]) -> Spread:
    """Ratio of the seconds of JAX to those of PyTorch, round by round.

    Raises:
      ValueError: the lists are empty or of different lengths.
    """
    if not jax or len(jax) != len(torch):
        raise ValueError(f"{len(jax)} and {len(torch)} steps make no rounds of two.")
    each = [ours / theirs for ours, theirs in zip(jax, torch, strict=True)]
    return Spread(statistics.median(each), min(each), max(each))


def heading(results: dict[str, Any]) -> str:
    """What was measured, on what, when and by which command."""
    hardware, versions = results["hardware"], results["versions"]
    machine = hardware["gpu"] or f"{hardware['cores']} cores, {hardware['cpu']}"
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{results['date']}; {machine}; {names}.\n\n    {results['command']}"


def table(results: dict[str, Any]) -> str:
    """Markdown: the heading, then a line for every case, mode and side of PyTorch.

    Ratios are JAX to PyTorch. That of the time is the median over rounds, with minimum and maximum.
    Memory is the peak; the memory of the imports alone is given below the table.
    """
    header = (
        *("case", "step", "batch", "beside", "PyTorch, s", "JAX, s", "ratio (min–max)"),
        *("PyTorch, GB", "JAX, GB", "ratio"),
    )
    lines = [line for measured in results["measurements"] for line in _lines(measured)]
    parts = [heading(results), markdown([header, *lines], text=(0, 1, 3))]
    if imports := _imports(results["measurements"]):
        parts.append(imports)
    return "\n\n".join(parts) + "\n"


def _lines(measured: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    sides = measured["sides"]
    ours = sides.get("jax")
    case, kind = measured["case"], (measured["mode"], f"{measured['batch']}")
    for name in [name for name in sides if name != "jax"] or [""]:
        theirs = sides.get(name)
        seconds = [f"{statistics.median(x['seconds']):.4g}" if x else "–" for x in (theirs, ours)]
        memory = [f"{x['peak'] / GIGA:.2f}" if x else "–" for x in (theirs, ours)]
        spread = share = "–"
        if theirs and ours:
            ratio = ratios(ours["seconds"], theirs["seconds"])
            spread = f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
            share = f"{ours['peak'] / theirs['peak']:.2f}"
        yield (case, *kind, LABELS.get(name, "–"), *seconds, spread, *memory, share)


def _imports(measurements: list[dict[str, Any]]) -> str:
    greatest: dict[str, int] = {}
    for measured in measurements:
        for name, side in measured["sides"].items():
            greatest[name] = max(greatest.get(name, 0), side["imports"])
    if not any(greatest.values()):  # nothing on a GPU
        return ""
    each = (f"{LABELS[name]} {size / GIGA:.2f} GB" for name, size in greatest.items())
    return f"Of the memory, by imports alone: {', '.join(each)}."


def markdown(lines: list[tuple[str, ...]], text: tuple[int, ...] = ()) -> str:
    """A Markdown table of a header and rows; columns are right-aligned, except those in `text`."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple(
        "-" * (width if i in text else width - 1) + ("" if i in text else ":")
        for i, width in enumerate(widths)
    )

    def row(cells: tuple[str, ...]) -> str:
        padded = (
            cell.ljust(width) if i in text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join(row(cells) for cells in (lines[0], rule, *lines[1:]))
