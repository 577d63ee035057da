"""Solves mazes and Sudokus from files: `python -m wonn_jax.solve maze FILE`.

    python -m wonn_jax.solve maze FILE|- [--workdir=RUN] [--animate=out.gif] [--picture=out.png]
        [--walls=SIGNS --free=SIGNS --start=SIGN|ROW,COLUMN --goal=SIGN|ROW,COLUMN]
    python -m wonn_jax.solve sudoku FILE|- [--first=N] [--workdir=RUN | --weights=FILE.pth]

Many ways of writing puzzles are understood (see `tools/puzzles`). Prints the answers and checks
them by search. Exit status: 0 if all are solved, 1 if an answer is wrong, 2 if a puzzle cannot be
read or has no solution.
"""

import argparse
import os
import sys

from etils import epath

from wonn_jax.common.arguments import parse_arguments
from wonn_jax.common.folders import absolute
from wonn_jax.tools.animate import save_dynamics
from wonn_jax.tools.launch import exit_status
from wonn_jax.tools.network import latest_run, load_network
from wonn_jax.tools.puzzles import PUZZLES
from wonn_jax.tools.puzzles.base import Puzzle
from wonn_jax.tools.runs import file_to_write, path_argument, whole_number
from wonn_jax.tools.solving import answer

SIGNS = ("walls", "free", "start", "goal")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    options = parse_arguments(_parser(), argv)
    return exit_status(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wonn_jax.solve", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("task", choices=tuple(PUZZLES))
    parser.add_argument("file", help="puzzles, one or several; - reads standard input")
    parser.add_argument(
        "--first", type=whole_number(0), default=0, help="how many puzzles; default: all"
    )
    parser.add_argument(
        "--workdir", type=path_argument, help="folder of a run; default: latest in runs/"
    )
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--use", default="ema", choices=("ema", "raw"), help="which weights")
    parser.add_argument("--weights", default="", help="PyTorch file to use instead of a run")
    for name, least, default, text in (
        ("heads", 1, 8, "attention heads of the PyTorch file"),
        ("votes", 1, 8, "draws of the initial phases"),
        ("steps", 0, 0, "T; default: as in training"),
        ("seed", 0, 0, "of the draws"),
    ):
        parser.add_argument(f"--{name}", type=whole_number(least), default=default, help=text)
    for name, endings, text in (("picture", PICTURES, "PNG"), ("animate", (".gif",), "GIF")):
        parser.add_argument(
            f"--{name}", type=file_to_write(*endings), help=f"{text} to write, of the first puzzle"
        )
    parser.add_argument("--colour", choices=("auto", "always", "never"), default="auto")
    for name in SIGNS:
        place = ", or ROW,COLUMN counted from 0" if name in ("start", "goal") else ""
        parser.add_argument(
            f"--{name}", default="", help=f"signs of a maze that mean {name}{place}"
        )
    return parser


def _signs(options: argparse.Namespace, puzzle: Puzzle) -> dict[str, str]:
    """What the command line says about the signs of a drawing."""
    given = {name: value for name in SIGNS if (value := getattr(options, name))}
    for name in given:
        if name not in puzzle.signs:
            raise ValueError(f"--{name} has no effect on a {puzzle.name}; leave it out.")
    return given


def _run(options: argparse.Namespace) -> int:
    for name in ("picture", "animate"):
        path = getattr(options, name)
        if path and path == absolute(options.file):
            raise ValueError(f"--{name}={path} is the file of the puzzle; give another path.")
    puzzle = PUZZLES[options.task]
    boards, origin, names = puzzle.load(options.file, **_signs(options, puzzle))
    if 0 < options.first < len(boards):
        boards, origin = boards[: options.first], f"the first {options.first} of {origin}"
    print(f"puzzles   {origin}", flush=True)
    for board, name in zip(boards, names, strict=False):
        puzzle.check_solvable(board, name)
    workdir = options.workdir or (epath.Path() if options.weights else latest_run(puzzle.name))
    chosen = (options.checkpoint, options.use, options.weights, options.heads)
    network = load_network(workdir, puzzle.name, *chosen)
    print(f"weights   {network.origin}")
    solved = []
    for number, board in enumerate(boards):
        found = answer(network, board, draws=options.votes, steps=options.steps, seed=options.seed)
        verdict = puzzle.judge(board, found.classes)
        print(f"\n{puzzle.show(board, found.classes, _colour(options.colour))}")
        print(f"{verdict.text}\n{found.summary()}")
        solved.append(verdict.solved)
        if number == 0:
            for path, moving in ((options.picture, False), (options.animate, True)):
                if path:
                    steps = (found.probabilities, found.energies)
                    save_dynamics(path, puzzle, board, *steps, moving=moving)
                    print(f"written   {path}")
    if len(boards) > 1:
        print(f"\n{sum(solved)} of {len(boards)} solved")
    return 0 if all(solved) else 1


def _colour(choice: str) -> bool:
    automatic = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always" or (choice == "auto" and automatic)


if __name__ == "__main__":
    sys.exit(main())
