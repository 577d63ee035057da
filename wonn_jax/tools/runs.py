"""The files of a run, as a report reads them: configuration, metrics, environment, votes."""

from pathlib import Path
from typing import Any, NamedTuple

import wonn_jax.evaluators
import wonn_jax.train.card  # noqa: F401, both register the components that `upgrade` looks up
from wonn_jax.common.files import read_object
from wonn_jax.train.metrics import read_lines
from wonn_jax.train.upgrade import upgrade


class Run(NamedTuple):
    """The files of a run.

    workdir: its folder.
    config: `config.json`.
    about: `run.json`, the environment; empty if there is none.
    voting: `voting.json`; empty if there is none.
    lines: of `metrics.jsonl`.
    """

    workdir: Path
    config: dict[str, Any]
    about: dict[str, Any]
    voting: dict[str, Any]
    lines: list[dict[str, Any]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, 'train' or 'test'."""
        return [line for line in self.lines if line.get("kind") == kind]


def read_run(workdir: Path) -> Run:
    """Reads the files of a run.

    Raises:
      FileNotFoundError: no run there.
      ValueError: malformed JSON.
    """
    files = {name: workdir / f"{name}.json" for name in ("config", "run", "voting")}
    if not files["config"].is_file():
        raise FileNotFoundError(f"{workdir} holds no run: there is no config.json.")
    config, about, voting = (read_object(f) if f.is_file() else {} for f in files.values())
    lines = [x for x in read_lines(workdir / "metrics.jsonl") if isinstance(x, dict)]
    return Run(workdir, upgrade(config), about, voting, lines)


def component(config: dict[str, Any], section: str) -> str:
    """Name of the component that a configuration chose, such as its 'task', 'data' or 'model'."""
    return config[section]["name"]
