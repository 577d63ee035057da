"""Command line: `python -m wonn_jax.interop verify FIXTURE.npz`."""

import argparse
import sys

from wonn_jax.interop.verify import verify


def main(argv: list[str] | None = None) -> int:
    """Compares this project with recorded values of the reference; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wonn_jax.interop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="compare this project with a reference fixture")
    check.add_argument("file", help="a fixture (.npz)")
    check.add_argument("--tolerance", type=float, default=1e-8)
    arguments = parser.parse_args(argv)
    try:
        return 0 if verify(arguments.file, arguments.tolerance) else 1
    except (OSError, ValueError, KeyError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
