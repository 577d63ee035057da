"""Command line: `python -m wonn_jax.interop verify FIXTURE.npz [FIXTURE.npz …]`."""

import argparse
import math
import sys

from wonn_jax.common.arguments import parse_arguments
from wonn_jax.common.errors import explain
from wonn_jax.interop.verify import verify


def main(argv: list[str] | None = None) -> int:
    """Compares this project with values recorded from the reference.

    Returns:
      The exit status: 0 if all recorded values agree, 1 if some differ, 2 if a file cannot be
      compared.
    """
    parser = argparse.ArgumentParser(
        prog="python -m wonn_jax.interop",
        description="Compares this project with the PyTorch reference.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="compare our networks with recorded values")
    check.add_argument("files", nargs="+", metavar="FILE", help="a fixture (.npz)")
    check.add_argument(
        "--tolerance",
        type=tolerance,
        help="largest relative error (default: 1e-8, more for values coarser than float64)",
    )
    arguments = parse_arguments(parser, argv)
    status = 0
    for file in arguments.files:
        try:
            status = max(status, 0 if verify(file, arguments.tolerance) else 1)
        except (OSError, ValueError, ImportError) as error:
            print(f"Error: {explain(error)}", file=sys.stderr)
            status = 2
    return status


def tolerance(text: str) -> float:
    """A number from 0; argparse names this function if it is none."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
