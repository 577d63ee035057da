"""Reads files of PyTorch weights."""

from pathlib import Path

import numpy as np

EXTRA = 'pip install "wonn-jax[torch]"'


def load_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch state dict from `.npz`, `.safetensors`, `.pth` or `.pt`.

    From an `.npz` with names that begin with `param/`, such as the test fixtures, only those
    arrays are read. A `.pth` is loaded with `weights_only=True`: no code in it is executed.

    Returns:
      Arrays under the names that they have in the file.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the optional library for the format is not installed.
      ValueError: an unknown suffix, or a file that is damaged or not a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}: there is no such file.")
    if path.suffix == ".npz":
        return _load_npz(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return _load_pth(path)
    raise ValueError(
        f"{path} ends in {path.suffix!r}; weights must be .npz, .safetensors, .pth or .pt."
    )


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        names = [n for n in file.files if n.startswith("param/")] or file.files
        return {name.removeprefix("param/"): file[name] for name in names}


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(f"{path} needs the library safetensors: {EXTRA}") from error
    return load_file(path)


def _load_pth(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path} needs the library torch: {EXTRA}. Or convert the weights to .npz where "
            "torch is installed."
        ) from error
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged or contains more than tensors; none of its code was executed. "
            "Save only the weights, with torch.save(model.state_dict(), path)."
        ) from error
    # Checkpoints often hold the state dict under one of these keys.
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(x) for x in content.values()):
        raise ValueError(
            f"{path} does not contain a state dict (tensors by name). Save the weights with "
            "torch.save(model.state_dict(), path)."
        )
    tensors = {
        name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in content.items()
    }
    if all(name.startswith("module.") for name in tensors):  # saved from DataParallel
        tensors = {name.removeprefix("module."): x for name, x in tensors.items()}
    return tensors
