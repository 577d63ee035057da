"""Where data, puzzles and weights lie: on this machine, or else the message says how to copy it."""

import pytest

from wonn_jax.data.cifar import Cifar10
from wonn_jax.data.imagenet import ImageNet
from wonn_jax.data.layouts import parts_of
from wonn_jax.data.maze import Mazes
from wonn_jax.data.sudoku import Sudokus
from wonn_jax.interop import load_state_dict
from wonn_jax.interop.files import read_file
from wonn_jax.tools.puzzles import PUZZLES

URLS = ("gs://bucket/a.npz", "s3://bucket/a.npz", "https://host/a.npz")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("data", [Sudokus, Mazes, Cifar10, ImageNet])
@pytest.mark.parametrize("field", ["path", "dir"])
def test_data_in_a_bucket_are_refused_before_anything_is_read(data, field, url):
    with pytest.raises(ValueError, match=rf"config\.data\.{field}='{url}' is a URL.*Copy .* {url}"):
        data(**{field: url}).check()


@pytest.mark.parametrize("url", URLS)
def test_other_files_in_a_bucket_are_refused(url):
    with pytest.raises(ValueError, match=rf"config\.data\.class_list='{url}' is a URL"):
        ImageNet(class_list=url).check()
    for read in (load_state_dict, read_file):
        with pytest.raises(ValueError, match=rf"weights='{url}' is a URL"):
            read(url)
    for read in (parts_of, PUZZLES["sudoku"].load, PUZZLES["maze"].load):
        with pytest.raises(ValueError, match=rf"FILE='{url}' is a URL"):
            read(url)


def test_file_urls_are_paths(tmp_path):
    assert Sudokus(path=f"file://{tmp_path}/a.csv").place == f"{tmp_path}/a.csv"
    (tmp_path / "a.txt").write_text("." * 81)
    assert len(PUZZLES["sudoku"].load(f"file://{tmp_path}/a.txt").boards) == 1
