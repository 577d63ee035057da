"""Files of weights: read whatever their suffix; those that cannot be are named, with the reason."""

import bz2
import gzip
import io
import json
import lzma
import struct
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.interop import from_pytorch, load_state_dict
from wonn_jax.interop.files import read_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
SUFFIXES = ("npz", "safetensors", "pth", "pt", "ckpt")


@pytest.fixture(scope="module")
def state(reference_fixtures):
    return load_state_dict(reference_fixtures / "maze_l1.npz")


def npz(state) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    return buffer.getvalue()


TYPES = {
    "float64": "F64",
    "int64": "I64",
    "int8": "I8",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
}


def safetensors(state) -> bytes:
    """Written by hand: the library for NumPy has not all types."""
    header, data = {}, b""
    for name, x in state.items():
        ends = [len(data), len(data) + x.nbytes]
        header[name] = {"dtype": TYPES[str(x.dtype)], "shape": x.shape, "data_offsets": ends}
        data += x.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refused(path: Path, content: bytes | None, match: str, kind=ValueError) -> None:
    """The error names the file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=match) as error:
        from_pytorch(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_servers_and_git_leave_in_place_of_weights(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    refused(path, POINTER, r"is a Git LFS pointer, .*git lfs pull")
    refused(path, PAGE, "is a page of a web site")
    refused(path, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web site")
    refused(path, b"Entry not found", "is a text, 'Entry not found', not weights")
    refused(path, b'{"error": "Not \xc3\xbcber 9000"}', "is a text, ")


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_empty_and_random_files(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    refused(path, b"", "is empty")
    refused(path, bytes(500), "nothing but 500 zero bytes")
    refused(path, np.random.default_rng(0).bytes(500), "is damaged")


def test_unknown_formats(tmp_path):
    refused(tmp_path / "weights.bin", b"GGUF\0\1\2", r"no known format .*must be \.npz, ")
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    refused(tmp_path / "weights.npz", buffer.getvalue(), r"one array without a name \(\.npy\)")
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.writestr("run/maze.pth", "…")
    refused(tmp_path / "weights.zip", None, r"archive of other files \(run/maze\.pth\): unpack it")


@pytest.mark.parametrize("write", [npz, safetensors])
def test_damage_is_found_wherever_it_is(tmp_path, state, write):
    data = write(state)
    path = tmp_path / f"weights.{write.__name__}"
    for share in (0.01, 0.3, 0.9, 0.9999):
        refused(path, data[: int(share * len(data))], "is damaged")
    rng = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(data)
        for place in rng.integers(0, 3000, 20):
            changed[place] = rng.integers(256)
        refused(path, bytes(changed), ".")


def test_a_changed_byte_in_a_pth_is_found(tmp_path):
    """PyTorch does not compare checksums."""
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\2}.")
        archive.writestr("weights/data/0", b"0123456789")
    refused(path, path.read_bytes().replace(b"0123456789", b"0123556789"), "checksum of weights/da")
    refused(path, path.read_bytes()[:-9], "is damaged")


def test_the_content_decides_not_the_suffix(tmp_path, state):
    expected = from_pytorch(state)
    for name, data in (("weights.pth", npz(state)), ("weights", safetensors(state))):
        (tmp_path / name).write_bytes(data)
        jax.tree.map(np.testing.assert_array_equal, from_pytorch(tmp_path / name), expected)


def test_half_precision_in_files(tmp_path, state):
    half = {n: x.astype(jnp.bfloat16) if x.dtype == float else x for n, x in state.items()}
    for write in (npz, safetensors):
        path = tmp_path / f"half.{write.__name__}"
        path.write_bytes(write(half))
        found = load_state_dict(path)
        assert found["out.bias"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(found["out.bias"], half["out.bias"])
        from_pytorch(path)
    eight = {"a": np.arange(3).astype(jnp.float8_e4m3fn), "b": np.ones(2, np.int8)}
    (tmp_path / "eight.safetensors").write_bytes(safetensors(eight))
    back = read_file(tmp_path / "eight.safetensors")
    assert {name: x.dtype for name, x in back.items()} == {n: x.dtype for n, x in eight.items()}


def test_python_objects_in_an_npz_are_left_alone(tmp_path, state):
    (tmp_path / "weights.npz").write_bytes(npz(state | {"config": np.array([{"lr": 1}], object)}))
    from_pytorch(tmp_path / "weights.npz")
    np.savez(tmp_path / "pickled.npz", model=np.array(state, object))
    refused(tmp_path / "pickled.npz", None, r"It has: model object\[\]")


@pytest.mark.parametrize(
    ("module", "command"), [(gzip, "gunzip"), (bz2, "bunzip2"), (lzma, "unxz")]
)
def test_compressed_weights_are_refused_with_how_to_unpack_them(tmp_path, state, module, command):
    path = tmp_path / "weights.pth.gz"
    refused(path, module.compress(npz(state)), f"is compressed; .* Type: {command} {path}")


def test_a_tilde_is_the_home(tmp_path, state, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.npz").write_bytes(npz({f"model.{n}": x for n, x in state.items()}))
    assert load_state_dict("~/weights.npz").keys() == state.keys()
    assert load_state_dict("~/weights.npz:model").keys() == state.keys()


# --- Several files --------------------------------------------------------------------------------


def test_sharded_weights_by_their_index(tmp_path, state):
    names = list(state)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for part, own in parts.items():
        (tmp_path / part).write_bytes(safetensors({name: state[name] for name in own}))
    index = tmp_path / "model.safetensors.index.json"
    where = {name: part for part, own in parts.items() for name in own}
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}, indent=2))
    found = load_state_dict(index)
    assert found.keys() == state.keys()
    jax.tree.map(np.testing.assert_array_equal, found, dict(state))
    refused(tmp_path / part, None, "is one of 2 parts. Give their index")
    refused(tmp_path, None, r"is a folder\. Give a file of it, such as .*\.index\.json")
    (tmp_path / part).unlink()
    refused(index, None, f"lists {part}, which is not in its folder")


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        ({"a": "../weights.npz"}, "not in its folder"),
        ({"a": "index.json"}, "lists index.json, which holds no tensors"),
        ({"a": 3}, "is damaged"),
        (["a"], "is damaged"),
    ],
)
def test_a_malformed_index(tmp_path, listed, match):
    refused(tmp_path / "index.json", json.dumps({"weight_map": listed}).encode(), match)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ((), "is a folder without weights"),
        (("b.npz", "a.pth"), r"Give a file of it, such as .*a\.pth"),
        (("config.json", "checkpoints/"), "is the folder of a run; use --workdir="),
        (("_CHECKPOINT_METADATA", "state/"), "is a checkpoint of Orbax"),
        ((".metadata", "__0_0.distcp"), "distributed checkpoint of PyTorch. Convert it"),
    ],
)
def test_folders(tmp_path, files, match):
    for name in files:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    refused(tmp_path, None, match)


def test_nothing_there(tmp_path):
    refused(tmp_path / "weights.npz", None, "there is no such file", FileNotFoundError)
    (tmp_path / "gone.pth").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "gone.pth", None, "there is no such file", FileNotFoundError)


# --- Libraries that may be missing ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "library"), [("w.safetensors", "safetensors"), ("w.pth", "torch")]
)
def test_a_missing_library_is_named(tmp_path, state, monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    content = safetensors(state) if library == "safetensors" else b"\x80\2}."
    refused(tmp_path / name, content, rf"library {library}: .*wonn-jax\[torch\]", ImportError)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reading .pth needs the extra [torch]")


def test_checkpoints_of_pytorch(tmp_path, state, torch):
    tensors = {name: torch.as_tensor(x) for name, x in state.items()}
    half = {n: x.bfloat16() if x.is_floating_point() else x for n, x in tensors.items()}
    path = tmp_path / "run.ckpt"
    for zipped in (True, False):
        content = {"state_dict": {f"model.module.{n}": x for n, x in half.items()}, "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert from_pytorch(path)["params"]["logits"]["bias"].dtype == jnp.bfloat16
        refused(path, path.read_bytes()[:-700], "is damaged")
    torch.save(tensors, path)
    refused(path, path.read_bytes()[:4000], "is damaged")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    refused(path, None, "is a TorchScript program")


def test_other_objects_in_a_pth_are_named(tmp_path, state, torch):
    tensors = {name: torch.as_tensor(x) for name, x in state.items()}
    path = tmp_path / "run.pth"
    for value, name in ((Path("/"), "pathlib"), (torch.nn.Linear(2, 2), r"torch\.nn\.\S*Linear")):
        torch.save({"model": tensors, "more": value}, path)
        refused(path, None, rf"contains other objects \({name}.* than tensors; none of its code")
    for value in (3, torch.ones(3), [torch.ones(3)]):
        torch.save(value, path)
        refused(path, None, "no tensors by name|no weights of a reference")
