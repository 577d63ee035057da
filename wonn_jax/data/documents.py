"""Files as people keep them: compressed, in zip archives and folders, in any usual encoding.

What a file is shows in its first bytes; its name is not asked.
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from wonn_jax.common.folders import local_path

Place = Path | zipfile.Path
"""A file or folder, on disk or in a zip archive: the same methods."""

_HEAD = 2**16  # bytes from which the kind of a file is seen
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
# What the readers of compressed files and archives raise; bz2 and zipfile raise OSErrors.
_DAMAGE = (
    *(zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, NotImplementedError, OSError),
    UnicodeDecodeError,  # of names in archives
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BINARY = {
    b"PAR1": ("a Parquet table", "pandas.read_parquet(FILE).to_csv('FILE.csv', index=False)"),
    b"\x89HDF": ("an HDF5 file", "read its arrays with h5py and write them with numpy.savez"),
    b"SQLite format 3": ("an SQLite database", "export its table as csv"),
    b"\x28\xb5\x2f\xfd": ("compressed by Zstandard", "unzstd FILE"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "7z x FILE"),
    b"Rar!": ("a RAR archive", "unrar x FILE"),
    b"%PDF": ("a PDF document", "copy the text out of it"),
    b"\x89PNG": ("a picture", "type what it shows"),
    b"\xff\xd8\xff": ("a picture", "type what it shows"),
    b"GIF8": ("a picture", "type what it shows"),
    b"\xd0\xcf\x11\xe0": ("a document of Microsoft Office", "save it as csv"),
    b"\x93NUMPY": ("a NumPy array", "numpy.savetxt writes it as text"),
}
_ENCODINGS = {  # the longer marks first: that of UTF-32 begins like that of UTF-16
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_POINTER = b"version https://git-lfs"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclasses.dataclass(frozen=True)
class Document:
    """A file, or bytes that came from elsewhere.

    Attributes:
      where: its name, for messages.
      place: where it lies, or its bytes.
    """

    where: str
    place: Place | bytes

    @contextlib.contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Its bytes, decompressed as they are read.

        Raises:
          OSError: it cannot be opened.
          ValueError: it is compressed and damaged.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(damage(self.where))
            raw: Any = (
                io.BytesIO(self.place) if isinstance(self.place, bytes) else self.place.open("rb")
            )
            stack.enter_context(contextlib.closing(raw))
            stream = io.BufferedReader(raw, _HEAD)
            while reader := _decompressor(stream.peek(_HEAD)):  # some are compressed twice
                stream = io.BufferedReader(reader(stream), _HEAD)
            yield stream

    def head(self) -> bytes:
        """Its first bytes."""
        with self.open() as stream:
            return stream.read(_HEAD)

    def read(self) -> bytes:
        """All its bytes."""
        with self.open() as stream:
            return stream.read()

    def text(self) -> str:
        """Its text; see `decode`."""
        return decode(self.read(), self.where)


def _decompressor(head: bytes) -> Callable[[Any], Any] | None:
    return next((reader for magic, reader in _COMPRESSED.items() if head.startswith(magic)), None)


@contextlib.contextmanager
def damage(where: str) -> Iterator[None]:
    """Turns what damaged compressed files raise into a ValueError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.filename:
            raise  # it cannot be opened
        raise ValueError(
            f"{where} is damaged: {error}. Required: a whole file. Copy or download it again."
        ) from error


def name_of(file: str) -> str:
    """What a file is called in messages: '-' is standard input."""
    return "standard input" if file == "-" else file


def documents(file: str) -> list[Document]:
    """The files that a name stands for.

    Args:
      file: '-' for standard input, a file, a zip archive or a folder: all files in it, by name.

    Raises:
      OSError: there is no such file.
      ValueError: a URL, a folder or archive without files, an archive that is damaged or encrypted.
    """
    place: Place | bytes = sys.stdin.buffer.read() if file == "-" else local_path(file, "FILE")
    document = Document(name_of(file), place)
    folder = as_folder(document)
    if folder is None:
        return [document]
    found = [Document(f"{file}/{x.name}", x) for x in members(folder) if x.is_file()]
    if not found:
        raise ValueError(f"{file} holds no files. Give a file, or a folder with files.")
    return found


def as_folder(document: Document) -> Place | None:
    """A folder, or a zip archive seen as a folder; None for any other file.

    An archive that holds one folder and nothing else is that folder. The archives that NumPy and
    PyTorch write are files.

    Raises:
      OSError: there is no such file.
      ValueError: an archive that is damaged, encrypted or of Excel.
    """
    place, where = document.place, document.where
    if not isinstance(place, bytes) and place.is_dir():
        return place
    if not is_zip(document.head()):
        return None
    with damage(where):
        archive = zipfile.ZipFile(place if isinstance(place, Path) else io.BytesIO(document.read()))
    names = archive.namelist()
    if not names:
        raise ValueError(f"{where} is an empty archive. Copy or download it again.")
    if all("/" not in x and x.endswith(".npy") for x in names) or names[0].endswith("/data.pkl"):
        return None
    if "[Content_Types].xml" in names:
        raise ValueError(f"{where} is a document of Microsoft Office, not text. Save it as csv.")
    if any(member.flag_bits & 1 for member in archive.infolist()):
        raise ValueError(f"{where} is encrypted. Unpack it first, with its password.")
    root: Place = zipfile.Path(archive)
    while len(inside := members(root)) == 1 and inside[0].is_dir():
        root = inside[0]
    return root


def members(folder: Place) -> list[Place]:
    """What lies in a folder, by name, without what systems hide there."""
    hidden = (".", "__MACOSX", "Thumbs.db", "desktop.ini")
    found = [x for x in folder.iterdir() if not x.name.startswith(hidden)]
    return sorted(cast(list[Place], found), key=lambda x: x.name)


def is_zip(head: bytes) -> bool:
    """Whether a file begins like a zip archive, as .npz files and new .pt files do."""
    return head.startswith(_ZIP)


def check_fetched(head: bytes, where: str) -> None:
    """Raises a ValueError if a file that begins so only stands for one that is elsewhere."""
    if head.startswith(_POINTER):
        raise ValueError(
            f"{where} is a pointer of Git LFS, not the file itself. Fetch it, with: git lfs pull"
        )


def encoding_of(head: bytes, where: str) -> str:
    """The encoding of a text that begins with these bytes.

    Raises:
      ValueError: it is no text; the message says what it is, and how to convert it.
    """
    check_fetched(head, where)
    for magic, (kind, way) in _BINARY.items():
        if head.startswith(magic):
            raise ValueError(f"{where} is {kind}, not text. Convert it: {way}.")
    if is_zip(head) or head[257:262] == b"ustar":
        raise ValueError(f"{where} is an archive, not text. Unpack it, and name the file.")
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    for encoding, zeros, letters in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if head[zeros::2].count(0) > len(head) / 8 and not head[letters::2].count(0):
            return encoding
    if control := _CONTROL.search(head):
        raise ValueError(
            f"{where} is not text: byte {control.start()} is {control[0][0]}. Required: text, in "
            "UTF-8 for example. Give another file, or export its content as text."
        )
    return "utf-8-sig"


def decode(data: bytes, where: str) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, or in the encoding of old files from Windows.

    Raises:
      ValueError: it is no text.
    """
    encoding = encoding_of(data[:_HEAD], where)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig" and not _CONTROL.search(data):
            return data.decode("cp1252", errors="replace")
        seems = "" if encoding == "utf-8-sig" else f", nor {encoding.upper()}, as which it begins"
        raise ValueError(
            f"{where} is not UTF-8 text{seems} ({error.reason}). Save it again, as UTF-8."
        ) from error
