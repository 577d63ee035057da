"""Writes a run as one HTML file: `python -m wonn_jax.report WORKDIR`.

The file loads nothing from elsewhere. It holds configuration, environment, curves, metrics beside
the paper's results, votes, and the dynamics of some test examples under a slider: for boards the
answer as it forms, for images the phase groups.
"""

import argparse
import sys

from etils import epath

from wonn_jax.common.arguments import parse_arguments
from wonn_jax.common.files import write_atomically
from wonn_jax.tools.launch import exit_status
from wonn_jax.tools.report.page import report_page
from wonn_jax.tools.runs import file_to_write, path_argument


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 2 if a file of the run is missing or malformed."""
    parser = argparse.ArgumentParser(
        prog="python -m wonn_jax.report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("workdir", type=path_argument, help="folder of a run")
    parser.add_argument(
        "--output",
        type=file_to_write(".html", ".htm"),
        help="default: report.html in the workdir",
    )
    options = parse_arguments(parser, argv)
    return exit_status(lambda: _write(options.workdir, options.output))


def _write(workdir: epath.Path, output: epath.Path | None) -> int:
    text = report_page(workdir)
    output = output or workdir / "report.html"
    write_atomically(output, text)
    print(f"written   {output} ({len(text) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
