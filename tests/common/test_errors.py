"""Errors as commands print them."""

import errno
import os

import pytest

from wonn_jax.common.errors import explain


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space there"),
        (errno.EDQUOT, "Free some space there"),
        (errno.EROFS, "Make the file system writable"),
        (errno.EACCES, "Check its permissions"),
        (errno.EPERM, "Check its permissions"),
        (errno.ENOENT, "Check the path."),
        (errno.EISDIR, "Give the path of a file."),
        (errno.ENOTDIR, "Check the path: a part of it is a file"),
        (errno.ENAMETOOLONG, "Choose a shorter one."),
        (errno.EIO, "Check the file system"),
    ],
)
def test_the_file_the_fault_and_what_to_do(number, advice):
    text = explain(OSError(number, os.strerror(number), "runs/a/metrics.jsonl"))
    assert text.startswith(f"runs/a/metrics.jsonl: {os.strerror(number)}. {advice}")
    assert explain(OSError(number, os.strerror(number))).startswith(os.strerror(number))


def test_others_say_what_they_say():
    assert explain(OSError("A checkpoint needs 3 MiB.")) == "A checkpoint needs 3 MiB."
    assert explain(ValueError("found 3; use 4.")) == "found 3; use 4."
    assert explain(EOFError()) == "EOFError"
