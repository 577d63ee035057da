"""Solves mazes and Sudokus of one's own: `python -m wonn_jax.solve maze FILE`.

    python -m wonn_jax.solve maze FILE|- [--workdir=RUN] [--animate=out.gif] [--picture=out.png]
    python -m wonn_jax.solve sudoku FILE|- [--workdir=RUN | --weights=FILE.pth]

Reads puzzles as people write them (see `tools.puzzles`), prints the answer and what a search
says of it. Exit status: 0 if all are solved, 1 if an answer is wrong, 2 if a puzzle cannot be
read or has no solution.
"""

import argparse
import functools
import logging
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wonn_jax.models import Model
from wonn_jax.rng import example_keys, initial_phases, stream_key
from wonn_jax.tasks.maze import GOAL, PATH, START, WALL
from wonn_jax.tools import puzzles
from wonn_jax.tools.network import Network, latest_run, load_network


class Answer(NamedTuple):
    """What a network says of one board.

    classes: `[H, W]`.
    probabilities: of every class after each step of the last layer `[T, H, W, classes]`.
    energies: of the last layer before each step `[T]`.
    draw_energies: the last energy of each draw `[K]`; the answer is that of the lowest.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    energies: np.ndarray
    draw_energies: np.ndarray


def answer(
    network: Network, tokens: np.ndarray, *, draws: int = 1, steps: int = 0, seed: int = 0
) -> Answer:
    """The answer to one board.

    Args:
      tokens: cell tokens `[H, W]`, as in the data.
      draws: of the initial phases; the one with the lowest final energy answers.
      steps: T of every layer; 0: that of training.
      seed: of the draws.
    """
    m = network.config.model
    length = steps or m.steps[-1]
    shape = network.model.phase_shape(tokens.shape)
    keys = example_keys(stream_key(seed, "evaluation phases"), jnp.arange(draws))
    theta = initial_phases(keys, shape, kind=m.initial_phase, scale=m.phase_scale)
    board = jnp.asarray(tokens, jnp.int32)[None]

    found = np.asarray(_final_energies(network.model, steps, network.variables, board, theta))
    best = theta[found.argmin()][None]
    watched = _watch(network.model, steps, length, network.variables, board, best)
    probabilities, energies = jax.device_get(watched)
    return Answer(probabilities[-1].argmax(-1), probabilities, energies, found)


# Boards of one size share the compiled programs.


@functools.partial(jax.jit, static_argnums=(0, 1))
def _final_energies(
    model: Model, steps: int, variables: dict[str, Any], board: jax.Array, theta: jax.Array
) -> jax.Array:
    """Of the last layer before its last step, for every draw of the phases `[K, H, W, C]`."""

    def of(one: jax.Array) -> jax.Array:
        output: Any = model.apply(variables, board, one[None], steps=steps or None, energies=True)
        return output.layers[-1].energies[-1, 0]

    return jax.lax.map(of, theta)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _watch(
    model: Model,
    steps: int,
    length: int,
    variables: dict[str, Any],
    board: jax.Array,
    theta: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Probabilities after each of the `length` steps of the last layer, energies before them."""
    output: Any = model.apply(
        variables,
        board,
        theta,
        steps=steps or None,
        trajectory=True,
        energies=True,
        readings=tuple(range(1, length + 1)),
    )
    return jax.nn.softmax(output.readings[:, 0]), output.layers[-1].energies[:, 0]


def _read(task: str, file: str) -> list[np.ndarray]:
    where = "standard input" if file == "-" else file
    data = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is no text in UTF-8 ({error.reason}).") from error
    if task == "maze":
        return puzzles.read_mazes(text, where)
    return puzzles.read_sudokus(text, where)


def _solve_maze(found: Answer, tokens: np.ndarray, colour: bool) -> bool:
    marked = (found.classes == PATH) & (tokens != START) & (tokens != GOAL)
    verdict = puzzles.judge_maze(tokens, marked)
    print(puzzles.show_maze(tokens, marked, colour))
    if verdict.shortest:
        print(f"solved    a shortest path, {verdict.best} moves (checked by breadth-first search)")
    elif verdict.valid:
        print(f"not the shortest path: {verdict.reason} (breadth-first search)")
    else:
        print(f"not solved: {verdict.reason}; the shortest path has {verdict.best} moves")
    return verdict.shortest


def _solve_sudoku(found: Answer, given: np.ndarray, colour: bool) -> bool:
    digits = np.where(given > 0, given, found.classes + 1)
    verdict = puzzles.judge_sudoku(given, digits)
    print(puzzles.show_sudoku(given, digits, colour))
    if verdict.correct:
        number = "the only one" if verdict.completions == 1 else "one of several"
        print(f"solved    a correct completion, {number} (checked by search)")
    else:
        print(f"not solved: {verdict.reason}")
    return verdict.correct


def _check_solvable(task: str, boards: list[np.ndarray]) -> None:
    for number, board in enumerate(boards, 1):
        name = f"{task} {number} of {len(boards)}"
        if task == "maze":
            search = puzzles.search_maze(board)
            if search.moves < 0:
                open_cells, reached = int((board != WALL).sum()), int(search.reached.sum())
                raise ValueError(
                    f"{name} has no solution: from the start, a breadth-first search reaches "
                    f"{reached} of the {open_cells} open cells, and the goal is not among them."
                )
        elif puzzles.judge_sudoku(board, board).completions == 0:
            raise ValueError(f"{name} has no solution: a search finds no completion of its givens.")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m wonn_jax.solve", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("task", choices=("maze", "sudoku"))
    parser.add_argument("file", help="puzzles as text; - for standard input")
    parser.add_argument("--workdir", type=Path, help="of a run; default: the last one in runs/")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--use", default="ema", choices=("ema", "raw"), help="averaged or raw")
    parser.add_argument("--weights", default="", help="PyTorch weights instead of a run")
    parser.add_argument("--heads", type=int, default=8, help="of the PyTorch weights")
    parser.add_argument("--votes", type=int, default=8, help="draws of the phases to choose from")
    parser.add_argument("--steps", type=int, default=0, help="T; default: that of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="PNG to write, of the first puzzle")
    parser.add_argument("--animate", type=Path, help="GIF to write, of the first puzzle")
    parser.add_argument("--colour", choices=("auto", "always", "never"), default="auto")
    options = parser.parse_args(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of its own options
    colour = options.colour == "always" or (
        options.colour == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    )
    try:
        return _run(options, colour)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (ValueError, TypeError, ImportError) as error:
        text = str(error)
    print(f"Error: {text}", file=sys.stderr)
    return 2


def _run(options: argparse.Namespace, colour: bool) -> int:
    for name, least in (("votes", 1), ("steps", 0), ("seed", 0)):
        if (value := getattr(options, name)) < least:
            raise ValueError(f"--{name}={value} must be at least {least}.")
    boards = _read(options.task, options.file)
    _check_solvable(options.task, boards)
    workdir = options.workdir or (Path() if options.weights else latest_run(options.task))
    network = load_network(
        workdir.resolve(),
        options.task,
        options.checkpoint,
        options.use,
        options.weights,
        options.heads,
    )
    print(f"weights   {network.origin}")
    solved = []
    for number, board in enumerate(boards):
        found = answer(network, board, draws=options.votes, steps=options.steps, seed=options.seed)
        print()
        solve = _solve_maze if options.task == "maze" else _solve_sudoku
        solved.append(solve(found, board, colour))
        line = f"energy    {found.draw_energies.min():,.1f}"
        if options.votes > 1:
            line += f", the lowest of {options.votes} draws (to {found.draw_energies.max():,.1f})"
        print(f"{line}; {len(found.energies)} steps")
        if number == 0:
            _draw(options, found, board)
    if len(boards) > 1:
        print(f"\n{sum(solved)} of {len(boards)} solved")
    return 0 if all(solved) else 1


def _draw(options: argparse.Namespace, found: Answer, board: np.ndarray) -> None:
    if options.picture or options.animate:
        from wonn_jax.tools.animate import save_dynamics

        for path, moving in ((options.picture, False), (options.animate, True)):
            if path:
                save_dynamics(
                    path, options.task, board, found.probabilities, found.energies, moving=moving
                )
                print(f"written   {path}")


if __name__ == "__main__":
    sys.exit(main())
