"""Tables, exponents and figure of the measurements of `experiments.growth`."""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.results import heading, markdown

MEGA = 1e6

Settings = dict[str, Any]
"""Of a point: mode, side (of the board, cells), steps, batch, width, heads, remat, precision,
backend, devices."""

Point = dict[str, Any]
"""`sweep`, `settings`, `date`, `limit` (s), `status` ('measured', or why not), and measurements:
`seconds` of each counted step, `first_seconds` of the warm-up, `compile_seconds`, and in bytes
`temporaries`, `arguments` and `output` of the compiled step on a device, `attention` (temporaries
of one call of attention, with its gradient when training), `peak_before_compile`,
`peak_after_compile`, `resident_after_compile` and `peak_after_steps` of the process, and
`device_peak` of an accelerator."""


class Variable(NamedTuple):
    """A varied quantity: title of its panels, symbol in a power, label of its axis."""

    title: str
    sign: str
    axis: str


VARIABLES = {
    "cells": Variable("Cells of the board", "N", "cells of the board"),
    "steps": Variable("Steps of the dynamics", "T", "steps of the dynamics"),
    "batch": Variable("Boards of the batch", "B", "boards of the batch"),
    "width": Variable("Channels", "C", "channels"),
    "inference": Variable("Cells of the board", "N", "cells of the board"),
}


class Fit(NamedTuple):
    """y = factor · x^exponent through all points, and the exponent through the last two."""

    exponent: float
    factor: float
    last: float


def fit(x: list[float], y: list[float | None]) -> Fit | None:
    """Least squares on logarithms; None for fewer than two sizes with a positive y."""
    pairs = sorted(
        (math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if b is not None and b > 0
    )
    if len({a for a, _ in pairs}) < 2:
        return None
    exponent, intercept = statistics.linear_regression(*zip(*pairs, strict=True))
    last, _ = statistics.linear_regression(*zip(*pairs[-2:], strict=True))
    return Fit(exponent, math.exp(intercept), last)


class Series(NamedTuple):
    """Points over one variable, smallest first."""

    sweep: str
    points: list[Point]

    @property
    def sizes(self) -> list[float]:
        return [size(self.sweep, point["settings"]) for point in self.points]

    def values(self, name: str) -> list[float | None]:
        """A quantity at each point; of `seconds`, the minimum."""
        if name == "seconds":
            return [min(x["seconds"]) if x.get("seconds") else None for x in self.points]
        return [x.get(name) for x in self.points]

    @property
    def label(self) -> str:
        """What distinguishes it from other series over the same variable."""
        settings = self.points[0]["settings"]
        if self.sweep != "steps":
            return "training" if settings["mode"] == "train" else "inference"
        k = settings["remat"]
        return "recomputed step by step" if k == 1 else f"in chunks of {k}"


def size(name: str, settings: Settings) -> int:
    """The value of the varied quantity at a point of a sweep."""
    return settings["side"] ** 2 if name in ("cells", "inference") else settings[name]


def series(results: dict[str, Any]) -> list[Series]:
    """All series of the results; the sweep over steps has one for each way to recompute."""
    found = []
    for name in VARIABLES:
        points = [x for x in results["points"] if x["sweep"] == name]
        for remat in sorted({x["settings"]["remat"] for x in points}):
            own = [x for x in points if x["settings"]["remat"] == remat]
            own.sort(key=lambda x: size(name, x["settings"]))
            found.append(Series(name, own))
    return found


def describe(settings: Settings, without: str = "") -> str:
    """A point in words, `without` the varied quantity of a sweep."""
    count = settings["batch"]
    words = {
        "mode": "training" if settings["mode"] == "train" else "inference",
        "cells": f"{settings['side']}×{settings['side']}",
        "steps": f"T {settings['steps']}",
        "batch": f"batch {count}",
        "width": f"C {settings['width']}",
        "heads": f"{settings['heads']} heads",
        "remat": f"remat {settings['remat']}",
        "precision": settings["precision"],
        "devices": f"{settings['devices']} device" + "s" * (settings["devices"] > 1),
    }
    if settings["mode"] != "train":
        del words["remat"]
    without = "cells" if without == "inference" else without
    return ", ".join(text for name, text in words.items() if name != without)


HEADER = (
    *("s (least)", "s (median)", "timed", "compile, s", "temporaries, MB", "attention, MB"),
    *("arguments, MB", "output, MB", "peak, MB"),
)


def tables(results: dict[str, Any]) -> str:
    """Markdown: a heading, then a table with exponents for each series."""
    dates = sorted({x["date"] for x in results["points"]})
    head = heading(
        {
            "date": " to ".join(sorted({*dates[:1], *dates[-1:]})),
            "command": "\n    ".join(results["commands"]),
            "hardware": results["hardware"],
            "versions": results["versions"],
        }
    )
    notes = (
        "Seconds are of one step: minimum and median of the counted steps. Temporaries, "
        "arguments and output are the compiler's, for one device; attention: temporaries of one "
        "call, with its gradient when training; peak: of the process while steps run, minus its "
        "memory before them, or what was allocated on a GPU. A MB is 10⁶ bytes."
    )
    return "\n\n".join([head, notes, *map(_table, series(results))]) + "\n"


def _table(line: Series) -> str:
    variable = VARIABLES[line.sweep]
    title = f"### {variable.title}: {line.label}"
    about = describe(line.points[0]["settings"], without=line.sweep)
    body = [(_size_text(line, point), *_cells(point)) for point in line.points]
    empty = ("",) * len(HEADER)
    for label, number in (("exponent", 0), ("exponent, last two", 2)):
        cells = list(empty)
        for column, name in ((0, "seconds"), (4, "temporaries"), (5, "attention")):
            found = fit(line.sizes, line.values(name))
            cells[column] = f"{found[number]:.2f}" if found else "–"
        body.append((label, *cells))
    lines = [f"{title}\n", f"{about[0].upper()}{about[1:]}.\n"]
    missing = [
        f"{_size_text(line, x)}: {x['status']}" for x in line.points if x["status"] != "measured"
    ]
    lines.append(markdown([(variable.axis, *HEADER), *body]))
    if missing:
        lines.append(f"\nNot measured: {'; '.join(missing)}.")
    return "\n".join(lines)


def _size_text(line: Series, point: Point) -> str:
    number = size(line.sweep, point["settings"])
    if line.sweep in ("cells", "inference"):
        return f"{point['settings']['side']}² = {number}"
    return str(number)


def _cells(point: Point) -> Iterator[str]:
    seconds = point.get("seconds")
    yield f"{min(seconds):.4g}" if seconds else "–"
    yield f"{statistics.median(seconds):.4g}" if seconds else "–"
    yield f"{len(seconds)}" if seconds else "–"
    yield f"{point['compile_seconds']:.1f}" if "compile_seconds" in point else "–"
    own = None
    if "peak_after_steps" in point:
        own = point["peak_after_steps"] - point["resident_after_compile"]
        if point["device_peak"] is not None:
            own = point["device_peak"]
    named = (point.get(x) for x in ("temporaries", "attention", "arguments", "output"))
    for value in (*named, own):
        yield f"{value / MEGA:.1f}" if value is not None else "–"


# --- The figure -----------------------------------------------------------------------------

COLOURS = ("#3d7eff", "#d7263d")
PANELS = (("cells", "inference"), ("steps",), ("batch",), ("width",))


def draw(results: dict[str, Any], target: Path) -> None:
    """Draws time above and memory below, a column for each variable, with the fitted powers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    every = series(results)
    columns = [own for names in PANELS if (own := [x for x in every if x.sweep in names])]
    if not columns:
        raise SystemExit("There are no points to draw yet.")
    size_ = (3.6 * len(columns) + 0.4, 6.4)
    figure, axes = plt.subplots(2, len(columns), figsize=size_, layout="constrained", squeeze=False)
    for column, lines in enumerate(columns):
        time_, memory = axes[:, column]
        for line, colour in zip(lines, COLOURS, strict=False):
            _power(time_, line, "seconds", 1.0, line.label, color=colour, marker="o")
            _power(memory, line, "temporaries", MEGA, line.label, color=colour, marker="o")
        drawn: list[Any] = []
        for line, colour in zip(lines, COLOURS, strict=False):
            if line.values("attention") in drawn:  # recomputation does not change it
                continue
            drawn.append(line.values("attention"))
            label = "attention alone" if len(lines) == 1 or line.sweep == "steps" else ""
            label = label or f"attention, {line.label}"
            colour = "#777777" if line.sweep == "steps" else colour
            style = {"marker": "s", "linestyle": "--", "markerfacecolor": "white"}
            _power(memory, line, "attention", MEGA, label, color=colour, **style)
        ticks = {size(x.sweep, p["settings"]): p["settings"] for x in lines for p in x.points}
        for axis in (time_, memory):
            _finish(axis, lines[0].sweep, ticks)
        variable = VARIABLES[lines[0].sweep]
        time_.set_title(variable.title, fontsize=11)
        memory.set_xlabel(f"{variable.axis}, {variable.sign}")
    axes[0, 0].set_ylabel("time of a step, s")
    axes[1, 0].set_ylabel("temporaries on a device, MB")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)


def _power(axis: Any, line: Series, name: str, unit: float, label: str, **style: Any) -> None:
    """Draws points and the fitted power, with its exponents in the legend."""
    values = line.values(name)
    pairs = [(x, y / unit) for x, y in zip(line.sizes, values, strict=True) if y]
    if not pairs:
        return
    found = fit(line.sizes, values)
    shape = {"linestyle": "-", "markersize": 4.5, "linewidth": 1.2} | style
    if found:
        ends = (pairs[0][0], pairs[-1][0])
        power = [found.factor * x**found.exponent / unit for x in ends]
        axis.plot(ends, power, color=shape["color"], linestyle=shape["linestyle"], linewidth=1.2)
        sign = VARIABLES[line.sweep].sign
        label += f": ${sign}^{{{found.exponent:.2f}}}$"
        if len(pairs) > 2:
            label += f", last two ${sign}^{{{found.last:.2f}}}$"
    axis.plot(*zip(*pairs, strict=True), **(shape | {"linestyle": "none"}))
    axis.plot([], [], label=label, **shape)


def _finish(axis: Any, name: str, ticks: dict[int, Settings]) -> None:
    """Logarithmic axes with plain numbers, and room for the legend above the lines."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set(xscale="log", yscale="log")
    cells = name in ("cells", "inference")
    labels = [f"{settings['side']}²" if cells else f"{x}" for x, settings in ticks.items()]
    axis.set_xticks(list(ticks), labels)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(min(ticks) / 1.15, max(ticks) * 1.15)
    low, high = axis.get_ylim()
    decades = math.log10(high / low)
    count = len(axis.get_legend_handles_labels()[1])
    high *= 10 ** ((decades + 0.3) * (0.06 + 0.09 * count))
    axis.set_ylim(low, high)
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 3 else (1.0,)
    axis.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9, color="#999999")
    axis.legend(loc="upper left", frameon=False, fontsize=8, handlelength=1.8, borderpad=0.1)
