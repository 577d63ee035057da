"""Writes Sudokus with more givens than SATNet's, for networks that are too small for these.

    python -m experiments.easy_sudoku data/easy_sudoku --givens=48,58
    python -m wonn_jax.main --config=configs/sudoku.py --config.data.path=data/easy_sudoku …

Boards of the usual generator with some of the blanks filled in, so that the solution stays the
only one; in the layout of SATNet's arrays, 9000 boards to train on and 1000 to test.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from wonn_jax.data import sudoku

BOARDS = 10_000


def easier(inputs: np.ndarray, labels: np.ndarray, fewest: int, most: int, seed: int) -> np.ndarray:
    """Boards `[N, 9, 9]` (0 blank) with as many givens as drawn from fewest to most, or more."""
    rng = np.random.default_rng(seed)
    wanted = rng.integers(fewest, most + 1, len(inputs))
    # Givens first, then blanks in random order; shown are as many cells as wanted.
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
        print(f"Error: --givens={options.givens} must be like 48,58, up to 81.", file=sys.stderr)
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
    print(f"written   {options.folder}, {(inputs > 0).sum((1, 2)).mean():.1f} givens in the mean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
