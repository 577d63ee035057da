"""Cards of `configs/` for the tests, and cards with some fields changed."""

import importlib.util
from pathlib import Path
from typing import Any

import ml_collections

ROOT = Path(__file__).parents[1]


def card(name: str, *preset: str) -> ml_collections.ConfigDict:
    """What `configs/NAME.py` returns for a preset."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*preset)


def changed(config: ml_collections.ConfigDict, **changes: Any) -> ml_collections.ConfigDict:
    """The same card with fields set whatever their type: `model__width=8`."""
    with config.unlocked(), config.ignore_type():
        for path, value in changes.items():
            section, _, field = path.rpartition("__")
            (config[section] if section else config)[field] = value
    return config
