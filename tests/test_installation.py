"""What an installation without extras can do: dynamics, layers and networks need little."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKED = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed")

sys.meta_path.insert(0, Blocked())
"""
MODULES = {  # whose import name is not that of the package
    "absl-py": "absl",
    "ml-collections": "ml_collections",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "tensorflow-datasets": "tensorflow_datasets",
}
OF_FLAX = {"absl-py", "optax", "orbax-checkpoint"}
"""In the extra, because training uses them; Flax imports them and depends on them, too."""


def optional_modules() -> set[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    names = {line.split(">")[0].split("[")[0].strip() for line in extras["train"]}
    return {MODULES.get(name, name) for name in names - OF_FLAX}


def run(code: str) -> subprocess.CompletedProcess[str]:
    code = BLOCKED.format(modules=optional_modules()) + code
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_the_extra_names_what_is_blocked():
    assert {"grain", "matplotlib", "PIL", "scipy", "sklearn"} <= optional_modules()
    assert "grain is not installed" in run("import grain").stderr


@pytest.mark.parametrize("module", ["wonn_jax", "wonn_jax.nn.oscillators", "wonn_jax.models"])
def test_research_code_needs_jax_flax_and_numpy(module):
    found = run(f"import {module}")
    assert found.returncode == 0, found.stderr


def test_a_network_runs_without_the_extra():
    found = run(
        "import jax, jax.numpy as jnp\n"
        "from wonn_jax.common.examples import Boards\n"
        "from wonn_jax.models.grid import GridConfig\n"
        "model = GridConfig(width=8, heads=2, steps=(2,)).build(Boards(3, 3, 4, 5))\n"
        "tokens = jnp.zeros((1, 3, 3), int)\n"
        "theta = model.initial_phases(jax.random.split(jax.random.key(0), 1), (3, 3))\n"
        "variables = model.init(jax.random.key(1), tokens, theta)\n"
        "print(model.apply(variables, tokens, theta).logits.shape)"
    )
    assert found.stdout == "(1, 3, 3, 5)\n", found.stderr


def test_types_are_published():
    assert (ROOT / "wonn_jax" / "py.typed").is_file()
