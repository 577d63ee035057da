"""The flags of the command line: settings of a card by name, and what to say of wrong ones."""

import functools
import re
import warnings
from collections.abc import Mapping
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from wonn_jax.config import unknown_field
from wonn_jax.tools.cards import EXAMPLE, load_card
from wonn_jax.tools.launch import fail


def parse_flags(argv: list[str]) -> list[str]:
    """The flags of the command line; a message if the card, a flag or a field of it is wrong."""
    argv = ["--help" if argument == "-h" else argument for argument in argv]
    card = None
    try:
        arguments = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
        if name := _card_name(arguments):
            card = load_card(name)
        with warnings.catch_warnings():  # ml_collections loads cards by a deprecated function
            warnings.simplefilter("ignore", DeprecationWarning)
            return flags.FLAGS(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError, flags.Error) as error:
        text = str(error) if card is None else _explain(card, arguments, error)
        fail(ValueError(text), traceback=False)


def define_card() -> flags.FlagHolder:
    """Defines the flag `--config`, whose fields are flags, too; reads files of flags for that."""
    try:
        return config_flags.DEFINE_config_file(
            "config", None, "Experiment, a file in configs/, with its preset: FILE.py:PRESET."
        )
    except flags.Error as error:
        text = str(error).removeprefix("ERROR:: ")
        fail(ValueError(f"{text}. Give --flagfile=FILE, of one flag a line."), traceback=False)


def _card_name(argv: list[str]) -> str:
    """What `--config` says; '' if help was asked for.

    Raises:
      ValueError: it says nothing, or names two cards.
    """
    names = []
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if found := re.fullmatch(r"--?config(?:=(.*))?", argument, re.DOTALL):
            name = following if found[1] is None else found[1]
            if name and not name.startswith("-"):
                names.append(name)
    if len(names) > 1:
        raise ValueError(f"--config is given {len(names)} times ({', '.join(names)}); give one.")
    if names:
        return names[0]
    if any(re.match(r"--?(h|help\w*|only_check_args)(=|$)", argument) for argument in argv):
        return ""
    raise ValueError(f"--config is missing; it names the card of an experiment: {EXAMPLE}.")


def _explain(card: ml_collections.ConfigDict, argv: list[str], error: Exception) -> str:
    """What is wrong with a field of the configuration, or with anything else."""
    for argument in argv:
        found = re.match(r"--?(?:no)?(config\.[\w.]*)(?:=|$)", argument)
        if found and (text := _unknown(card, found[1].split(".")[1:])):
            return text
    text = str(error)
    if found := re.match(r"flag --(config\.[\w.]+)=(.*?): ", text, re.DOTALL):
        value = functools.reduce(lambda section, name: section[name], found[1].split(".")[1:], card)
        return _must(found[1], found[2], value)
    text = text.rstrip("?. ") + "."
    if "Unknown command line flag" in text:
        text += " Set a field of the card with --config.SECTION.FIELD=VALUE."
    return text


_KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    tuple: "values in brackets, for example '(1, 2)'",
    ml_collections.ConfigDict: "set field by field",
}


def _must(field: str, given: str, value: Any) -> str:
    """What to say of a value of another type than that of the card."""
    must = next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "text")
    own = f"; the card has {value!r}" if not isinstance(value, ml_collections.ConfigDict) else ""
    return f"--{field}={given} must be {must}{own}."


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
    """Raises a ValueError if a component was to be exchanged as a whole on the command line.

    The fields that can be set are those of the component that the card has picked.
    """
    for path, value in overrides.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            raise ValueError(f"--config.{path} must be set field by field: --config.{path}.FIELD=…")
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
