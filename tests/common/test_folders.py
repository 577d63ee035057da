"""Paths as people type them, and folders as they find them."""

import errno
import importlib.util
import os
from pathlib import Path

import pytest
from bucket import bucket
from etils import epath

from wonn_jax.common import folders
from wonn_jax.common.folders import (
    copy_folder,
    is_remote,
    listed,
    local_path,
    move_folder,
    naming_full_disk,
    parse_path,
    writable_folder,
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working directory and the home of a user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("run", "run"),
        ("./run/", "run"),
        ("a/../run//x", "run/x"),
        (".", "."),
        ("~/run", "home/run"),
        ("my runs/é 日本", "my runs/é 日本"),
        ("a:b", "a:b"),
        ("./gs:/run", "gs:/run"),
        ("100%20", "100%20"),
        ("link/run", "target/run"),
        ("dangling", "nowhere"),
    ],
)
def test_local_paths(here, text, path):
    (here / "target").mkdir()
    (here / "link").symlink_to("target")
    (here / "dangling").symlink_to("nowhere")
    found = parse_path(text)
    assert os.fspath(found) == str((here / path).resolve()) and not is_remote(found)
    assert parse_path(found) == found


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///runs/x", "/runs/x"),
        ("file://localhost/runs/x/", "/runs/x"),
        ("file:/runs/x", "/runs/x"),
        ("file:///my%20runs/%C3%A9", "/my runs/é"),
    ],
)
def test_urls_of_local_paths(url, path):
    assert os.fspath(parse_path(url)) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket/run", "neither a local path nor gs://BUCKET/PATH"),
        ("https://example.org/run", "neither a local path nor gs://BUCKET/PATH"),
        ("GS://bucket/run", "neither a local path nor gs://BUCKET/PATH"),
        ("gs:/bucket/run", "use gs://bucket/run, or ./gs:/bucket/run for a local folder"),
        ("gs:bucket", "use gs://bucket, or"),
        ("s3:/bucket", "use s3://bucket, or"),
        ("gs://", "must be gs://BUCKET"),
        ("gs:///run", "must be gs://BUCKET"),
        ("gs://bucket/../other", "without '..'"),
        ("file://host/run", "must be file:///PATH"),
        ("file:run", "must be file:///PATH"),
        ("file:///run#1", "has ? or # in it"),
        ("~nobody-of-this-name/run", "is not a path"),
        ("/gs/run", "/gs/run is gs://run to etils and Orbax"),
        ("loop/run", "is not a path"),
    ],
)
def test_what_is_no_path(here, text, message):
    (here / "loop").symlink_to("loop")
    with bucket(here / "objects"), pytest.raises(ValueError) as caught:
        parse_path(text)
    assert message in str(caught.value)


def test_buckets(here):
    with bucket(here / "objects"):
        for text in ("gs://bucket/my runs/é", "gs://bucket//my runs/./é/"):
            found = parse_path(text)
            assert os.fspath(found) == "gs://bucket/my runs/é" and is_remote(found)
            assert parse_path(found) == found
        assert os.fspath(parse_path("gs://bucket")) == "gs://bucket"


@pytest.mark.parametrize(
    ("installed", "packages"),
    [
        ({"google.cloud.storage"}, "gcsfs"),
        ({"gcsfs"}, "google-cloud-storage"),
        ({"tensorflow"}, "google-cloud-storage"),
        (set(), "gcsfs google-cloud-storage"),
    ],
)
def test_packages_that_are_missing(monkeypatch, installed, packages):
    monkeypatch.setattr(folders, "_installed", lambda module: module in installed)
    with pytest.raises(ImportError) as caught:
        parse_path("gs://bucket/run")
    text = "gs://bucket/run needs packages that are missing: pip install "
    assert str(caught.value) == text + packages + "."


def test_installed():
    assert folders._installed("jax") and not folders._installed("nothing_of.this_name")
    assert importlib.util.find_spec("jax") is not None


def test_a_writable_folder(tmp_path):
    path = epath.Path(tmp_path / "a" / "b")
    assert writable_folder(path) == [tmp_path / "a" / "b", tmp_path / "a"]
    assert writable_folder(path) == [] and list(path.iterdir()) == []
    (path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a/b/file is a file; give the path of a folder"):
        writable_folder(path / "file")
    with pytest.raises(OSError, match=r"Nothing can be written into .*/file/x \(Not a directory\)"):
        writable_folder(path / "file" / "x")


@pytest.mark.parametrize("place", ["gs://bucket", "local"])
def test_folders_are_listed_copied_and_moved(tmp_path, place):
    with bucket(tmp_path / "objects"):
        folder = epath.Path(place if is_remote(place) else tmp_path / place)
        assert listed(folder / "a") == []
        folders.make_folder(folder / "a" / "x")
        (folder / "a" / "x" / "1").write_bytes(b"\0\xff")
        (folder / "a" / "2").write_text("é")
        assert [x.name for x in listed(folder / "a")] == ["2", "x"]
        copy_folder(folder / "a", folder / "copy")
        move_folder(folder / "a", folder / "moved" / "b")
        assert not (folder / "a").exists()
        for target in (folder / "copy", folder / "moved" / "b"):
            assert (target / "x" / "1").read_bytes() == b"\0\xff"
            assert (target / "2").read_text() == "é"


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("gs://b/a.csv", r"\(gcloud storage cp -r gs://b/a\.csv \.\)"),
        ("gs:/b/a.csv", r"\(gcloud storage cp -r gs://b/a\.csv \.\)"),
        ("s3://b/a.csv", r"\(aws s3 cp s3://b/a\.csv \.\)"),
        ("https://h/a.csv?x=1", r"\(curl -LO https://h/a\.csv\?x=1\)"),
        ("abfss://c@h/a", " to this machine and give the path"),
    ],
)
def test_urls_of_data_are_refused_with_how_to_copy_it(url, way):
    with pytest.raises(ValueError, match=rf"^config\.data\.path='.*' is a URL.*{way}.*or mount"):
        local_path(url, "config.data.path")


def test_local_paths_of_data(here):
    assert local_path("~/a", "x") == here / "home" / "a"
    assert local_path("file:///a%20b", "x") == Path("/a b")
    assert local_path(Path("a") / "b:c", "x") == Path("a/b:c")
    with pytest.raises(ValueError, match="x='~nobody99/a' is not a path"):
        local_path("~nobody99/a", "x")


def test_the_error_of_a_full_disk_names_the_folder(tmp_path):
    """Unless it names a file; other errors stay as they are."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error, named in (
        (full, str(tmp_path)),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.txt"), "a.txt"),
        (OSError(errno.EACCES, "Permission denied"), None),
    ):
        with pytest.raises(OSError) as raised, naming_full_disk(tmp_path):
            raise error
        assert (raised.value.errno, raised.value.filename) == (error.errno, named)
