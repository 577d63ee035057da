"""Weights of the PyTorch reference: exact both ways, and clear errors for what does not fit."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.interop import from_pytorch, load_state_dict, to_pytorch
from wonn_jax.interop.__main__ import main
from wonn_jax.interop.winfree import UNUSED
from wonn_jax.models.grid import GridModel

BOARDS = ("maze_l1", "maze_l2", "sudoku_l1", "sudoku_l2")
IMAGES = ("image_mlp_attn", "image_mlp_conv", "image_trig_attn", "image_widening", "imagenet_patch")
FIXTURES = Path(__file__).parents[1] / "fixtures"
QUANTITIES = (
    "eval/logits",
    "eval/layer0/theta",
    "eval/layer0/energy",
    "train/loss",
    "train/grad/",
    "train/buffer/",
    "import and export",
)


def weights(name: str) -> dict[str, np.ndarray]:
    return load_state_dict(FIXTURES / f"{name}.npz")


@pytest.mark.parametrize("name", BOARDS + IMAGES)
def test_verify_passes_on_the_reference(name, capsys):
    assert main(["verify", str(FIXTURES / f"{name}.npz")]) == 0
    assert not jax.config.jax_enable_x64  # float64 only while it verifies
    lines = capsys.readouterr().out.splitlines()
    for quantity in QUANTITIES:
        assert any(line.startswith(quantity) for line in lines), quantity
    assert all(line.endswith("ok") for line in lines[:-1])
    assert max(float(line.split()[-2]) for line in lines[:-1]) > 0  # errors are measured


def test_verify_fails_on_a_changed_weight_beyond_the_tolerance(tmp_path, capsys):
    with np.load(FIXTURES / "maze_l1.npz") as file:
        fixture = {name: file[name] for name in file.files}
    fixture["param/out.bias"] = fixture["param/out.bias"] + 1e-5
    np.savez(tmp_path / "changed.npz", **fixture)
    changed = str(tmp_path / "changed.npz")
    assert main(["verify", changed]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert main(["verify", changed, "--tolerance=1e-2"]) == 0


def test_verify_names_files_that_it_cannot_compare(tmp_path):
    """In a process of its own, as a user runs it."""
    np.savez(tmp_path / "other.npz", meta='{"kind": "chess"}')
    files = [tmp_path / "missing.npz", tmp_path / "other.npz"]
    result = subprocess.run(
        [sys.executable, "-m", "wonn_jax.interop", "verify", *files], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "missing.npz: " in result.stderr
    assert "kind 'chess'; it must be one of maze, sudoku" in result.stderr


@pytest.mark.parametrize("name", BOARDS + IMAGES)
def test_export_is_the_inverse_of_import(name):
    theirs = weights(name)
    variables = from_pytorch(theirs)
    kind = "image" if name in IMAGES else name.split("_")[0]
    back = to_pytorch(variables, kind)
    assert back.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert back[key].shape == tensor.shape and back[key].dtype == tensor.dtype, key
        if not UNUSED.fullmatch(key):
            np.testing.assert_array_equal(back[key], tensor, err_msg=key)
    again = from_pytorch(back)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_unused_tensors_are_reported_by_name(caplog):
    from_pytorch(weights("sudoku_l1"))
    assert "layers.0.2.i_func.op.0.weight" in caplog.text


def test_unknown_and_missing_tensors_are_named():
    state = weights("maze_l1")
    with pytest.raises(ValueError, match=r"Unknown tensors: layers\.0\.2\.extra\.weight"):
        from_pytorch(state | {"layers.0.2.extra.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"Unknown tensors: .*i_func"):
        # Only Sudoku models have these.
        from_pytorch(state | {"layers.0.2.i_func.op.0.weight": np.zeros(3)})
    del state["layers.0.2.coupling.0.W_o.bias"]
    with pytest.raises(ValueError, match=r"Missing tensors: layers\.0\.2\.coupling\.0\.W_o\.bias"):
        from_pytorch(state)


def test_wrong_shapes_and_step_sizes_are_named():
    state = weights("maze_l1")
    with pytest.raises(ValueError, match=r"decoder\.1\.weight has shape \(3,\)"):
        from_pytorch(state | {"decoder.1.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"step size γ = 0\.1, the model 0\.2"):
        from_pytorch(state, step_size=0.2)
    with pytest.raises(ValueError, match=r"conv0\.omega_template must equal f_init"):
        from_pytorch(state | {"conv0.omega_template": state["conv0.omega_template"] + 1})
    with pytest.raises(ValueError, match="kind='chess' is unknown"):
        to_pytorch(from_pytorch(state), "chess")
    with pytest.raises(ValueError, match="have no params/stem_conv"):
        to_pytorch(from_pytorch(state), "image")


def test_files(tmp_path):
    state = weights("maze_l2")
    np.savez(tmp_path / "weights.npz", **state)
    numpy_file = from_pytorch(tmp_path / "weights.npz")
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(
        {k: np.ascontiguousarray(x) for k, x in state.items()}, tmp_path / "weights.safetensors"
    )
    other = from_pytorch(str(tmp_path / "weights.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, numpy_file, other)
    with pytest.raises(FileNotFoundError, match="no such file"):
        from_pytorch(tmp_path / "nothing.npz")
    (tmp_path / "weights.txt").touch()
    with pytest.raises(ValueError, match=r"weights must be \.npz, \.safetensors, \.pth"):
        from_pytorch(tmp_path / "weights.txt")


def test_pth_without_torch_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ImportError, match=r"wonn-jax\[torch\]"):
        from_pytorch(tmp_path / "weights.pth")


def test_pth_is_read_and_never_executed(tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth needs the extra [torch]")
    state = weights("maze_l1")
    tensors = {name: torch.as_tensor(x) for name, x in state.items()}
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": x for k, x in tensors.items()}},
        tmp_path / "nested.pth",
    )
    expected = from_pytorch(state)
    for name in ("plain.pth", "nested.pth"):
        jax.tree.map(np.testing.assert_array_equal, from_pytorch(tmp_path / name), expected)

    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"weights": Malicious()}, tmp_path / "malicious.pth")
    with pytest.raises(ValueError, match="none of its code was executed"):
        from_pytorch(tmp_path / "malicious.pth")
    assert not (tmp_path / "executed").exists()


def test_random_models_survive_a_round_trip():
    """With numbers of layers and widths that no fixture has."""
    model = GridModel(tokens=4, classes=5, width=12, layers=3, steps=(1,), heads=3)
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, 3, 4), int), jnp.zeros((1, 3, 4, 12))
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), dict(shapes))
    back = from_pytorch(to_pytorch(variables, "maze"))
    jax.tree.map(np.testing.assert_array_equal, back, variables)
