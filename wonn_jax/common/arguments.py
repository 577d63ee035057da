"""The command lines of the smaller commands."""

import argparse
import sys
from collections.abc import Sequence


def parse_arguments(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """What `parser` reads from a command line, that of this process by default.

    Before Python 3.13, argparse takes the `--` of `--votes=--` for the end of the options, is left
    without a value, and ends with a traceback; here it is refused as other values are.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    for argument in given:
        name, _, value = argument.partition("=")
        if value == "--" and name.startswith("--"):
            parser.error(f"argument {name}: '--' is no value; give another")
    return parser.parse_args(given)
