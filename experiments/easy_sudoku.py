"""Writes Sudokus with more givens than SATNet's, for small networks.

    python -m experiments.easy_sudoku data/easy_sudoku --givens=48,58
    python -m wonn_jax.main --config=configs/sudoku.py --config.data.path=data/easy_sudoku …

Boards of the usual generator with some of the blanks filled in, which keeps the solution unique; in
the layout of SATNet's arrays, 9000 boards for training and 1000 for testing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from wonn_jax.data import sudoku

BOARDS = 10_000


def easier(inputs: np.ndarray, labels: np.ndarray, fewest: int, most: int, seed: int) -> np.ndarray:
    """Boards `[N, 9, 9]` (0 for blank) with a random number of givens from `fewest` to `most`.

    A board that has more already stays as it is.
    """
    rng = np.random.default_rng(seed)
    wanted = rng.integers(fewest, most + 1, len(inputs))
    # Givens first, then blanks in random order; the first cells in this order are shown.
    order = np.argsort(np.where(inputs > 0, -1.0, rng.random(inputs.shape)).reshape(-1, 81))
    rank = np.argsort(order).reshape(inputs.shape)
    return np.where((inputs > 0) | (rank < wanted[:, None, None]), labels, 0).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--givens", default="48,58", help="fewest and most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        fewest, most = map(int, options.givens.split(","))
    except ValueError:
        fewest, most = 0, -1
    if not 0 < fewest <= most <= 81:
        print(
            f"Error: --givens={options.givens} must be two numbers from 1 to 81, such as 48,58.",
            file=sys.stderr,
        )
        return 2
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        inputs, labels = sudoku.generate(BOARDS, options.seed)
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    inputs = easier(inputs, labels, fewest, most, options.seed)
    digits = np.arange(1, 10)
    for name, boards in (("features", inputs), ("labels", labels)):
        np.save(options.folder / f"{name}.npy", (boards[..., None] == digits).astype(np.float32))
    print(f"written   {options.folder}, {(inputs > 0).sum((1, 2)).mean():.1f} givens on average")
    return 0


if __name__ == "__main__":
    sys.exit(main())
