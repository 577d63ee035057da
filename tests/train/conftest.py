"""A finished run that the tests of training share."""

import pathlib

import pytest
from runs import quickly, tiny

from wonn_jax.train.loop import train


@pytest.fixture(scope="session")
def finished(mazes, compiled, tmp_path_factory) -> pathlib.Path:
    """The workdir of a finished run of `runs.tiny`, to be read; copy it to change it."""
    workdir = tmp_path_factory.mktemp("finished")
    with quickly(compiled):
        train(tiny(mazes), workdir)
    return workdir
