"""Cards, the files of experiments: loading one, and what to say of one that does not load."""

import importlib.util
import traceback
from pathlib import Path

import ml_collections

CARD = "configs/digits.py"
EXAMPLE = "--config=configs/maze_hard.py:small"


def load_card(name: str) -> ml_collections.ConfigDict:
    """What the function `get_config` of a card returns.

    Args:
      name: FILE.py or FILE.py:PRESET.

    Raises:
      ValueError, OSError: there is no such file, it is no card, or it raises an error.
    """
    file, *preset = name.split(":", 1)
    path = Path(file)
    _check_file(path)
    try:
        spec = importlib.util.spec_from_file_location("card", path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} is no card: cards are files of Python, as {CARD} is.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        config = get_config(*preset) if callable(get_config) else None
    except ValueError:
        raise  # such as that of an unknown preset, which says all
    except SystemExit as error:
        raise ValueError(
            f"the card {path} ends the program{_line(path, error)} (status {error.code}); it must "
            f"return a configuration, as {CARD} does."
        ) from error
    except Exception as error:  # a card may raise anything
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        what = f"{type(error).__name__}: {text}".rstrip(": ")
        raise ValueError(
            f"the card {path} fails{_line(path, error)} ({what}). Correct it there; {CARD} is one "
            "that works."
        ) from error
    if not callable(get_config):
        raise ValueError(f"{path} is no card: it has no function get_config, as {CARD} has.")
    if not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(
            f"get_config in {path} returns {_a(config)}; it must return card(config), as in {CARD}."
        )
    return config


def _check_file(path: Path) -> None:
    if path.is_file():
        return
    there = "is a folder" if path.is_dir() else "does not exist"
    near = [Path(f"{path}.py"), Path("configs", path.name), Path("configs", f"{path.name}.py")]
    found = next((f"--config={x}" for x in near if x.is_file()), EXAMPLE)
    raise FileNotFoundError(f"the card {str(path)!r} {there}; give a file such as {found}.")


def _line(path: Path, error: BaseException) -> str:
    """The line of the card in which an error arose: ' in line 3', or '' if in none."""
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}" if error.filename == str(path) else ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f" in line {lines[-1]}" if lines else ""


def _a(value: object) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
