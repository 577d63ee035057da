"""Files of JSON lines: what is malformed is reported and goes, all else stays, byte for byte."""

import json
import math
import os

import pytest
from etils import epath

from wonn_jax.train.lines import LineFile, read_lines


def line(step: int, kind: str = "train", **values) -> bytes:
    return json.dumps({"step": step, "kind": kind, **values}).encode() + b"\n"


LINES = [line(step, loss=1 / step) for step in range(1, 15)]
TORN = {
    "half a line": LINES[2][:20] + b"\n",
    "half a line and the next": LINES[2][:20],
    "no JSON": b"Killed\n",
    "empty object": b"{}\n",
    "a list": b"[3]\n",
    "a step that is no integer": line(3).replace(b"3", b"3.5"),
    "a step that is a truth value": line(3).replace(b"3", b"true"),
    "no kind": b'{"step": 3}\n',
    "NUL bytes": b"\0" * 4096 + b"\n",
    "NUL bytes before a line": b"\0" * 100 + LINES[2],
    "not UTF-8": LINES[2].replace(b"train", b"tr\xffin"),
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_malformed_line_inside_takes_no_others_with_it(tmp_path, caplog, torn):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"".join([*LINES[:2], torn, *LINES[3:]]))
    good = [*LINES[:2], *LINES[3 if torn.endswith(b"\n") else 4 :]]
    read = read_lines(path)
    assert read == [json.loads(x) for x in good]
    assert f"{path}: malformed lines are left out: line 3 (" in caplog.text
    caplog.clear()
    file = LineFile(path, 8)
    assert f"{path}: malformed lines are removed: line 3 (" in caplog.text
    for step in range(9, 15):
        file.append(json.loads(LINES[step - 1]))
    assert path.read_bytes() == b"".join(good)
    caplog.clear()
    LineFile(path, 14)
    assert not caplog.text and path.read_bytes() == b"".join(good)


@pytest.mark.parametrize("end", [LINES[4][:9], LINES[4][:9] + b"\0" * 50, b"\0" * 4096])
def test_half_a_line_at_the_end(tmp_path, caplog, end):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"".join(LINES[:4]) + end)
    file = LineFile(path, 4)
    assert "line 5 (" in caplog.text
    file.append(json.loads(LINES[4]))
    assert path.read_bytes() == b"".join(LINES[:5])


def test_only_the_end_of_the_last_line_is_missing(tmp_path, caplog):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"".join(LINES[:4])[:-1])
    LineFile(path, 8).append(json.loads(LINES[4]))
    assert path.read_bytes() == b"".join(LINES[:5]) and not caplog.text


def test_an_empty_file_and_empty_lines_are_no_fault(tmp_path, caplog):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"")
    assert read_lines(path) == []
    path.write_bytes(b"\n" + LINES[0] + b"\n\n" + LINES[1])
    assert [x["step"] for x in read_lines(path)] == [1, 2]
    assert read_lines(tmp_path / "nothing.jsonl") == [] and not caplog.text


def test_a_separator_of_unicode_ends_no_line(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes('{"step": 1, "kind": "train", "note": "a\u2028b\x85c"}\n'.encode())
    assert read_lines(path)[0]["note"] == "a\u2028b\x85c"


def test_a_file_full_of_faults_is_reported_in_one_line(tmp_path, caplog):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"x\n" * 1000 + LINES[0])
    assert len(read_lines(path)) == 1
    assert "line 5 (" in caplog.text and "line 6 (" not in caplog.text
    assert caplog.text.count("\n") == 1 and "and 995 more" in caplog.text


def test_what_is_no_number_is_null_in_the_file_and_nan_when_read(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    file = LineFile(path, 0)
    file.append({"step": 1, "kind": "test", "precision": math.nan, "loss": math.inf})
    file.flush()
    assert path.read_text() == '{"step": 1, "kind": "test", "precision": null, "loss": null}\n'
    (read,) = read_lines(path)
    assert math.isnan(read["precision"]) and math.isnan(read["loss"])


def test_an_untouched_file_is_not_written(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b"".join(LINES))
    os.utime(path, (1, 1))
    LineFile(path, 14)
    assert os.stat(path).st_mtime == 1


def test_a_full_disk_names_the_file(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    file = LineFile(path, 0)
    os.symlink("/dev/full", path)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        file.append({"step": 1, "kind": "train"})
