"""The report of a run, assembled: results, curves, dynamics, votes, predictions, settings."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from etils import epath

from wonn_jax.common.files import named_fields
from wonn_jax.evaluators.voting import RULES
from wonn_jax.tools.paper import benchmark, rows_for
from wonn_jax.tools.report import dynamics
from wonn_jax.tools.report.curves import curves
from wonn_jax.tools.report.fragments import element, picture, read, render, table, template
from wonn_jax.tools.runs import Run, component, read_run


def report_page(workdir: epath.Path) -> str:
    """The report of a run as one HTML page that loads nothing from elsewhere.

    Raises:
      FileNotFoundError: no run, or one without an evaluation.
      ValueError: a file of the run is malformed; the message names it.
    """
    run = read_run(workdir)
    last = _last_evaluation(run)
    with _malformed(workdir / "config.json"):
        task = component(run.config, "task")
        configuration = _configuration(run.config)
        compared = _paper(run, last)
    with _malformed(workdir / "metrics.jsonl"):
        shown = curves(run.of_kind("train"), run.of_kind("test"))
    with _malformed(workdir / "voting.json"):
        voting = _voting(run)
    return template(
        "page.html",
        title=render(element("title", workdir.name)),
        heading=render(element("h1", f"{workdir.name}: {task}, step {last['step']:,}")),
        style=read("style.css"),
        result=render(_result(last), *compared),
        curves=render(picture(shown, "Curves")),
        dynamics=_dynamics(workdir, task),
        voting=render(*voting),
        predictions=render(*_predictions(workdir)),
        environment=render(table(run.about.items())),
        configuration=render(configuration),
    )


@contextlib.contextmanager
def _malformed(path: epath.Path) -> Iterator[None]:
    """Makes an error about a value that is missing or of another type name the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} lacks the field {error}.") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} has a value of the wrong kind ({error}).") from error


def _last_evaluation(run: Run) -> dict[str, Any]:
    written = run.workdir / "metrics.jsonl"
    test = run.of_kind("test")
    if not test:
        raise FileNotFoundError(
            f"{written} has no evaluation yet; train longer, or evaluate more often "
            "(--config.eval.every)."
        )
    for name in ("step", "raw_accuracy", "ema_accuracy"):
        if name not in test[-1]:
            raise ValueError(f"{written}: the last evaluation lacks {name!r}.")
        if not isinstance(test[-1][name], (int, float)):
            raise ValueError(
                f"{written}: {name!r} of the last evaluation is {test[-1][name]!r:.40}, "
                "not a number."
            )
    return test[-1]


def _result(last: dict[str, Any]) -> Element:
    names = [name.removeprefix("raw_") for name in last if name.startswith("raw_")]
    return table(
        [(name, last[f"raw_{name}"], last.get(f"ema_{name}", "")) for name in names],
        ("on the test split", "raw weights", "EMA weights"),
    )


def _paper(run: Run, last: dict[str, Any]) -> list[Element]:
    """A comparison with the paper's results on the same benchmark."""
    task, data = (component(run.config, section) for section in ("task", "data"))
    known = benchmark(task, data, run.config["data"].get("classes", 0))
    if known is None:
        return [element("p", "The paper (arXiv 2605.20922) reports no results on this data set.")]
    size = f"{run.about['parameters']:,}" if "parameters" in run.about else ""
    raw, ema = (f"{100 * last[f'{weights}_accuracy']:.2f} %" for weights in ("raw", "ema"))
    rows = [("this run", size, "", raw, ema)]
    rows += [(name, n, f"{accuracy} %", "", "") for name, n, accuracy in rows_for(known)]
    boards = f"The paper's boards are {known.boards}. " if known.boards else ""
    return [
        element("p", "Compared with the paper (arXiv 2605.20922):"),
        table(rows, ("model", "parameters", "paper", "raw weights", "EMA weights")),
        element(
            "p",
            f"{boards}The configurations of the paper's models are in ",
            element("code", "configs/"),
            "; the configuration of this run is below.",
        ),
    ]


def _dynamics(workdir: epath.Path, task: str) -> str:
    try:
        return dynamics.section(workdir, task)
    except (ValueError, OSError, ImportError) as error:  # the other sections do not depend on it
        return render(element("h2", "Dynamics"), element("p", f"Not shown: {error}"))


def _voting(run: Run) -> list[Element]:
    if not run.voting:
        return []
    parts = [element("h2", "Voting")]
    for weights in [name for name in ("raw", "ema", "imported") if name in run.voting]:
        for metric, result in run.voting[weights].items():
            single, spread = result["single draw"], result["single draw, spread"]
            title = f"{metric}, {weights} weights, {result['steps']} steps: single draw "
            title += f"{single:.4f} ± {spread:.4f}"
            rows = [(str(r["draws"]), *(r[rule] for rule in RULES)) for r in result["by_draws"]]
            parts += [element("p", title), table(rows, ("draws", *RULES))]
    return parts + [
        picture(x.read_bytes(), x.name) for x in sorted(run.workdir.glob("voting_*.png"))
    ]


def _predictions(workdir: epath.Path) -> list[Element]:
    latest = sorted((workdir / "predictions").glob("step_*.png"))[-1:]
    return [
        part
        for file in latest
        for part in (element("h2", "Predictions"), picture(file.read_bytes(), file.name))
    ]


def _configuration(config: dict[str, Any]) -> Element:
    fields = [(name, json.dumps(value)) for name, value in named_fields(config).items()]
    return element("details", element("summary", f"{len(fields)} fields"), table(fields))
