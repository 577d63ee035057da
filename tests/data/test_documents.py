"""Files compressed, in archives, in many encodings: the same text; what is no text is named."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest

from wonn_jax.data.documents import Document, as_folder, decode, documents

TEXT = "S..\n.█.\n..G\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encodings(encoding):
    assert decode(TEXT.encode(encoding), "") == TEXT


def test_utf_16_with_the_big_end_first_and_a_mark():
    assert decode(b"\xfe\xff" + TEXT.encode("utf-16-be"), "") == TEXT


def test_old_files_of_windows():
    assert decode("# André\n12".encode("cp1252"), "") == "# André\n12"


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed_files(tmp_path, module):
    file = tmp_path / "named.txt"  # the name says nothing
    file.write_bytes(module.compress(TEXT.encode()))
    (document,) = documents(str(file))
    assert (document.text(), document.where) == (TEXT, str(file))
    with document.open() as stream:
        assert stream.readline() == b"S..\n"
    file.write_bytes(module.compress(TEXT.encode() * 100)[:-9])
    with pytest.raises(ValueError, match=r"named\.txt is damaged: .*Copy or download it again"):
        document.text()


def archive(path, files):
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)


def test_archives_and_folders_are_all_their_files(tmp_path):
    files = {
        "a/2.txt": "two",
        "a/1.txt.gz": gzip.compress(b"one"),
        "__MACOSX/a": "",
        "a/.x": "",
        "a/Thumbs.db": "",
    }
    archive(tmp_path / "all.zip", files)
    found = documents(str(tmp_path / "all.zip"))
    assert [(x.where, x.text()) for x in found] == [
        (f"{tmp_path}/all.zip/1.txt.gz", "one"),
        (f"{tmp_path}/all.zip/2.txt", "two"),
    ]
    with zipfile.ZipFile(tmp_path / "all.zip") as zipped:
        zipped.extractall(tmp_path)
    assert [x.text() for x in documents(str(tmp_path / "a"))] == ["one", "two"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no files"):
        documents(str(tmp_path / "empty"))


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(TEXT.encode()))))
    (document,) = documents("-")
    assert (document.text(), document.where) == (TEXT, "standard input")


def test_archives_of_arrays_are_files(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    assert as_folder(Document("arrays.npz", tmp_path / "arrays.npz")) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe\xff", r"x is not UTF-8 text, nor UTF-16, as which.*\(truncated data\)"),
        (b"PAR1\x15", r"x is a Parquet table, not text.*read_parquet\(FILE\)\.to_csv"),
        (b"\x89PNG\r\n", "x is a picture, not text"),
        (b"12345678\x0034", "x is not text: byte 8 is 0"),
        (b"PK\x05\x06" + bytes(18), "x is an archive"),
    ],
)
def test_what_is_no_text_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        decode(data, "x")


def test_a_sheet_of_excel_is_named(tmp_path):
    archive(tmp_path / "x.xlsx", {"[Content_Types].xml": "", "xl/a": ""})
    with pytest.raises(ValueError, match=r"x\.xlsx is a document of Microsoft Office.*csv"):
        documents(str(tmp_path / "x.xlsx"))
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ValueError, match=r"x\.zip is damaged"):
        documents(str(tmp_path / "x.zip"))
