"""Decoding: grey of all depths, transparency, what is not an image."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from wonn_jax.data.decoding import FORMATS, decode

RAMP = np.linspace(0, 65535, 40).astype(np.uint16)[None].repeat(8, 0)
EXPECTED = [0, 32, 65, 98, 130, 163, 196, 228]  # of every fifth pixel


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data):
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def tiff(data, bits, photometric, order="<"):
    """A TIFF file of grey, 40 by 8."""
    tags = [(256, 40), (257, 8), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1)]
    tags += [(278, 8), (279, len(data))]
    folder = struct.pack(order + "H", len(tags))
    folder += b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8 + len(data))
    return start + data + folder + bytes(4)


def twelve_bits(levels):
    pairs = levels.reshape(-1, 2).astype(int)
    return b"".join(((int(a) << 12) | int(b)).to_bytes(3, "big") for a, b in pairs)


def png(bits, colour, rows, chunks=b""):
    """A PNG file of 40 by 8."""
    header = struct.pack(">IIBBBBB", 40, 8, bits, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + body + chunk(b"IEND", b"")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(RAMP)),
        encoded(Image.fromarray(RAMP), "TIFF"),
        encoded(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        encoded(Image.fromarray(RAMP), "JPEG2000"),
        tiff(RAMP.astype(">u2").tobytes(), 16, 1, ">"),
        tiff((65535 - RAMP).tobytes(), 16, 0),
        tiff(twelve_bits(RAMP >> 4), 12, 1),
        b"P5\n40 8\n65535\n" + RAMP.astype(">u2").tobytes(),
        b"P2\n40 8\n65535\n" + b" ".join(str(x).encode() for x in RAMP.ravel()),
    ],
    ids=[
        "png",
        "tiff",
        "lzw",
        "jpeg2000",
        "big-endian",
        "white-is-zero",
        "twelve-bits",
        "pgm",
        "plain-pgm",
    ],
)
def test_more_than_eight_bits_of_grey_are_scaled(data):
    found = pixels(data)
    assert found[0, ::5, 0].tolist() == EXPECTED
    assert abs(found.mean() - 127) < 1
    assert (found == found[..., :1]).all()


def test_sixteen_bits_of_colour_are_scaled():
    found = pixels(png(16, 2, np.repeat(RAMP[..., None], 3, 2).astype(">u2")))
    assert np.abs(found[0, ::5, 0].astype(int) - EXPECTED).max() <= 1


def test_the_transparent_level_of_sixteen_bits_is_white():
    found = pixels(png(16, 0, RAMP.astype(">u2"), chunk(b"tRNS", struct.pack(">H", 0))))
    assert found[0, ::5, 0].tolist() == [255, *EXPECTED[1:]]


@pytest.mark.parametrize("kind", [k for k in ("GIF", "WEBP", "PNG", "AVIF") if k in FORMATS])
def test_the_first_frame_of_an_animation_is_read(kind):
    first, second = (Image.new("RGB", (40, 8), colour) for colour in ("white", "black"))
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert pixels(data).min() > 250


@pytest.mark.parametrize(
    ("mode", "colour", "options", "expected"),
    [
        ("1", 1, {}, (255, 255, 255)),
        ("LA", (40, 255), {}, (40, 40, 40)),
        ("LA", (40, 0), {}, (255, 255, 255)),
        ("RGBA", (200, 0, 0, 0), {}, (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), {}, (204, 204, 204)),
        ("P", 0, {}, (0, 0, 0)),
        ("P", 0, {"transparency": 0}, (255, 255, 255)),
        ("L", 9, {"transparency": 9}, (255, 255, 255)),
    ],
)
def test_other_modes(mode, colour, options, expected):
    found = pixels(encoded(Image.new(mode, (3, 2), colour), **options))
    assert found.shape == (2, 3, 3)
    assert (found == expected).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_other_colour_spaces(mode, kind):
    image = Image.new("RGB", (16, 16), (200, 200, 200)).convert(mode)
    assert np.abs(pixels(encoded(image, kind)).astype(int) - 200).max() <= 3


@pytest.mark.parametrize(("mode", "message"), [("F", "floating-point"), ("I", "32-bit integers")])
def test_modes_of_unknown_range_are_refused(mode, message):
    with pytest.raises(ValueError, match=f"{message}.*range is unknown"):
        decode(encoded(Image.new(mode, (3, 2), 1), "TIFF"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (bytes(99), "only zero bytes"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b'<?xml version="1.0"?>\n<svg width="1">', "an SVG drawing"),
        (b'{"error": 404}', "it is JSON"),
        ("Accès refusé\n".encode(), "it is text"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC image; convert it"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript"),
        (b"\x93NUMPY\x01\0" + bytes(40), "NumPy array"),
        (b"PK\x03\x04" + bytes(40), "archive; unpack it"),
        (b"\x01\x02\x03\x04", "no image of JPEG, PNG"),
        (encoded(Image.fromarray(RAMP), "TIFF")[:-400], "."),
        (png(16, 0, RAMP.astype(">u2"))[:80], "truncated"),
        (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", b""),
            "exceeds limit",
        ),
    ],
)
def test_what_is_no_image_is_named(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        decode(data)
    assert "BytesIO" not in str(caught.value)
