"""The flags of the command line: settings of a card by name, and what to say of wrong ones."""

import importlib.util
import re
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from wonn_jax.config import unknown_field
from wonn_jax.tools.launch import fail


def parse_flags(argv: list[str]) -> list[str]:
    """The flags of the command line; an unknown or wrong field of the config is a message."""
    try:
        with warnings.catch_warnings():  # ml_collections loads cards by a deprecated function
            warnings.simplefilter("ignore", DeprecationWarning)
            rest = flags.FLAGS(argv)
        _check_card(config_flags.get_config_filename(flags.FLAGS["config"]))
        return rest
    except (Exception, SystemExit) as error:  # a card is a program: any error may arise in it
        if text := _error_in_card(argv, error):
            fail(ValueError(text), traceback=False)
        if not isinstance(error, _MISTAKES):
            raise
        fail(ValueError(_explain(argv, error)), traceback=False)


_MISTAKES = (AttributeError, KeyError, TypeError, ValueError, OSError, flags.Error)


def _error_in_card(argv: list[str], error: BaseException) -> str:
    """Where in the file of the card an error arose; '' if it arose elsewhere."""
    path = next((x for x in argv if x.startswith("--config=")), "").removeprefix("--config=")
    path = path.partition(":")[0]
    if not Path(path).is_file():
        return ""
    where = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else where[-1] if where else None
    if isinstance(error, SystemExit):
        return f"{path} ends the program ({error.code}); a card must return a configuration."
    if isinstance(error, AttributeError) and "get_config" in str(error):
        return f"{path} has no function get_config; see the cards in configs/."
    if line is None or isinstance(error, OSError | flags.Error):
        return ""
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{path}, line {line}: {type(error).__name__}: {what}. Correct the card."


def _check_card(name: str | None) -> None:
    """Raises an OSError if the file of the card is not there."""
    path = (name or "").partition(":")[0]
    if path and not Path(path).is_file():
        raise FileNotFoundError(
            f"there is no file {path}; give a card, such as --config=configs/maze_hard.py:small."
        )
    config = flags.FLAGS["config"].value
    if path and not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(
            f"get_config of {path} returned a {type(config).__name__}; it must return "
            "card(Config(...)), as the cards in configs/ do"
        )


def _explain(argv: list[str], error: Exception) -> str:
    """What is wrong with a field of the configuration, or with anything else."""
    try:
        for argument in argv:
            found = re.match(r"--(config(?:\.\w+)+)(?:=|$)", argument)
            if found and (text := _unknown(_load_card(argv), found[1].split(".")[1:])):
                return text
    except Exception:  # the card itself does not load: the first error says why
        pass
    text = str(error).replace("\\'", "'").replace("\\n", ". ")
    if "Traceback" in text:  # ml_collections quotes the whole trace of a failing config file
        return text.strip("'\"\n ").splitlines()[-1].partition(": ")[2]
    if isinstance(error, OSError):
        return text
    return f"{text.rstrip('?. ')}. Set a field of the card with --config.SECTION.FIELD=VALUE."


def _load_card(argv: list[str]) -> ml_collections.ConfigDict:
    value = next(x for x in argv if x.startswith("--config=")).removeprefix("--config=")
    path, _, preset = value.partition(":")
    spec = importlib.util.spec_from_file_location("card", Path(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([preset] if preset else []))


def _unknown(config: Any, names: list[str]) -> str:
    """What to say if a card has no field of this path; '' if it has."""
    where, section = "config", config
    for name in names:
        if not isinstance(section, ml_collections.ConfigDict) or name not in section:
            fields = list(section) if isinstance(section, ml_collections.ConfigDict) else []
            chosen = section.get("name") if "name" in fields else None
            text = unknown_field(where, name, [x for x in fields if x != "name"])
            if chosen is None:
                return text
            return f"{text.removesuffix('.')} ({where}.name is {chosen!r})."
        where, section = f"{where}.{name}", section[name]
    return ""


def check_names(overrides: Mapping[str, Any]) -> None:
    """Raises a ValueError if a component was to be exchanged on the command line.

    The fields that can be set are those of the component that the card has picked.
    """
    for path, value in overrides.items():
        if path.endswith(".name"):
            section = path.removesuffix(".name")
            raise ValueError(
                f"--config.{path}={value}: the card, or its preset, picks the {section}. Use a "
                "preset, such as --config=configs/cifar10.py:resnet18, or a card of your own that "
                f"picks {value!r}."
            )


def check_overrides(config: Any, overrides: Mapping[str, Any]) -> None:
    """Raises a ValueError if a field was set on the command line that nothing reads.

    Args:
      config: checked.
      overrides: values set on the command line by path, 'model.width'.
    """
    for path in overrides:
        section, _, field = path.rpartition(".")
        unused = getattr(getattr(config, section, None), "unused", None)
        if unused and (why := unused().get(field)):
            raise ValueError(f"--config.{path} has no effect: {why}. Leave it out.")
