"""`interop verify`: what a fixture records is compared, what it does not is listed."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from wonn_jax.interop import verify as module
from wonn_jax.interop.__main__ import main

TRAIN = ("train/logits", "train/loss", "train/grad/*", "train/buffer/*")


@pytest.fixture(scope="module")
def complete(reference_fixtures):
    """Of a network of two layers, three steps each."""
    with np.load(reference_fixtures / "maze_l2.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def known(complete, monkeypatch):
    """Our network computes what is in the complete fixture, which saves the time to do so."""
    ours = {name: x for name, x in complete.items() if name.startswith(("eval/", "train/"))}
    ours |= {name: x[1:] for name, x in ours.items() if name.endswith("/energy")}
    monkeypatch.setattr(module, "_our_values", lambda fixture: ours if fixture.recorded else {})
    return ours


@pytest.fixture
def check(tmp_path, capsys):
    """The exit status of `verify`, its verdicts by the name of the quantity, its error."""

    def run(fixture, *arguments: str) -> tuple[int, dict[str, str], str]:
        path = tmp_path / "fixture.npz"
        np.savez(path, **fixture)
        status = main(["verify", str(path), *arguments])
        captured = capsys.readouterr()
        lines = [re.split(r"  +", line) for line in captured.out.splitlines()[:-1]]
        assert str(path) in captured.out.splitlines()[-1] if captured.out else captured.err
        return status, {line[0]: line[-1] for line in lines}, captured.err

    return run


def without(fixture, *prefixes):
    return {name: x for name, x in fixture.items() if not name.startswith(prefixes)}


def changed(fixture, ending, change):
    return fixture | {name: change(x) for name, x in fixture.items() if name.endswith(ending)}


def absent(verdicts):
    return [name for name, verdict in verdicts.items() if verdict == "not recorded"]


@pytest.mark.parametrize(
    ("left_out", "listed"),
    [
        ((), []),
        (("train/grad/",), ["train/grad/*"]),
        (("train/buffer/",), ["train/buffer/*"]),
        (("train/",), [*TRAIN]),
        (("eval/logits",), ["eval/logits"]),
        (("eval/layer0/theta",), ["eval/layer0/theta"]),
        (("eval/layer1/", "train/loss"), ["eval/layer1/theta", "eval/layer1/energy", "train/loss"]),
        (("train/grad/out.bias",), ["train/grad/out.bias"]),
        (("train/grad/", "train/loss", "target"), ["train/loss", "train/grad/*"]),
        (
            ("eval/", "train/", "theta0", "input", "target"),
            [
                "eval/logits",
                *(f"eval/layer{i}/{x}" for i in (0, 1) for x in ("theta", "energy")),
                *TRAIN,
            ],
        ),
    ],
)
def test_what_is_not_recorded_is_listed(complete, known, check, left_out, listed):
    status, verdicts, _ = check(without(complete, *left_out))
    assert status == 0
    assert absent(verdicts) == listed
    assert set(verdicts.values()) <= {"ok", "not recorded"} and "ok" in verdicts.values()


@pytest.mark.parametrize(
    "shorten",
    [
        lambda x: x[-1],  # no axis of steps
        lambda x: x[-1:],
        lambda x: x[-2:],
        lambda x: x[-3:],
    ],
)
def test_the_last_of_a_trajectory_is_compared_with_the_last(complete, known, check, shorten):
    last = changed(complete, ("/theta", "/energy"), shorten)
    status, verdicts, _ = check(last)
    assert status == 0 and set(verdicts.values()) == {"ok"}
    status, verdicts, _ = check(changed(last, "1/theta", lambda x: x + 1e-6))
    assert status == 1
    assert [name for name, x in verdicts.items() if x == "DIFFERS"] == ["eval/layer1/theta"]
    status, _, _ = check(changed(complete, ("/theta", "/energy"), lambda x: shorten(x[:-1])))
    assert status == 1  # the last but one


def test_initial_phases_before_a_trajectory(complete, known, check):
    longer = changed(complete, "/theta", lambda x: np.concatenate([x[:1], x]))
    assert check(longer)[0] == 0
    longer = changed(complete, "/theta", lambda x: np.concatenate([x, x[:1]]))
    assert check(longer)[0] == 1
    status, verdicts, _ = check(changed(complete, "/theta", lambda x: np.concatenate([x, x])))
    assert status == 1 and sum(x == "DIFFERS" for x in verdicts.values()) == 2


def test_the_last_phases_alone_with_our_network(complete, check):
    """And with inputs of other types."""
    fixture = changed(without(complete, "eval/logits", "train/"), "/theta", lambda x: x[-1])
    fixture = without(fixture, "eval/layer0/energy", "eval/layer1/energy", "param/gamma")
    fixture |= {"input": complete["input"].astype(np.float32), "target": np.zeros((2, 8, 8))}
    fixture |= {"eval/layer0/theta": fixture["eval/layer0/theta"] + 1e-6}
    status, verdicts, _ = check(fixture)
    assert status == 1
    assert verdicts["eval/layer0/theta"] == "DIFFERS" and verdicts["eval/layer1/theta"] == "ok"
    assert absent(verdicts)[0] == "eval/logits"


def test_a_gradient_that_is_zero_alone(complete, known, check):
    """It is measured against the largest one, even if that is not recorded."""
    name = "train/grad/out.bias"
    known[name] = np.full_like(complete[name], 1e-17)
    only = without(complete, "eval/", "train/") | {name: np.full_like(complete[name], 1e-18)}
    assert check(only)[0] == 0
    assert check(only | {name: np.full_like(complete[name], 1e-6)})[0] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f8"])
def test_coarser_values_have_the_tolerance_of_their_type(complete, known, check, dtype):
    recorded = {
        n: x.astype(dtype) if n.startswith(("eval/", "train/")) and x.dtype == float else x
        for n, x in complete.items()
    }
    assert check(recorded)[0] == 0
    assert check(recorded, "--tolerance=1e-9")[0] == (0 if dtype == ">f8" else 1)
    assert check(changed(recorded, "eval/logits", lambda x: (1.1 * x).astype(dtype)))[0] == 1
    inputs = {n: x.astype(np.float32) if n == "theta0" else x for n, x in complete.items()}
    assert check(changed(inputs, "eval/logits", lambda x: x * (1 + 1e-6)))[0] == 0
    assert check(changed(complete, "eval/logits", lambda x: x * (1 + 1e-6)))[0] == 1


def test_other_shapes_and_types_differ(complete, known, check):
    for wrong in (lambda x: x[:1], lambda x: x.astype(str), lambda x: x * np.nan):
        status, verdicts, _ = check(changed(complete, "eval/logits", wrong))
        differ = [name for name, verdict in verdicts.items() if verdict == "DIFFERS"]
        assert status == 1 and differ == ["eval/logits"]
    empty = changed(complete, "eval/logits", lambda x: x[:0])
    assert absent(check(empty)[1]) == ["eval/logits"]


def test_unknown_entries_are_listed(complete, known, check):
    status, verdicts, _ = check(complete | {"eval/layer7/theta": np.ones(3), "note": "a"})
    assert status == 0
    assert verdicts["eval/layer7/theta"] == "not known here, not compared"
    assert "note" not in verdicts


def settings(fixture, **model):
    meta = json.loads(str(fixture["meta"]))
    return fixture | {"meta": json.dumps(meta | {"model": meta["model"] | model})}


WRONG = {
    "no meta": (lambda x: without(x, "meta"), "no entry meta, but param/gamma, "),
    "no weights": (lambda x: without(x, "param/"), r"no weights \(param/"),
    "a weight less": (lambda x: without(x, "param/out.bias"), "Missing tensors: out.bias"),
    "no phases": (lambda x: without(x, "theta0"), "no theta0, from which eval/logits, "),
    "no input": (lambda x: without(x, "input"), "no input, from which "),
    "no target": (lambda x: without(x, "target"), "no target, from which train/loss, "),
    "meta is cut": (lambda x: x | {"meta": '{"kind"'}, "its entry meta must be JSON"),
    "meta is empty": (lambda x: x | {"meta": np.ones(0)}, "its entry meta must be JSON"),
    "meta is a list": (lambda x: x | {"meta": "[]"}, "where an object is needed"),
    "no kind": (lambda x: x | {"meta": "{}"}, "kind None; it must be one of maze"),
    "a list of kinds": (lambda x: x | {"meta": '{"kind": ["maze"]}'}, "it must be one of maze"),
    "no settings": (lambda x: x | {"meta": '{"kind": "maze"}'}, "model=None"),
    "no width": (lambda x: x | {"meta": '{"kind": "maze", "model": {}}'}, "model.ch=None"),
    "a width in words": (lambda x: settings(x, ch="wide"), "model.ch='wide'"),
    "another width": (lambda x: settings(x, ch=32), "describes no network"),
    "more layers": (lambda x: settings(x, L=10**9), "model.L=1000000000, the weights 2"),
    "no steps": (lambda x: settings(x, T=0), "model.T=0"),
    "odd heads": (
        lambda x: settings(x, heads=3),
        "describes no network .*twice the number of heads",
    ),
    "another kind": (
        lambda x: x | {"meta": str(x["meta"]).replace("maze", "sudoku")},
        r"\(4, 16\) there",
    ),
    "no heads": (lambda x: settings(x, heads=0), "describes no network"),
    "fewer boards": (lambda x: x | {"input": x["input"][:1]}, r"theta0 has shape \(2, 16, 8, 8\)"),
    "one board": (lambda x: x | {"input": x["input"][0]}, r"input has shape \(8, 8\)"),
    "a number": (lambda x: x | {"theta0": np.array(0.1)}, r"theta0 has shape \(\)"),
    "other channels": (lambda x: x | {"theta0": x["theta0"][:, :1]}, "describes no network"),
    "fewer targets": (lambda x: x | {"target": x["target"][:1]}, r"target has shape \(1, 8, 8\)"),
    "letters": (lambda x: x | {"input": x["input"].astype(str)}, "which is no number"),
    "objects": (lambda x: x | {"theta0": np.array([None])}, "theta0 has shape"),
}


@pytest.mark.parametrize(("spoil", "match"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_compared(complete, check, spoil, match):
    status, verdicts, error = check(spoil(complete))
    assert status == 2 and not verdicts
    assert error.startswith("Error: ") and error.count("\n") == 1
    assert "fixture.npz" in error and re.search(match, error)


def test_damaged_files_and_the_others_after_them(complete, known, tmp_path, capsys):
    damaged = tmp_path / "damaged.npz"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\3\4 and so on"):
        damaged.write_bytes(content)
        assert main(["verify", str(damaged)]) == 2
        assert str(damaged) in capsys.readouterr().err
    assert main(["verify", str(tmp_path)]) == 2
    np.savez(tmp_path / "good.npz", **complete)
    assert main(["verify", str(damaged), str(tmp_path / "good.npz")]) == 2
    assert "good.npz: all within 1e-08\n" in capsys.readouterr().out


@pytest.mark.parametrize("tolerance", ["-1", "nan", "much"])
def test_a_tolerance_is_a_number(tolerance, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["verify", "fixture.npz", f"--tolerance={tolerance}"])
    assert "tolerance" in capsys.readouterr().err


def test_half_precision_is_read(complete, known, check):
    """NumPy writes bfloat16 as two bytes without a meaning."""
    half = changed(complete, "eval/logits", lambda x: x.astype(jnp.bfloat16))
    status, verdicts, _ = check(half)
    assert status == 0 and verdicts["eval/logits"] == "ok"
