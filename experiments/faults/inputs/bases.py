"""What bad inputs are made of: a trained run, data sets, weights, a fixture. Good ones.

python -m experiments.faults.inputs.bases FOLDER WORKDIR
"""

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np

from experiments.faults.runs import write_mazes

CLASSES = ("cat", "dog")


def make(folder: Path, workdir: Path) -> None:
    """Makes all of them.

    Args:
      folder: for them.
      workdir: of a finished run on `folder`/mazes.
    """
    folder.mkdir(parents=True)
    write_mazes(folder / "mazes")
    _run(folder / "run", workdir)
    _sudokus(folder)
    _weights(folder)
    _images(folder)
    _cifar(folder / "cifar-10-batches-py")


def _run(folder: Path, workdir: Path) -> None:
    """The run, with one checkpoint, whose data lie in `mazes` where the command runs."""
    shutil.copytree(workdir, folder, ignore=shutil.ignore_patterns("tensorboard", "predictions"))
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for checkpoint in (folder / "checkpoints").iterdir():
        if checkpoint != newest:
            shutil.rmtree(checkpoint)


def _sudokus(folder: Path) -> None:
    from wonn_jax.data import sudoku

    inputs, labels = sudoku.generate(12, seed=1, processes=1)
    np.save(folder / "sudokus.npy", np.stack([inputs, labels]))
    features = (inputs[..., None] == np.arange(1, 10)).astype(np.uint8)
    answers = (labels[..., None] == np.arange(1, 10)).astype(np.uint8)
    np.savez(folder / "sudokus.npz", features=features, labels=answers)


def _weights(folder: Path) -> None:
    """Weights of a network of mazes, of 8 channels, as `.npz` and `.safetensors`."""
    from safetensors.numpy import save_file

    from wonn_jax.interop import to_pytorch
    from wonn_jax.tools.network import load_network

    network = load_network(folder / "run", "maze")
    tensors = to_pytorch(network.variables, "maze", step_size=1.0)
    tensors = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    np.savez(folder / "weights.npz", **tensors)
    save_file(tensors, folder / "weights.safetensors")


def _images(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            for number in range(3):
                path = folder / "images" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(path)


def _cifar(folder: Path) -> None:
    """CIFAR-10 as published, with few images."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data = rng.integers(0, 256, (4, 3072), np.uint8)
        content = {b"data": data, b"labels": [0, 1, 2, 3]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
