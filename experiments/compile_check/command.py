"""What the commands of both checks have in common: options, errors, and the loop over programs."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.compile_check import platforms, results
from experiments.compile_check.programs import Program
from experiments.compile_check.results import Results
from wonn_jax.common.errors import explain

LIMIT = 1800.0


def add_options(parser: argparse.ArgumentParser, output: Path) -> None:
    """Options on results: which programs are compiled, and where what was found goes."""
    parser.add_argument("--again", action="store_true", help="compile programs in the results, too")
    parser.add_argument("--report", action="store_true", help="only write the report")
    parser.add_argument("--output", type=Path, default=output, help="default: %(default)s")
    parser.add_argument("--keep", type=Path, help="folder for the optimised HLO of each program")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="s, for each program; default: %(default)g"
    )


def run(
    options: argparse.Namespace,
    report: Callable[[Results], str],
    programs: Iterable[tuple[str, Program]],
) -> int:
    """Compiles what is missing, writes results and report after each; the exit status.

    Args:
      options: see `add_options`.
      report: makes the page of the results.
      programs: with their keys; each is asked for when the one before is done.
    """
    path: Path = options.output
    try:
        if path.suffix != ".json":
            raise ValueError(f"--output={path} must end with .json; the page lies beside it.")
        found = results.read(path)
        if not options.report:
            for key, program in programs:
                platforms.check_installed(program.platform)
                if options.again or not results.complete(found.get(key)):
                    results.compile_into(
                        path, key, program, report, limit=options.limit, keep=options.keep
                    )
                found = results.read(path)
        if not set(found) - {results.ABOUT}:
            raise ValueError(f"{path} holds no results yet; run without --report first.")
        results.write(path, found, report)
    except (ValueError, OSError, ImportError) as error:
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there.", file=sys.stderr)
        return 130
    print(f"written: {path.with_suffix('.md')}")
    return 0
