"""Small files: what is written is valid JSON and whole, what is read names a damaged file."""

import json
import math
import os
import re

import pytest

from wonn_jax.common import files


def test_json_has_neither_nan_nor_infinities(tmp_path):
    value = {"a": math.nan, "b": [1.5, (math.inf, -math.inf)], "c": {"d": "NaN", "e": None}}
    path = tmp_path / "x.json"
    files.write_json(path, value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": None, "b": [1.5, [None, None]], "c": {"d": "NaN", "e": None}}
    read = files.numbers(found)
    assert math.isnan(read["a"]) and math.isnan(read["b"][1][0]) and math.isnan(read["c"]["e"])
    assert read["b"][0] == 1.5 and read["c"]["d"] == "NaN"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\0" * 9, "NUL bytes"),
        (b'{"a": "\xff"}', "not UTF-8, byte 8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8, byte 1"),
        (b'{"a": 1', "Expecting ',' delimiter, column 8"),
        (b'{\n  "a": 1,\n  "b"', "Expecting ':' delimiter, line 3, column 6"),
        (b'{"a": 1}\0\0', "Extra data, column 9"),
        (b"[1]", "a list in place of an object"),
        (b"null", "a NoneType in place of an object"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, fault):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        files.read_object(path, "Do this.")
    text = str(caught.value)
    assert re.match(
        rf"{re.escape(str(path))} is damaged \(.*{re.escape(fault)}.*\)\. Do this\.$", text
    )


def test_a_byte_order_mark_and_windows_lines_are_no_damage(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf" + '{\r\n"a": "ü"}\r\n'.encode())
    assert files.read_object(path) == {"a": "ü"}


def test_a_failed_write_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
            files.write_json(path, {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert files.read_object(path) == {"a": 1}


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing/x\.json'$"):
        files.write_atomically(tmp_path / "nothing" / "x.json", "text")
