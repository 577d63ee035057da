"""The files of a run, as a report reads them: configuration, metrics, environment, votes."""

import argparse
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

import wonn_jax.evaluators
import wonn_jax.train.card  # noqa: F401, both register the components that `read_config` looks up
from wonn_jax.common.files import numbers, read_object
from wonn_jax.common.folders import parse_path
from wonn_jax.train.lines import read_lines
from wonn_jax.train.upgrade import read_config


def path_argument(text: str) -> epath.Path:
    """A path on the command line of argparse: of a run, or to write to.

    Raises:
      ArgumentTypeError: see `parse_path`.
    """
    try:
        return parse_path(text)
    except (ValueError, OSError, ImportError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def file_to_write(*endings: str) -> Callable[[str], epath.Path]:
    """A type of argparse: the path of a file to write, whose name ends in one of `endings`."""

    def convert(text: str) -> epath.Path:
        path = path_argument(text)
        if path.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(endings)}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a folder; give the path of a file")
        return path

    return convert


def whole_number(least: int) -> Callable[[str], int]:
    """A type of argparse: an integer of at least `least` that JAX can hold, below 2**31."""

    def convert(text: str) -> int:
        if (
            re.fullmatch(r"[+-]?[0-9]{1,20}", text.strip())
            and least <= (number := int(text)) < 2**31
        ):
            return number
        raise argparse.ArgumentTypeError(
            f"{text!r:.60} must be an integer of at least {least} and below 2**31"
        )

    return convert


class Run(NamedTuple):
    """The files of a run.

    workdir: its folder.
    config: `config.json`.
    about: `run.json`, the environment; empty if there is none.
    voting: `voting.json`; empty if there is none.
    lines: of `metrics.jsonl`.
    """

    workdir: epath.Path
    config: dict[str, Any]
    about: dict[str, Any]
    voting: dict[str, Any]
    lines: list[dict[str, Any]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, 'train' or 'test'."""
        return [line for line in self.lines if line.get("kind") == kind]


def read_run(workdir: epath.PathLike) -> Run:
    """Reads the files of a run.

    Raises:
      FileNotFoundError: no run there.
      ValueError: a damaged file; the message names it.
    """
    workdir = epath.Path(workdir)
    config, about, voting = (workdir / f"{name}.json" for name in ("config", "run", "voting"))
    if not config.is_file():
        raise FileNotFoundError(f"{workdir} holds no run: there is no config.json.")
    again = "Delete it; {} writes it anew."
    return Run(
        workdir,
        read_config(config),
        read_object(about, again.format("going on with the run")) if about.is_file() else {},
        numbers(read_object(voting, again.format("--mode=eval")) if voting.is_file() else {}),
        read_lines(workdir / "metrics.jsonl"),
    )


def component(config: dict[str, Any], section: str) -> str:
    """Name of the component that a configuration chose, such as its 'task', 'data' or 'model'."""
    return config[section]["name"]
