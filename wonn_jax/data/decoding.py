"""Encoded images of any usual kind, decoded to RGB with 8 bits a channel."""

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

Image.init()
# Not EPS, for which Pillow would run a program. Pillow before 11.3 has no AVIF.
_WANTED = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""Formats that are read, by Pillow's names."""

# What Pillow raises for damaged images.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError),
    *(RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF
_EXPORT = "convert it to PNG or JPEG"
_FETCH = "fetch the file itself"
# First bytes of what is found under the names of images, what that is, and what to do.
_OTHERS = (
    (rb"\0+\Z", "only zero bytes, as unfinished copies are", "copy it again"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "type git lfs pull"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg|<svg)", "an SVG drawing", _EXPORT),
    (rb"\s*<(!doctype|html|head|body|\?xml)", "a web page or XML document", _FETCH),
    (rb"\s*[{\[][\s\"]", "JSON", _FETCH),
    (rb".{4}ftyp(hei[cmsx]|hev[cmx]|mif1|msf1)", "an HEIC image", _EXPORT),
    (rb".{4}ftyp", "a film, or an image of another kind", _EXPORT),
    (rb"\xff\x0a|.{4}JXL ", "a JPEG XL image", _EXPORT),
    (rb"8BPS", "a Photoshop document", _EXPORT),
    (rb"%PDF", "a PDF document", _EXPORT),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document", _EXPORT),
    (rb"#\?RADIANCE|#\?RGBE|v/1\x01", "an HDR image", "map its range to 8 bits, as PNG"),
    (rb"P7\n", "a PAM image", _EXPORT),
    (rb"\x93NUMPY", "a NumPy array", "write it with PIL.Image.fromarray(array).save('NAME.png')"),
    (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "an archive", "unpack it"),
    (rb"[^\x00-\x08\x0e-\x1f]+\Z", "text", _FETCH),
)


def decode(data: bytes) -> Image.Image:
    """An encoded image as RGB with 8 bits a channel; of animations the first frame.

    The orientation in EXIF is not applied, as in other readers of ImageNet; nor are colour
    profiles and the gamma of PNG.

    Raises:
      ValueError: it is damaged, too large for Pillow, no image, or of a kind that `to_rgb`
        refuses. The message says what it is.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return to_rgb(image)
    except UnidentifiedImageError:
        raise ValueError(_kind(data)) from None
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB with 8 bits a channel.

    More than 8 bits of grey are scaled to 8; Pillow does so for colours. What is transparent is
    shown on white.

    Raises:
      ValueError: its values have no known range (signed or of 32 bits, floating-point).
    """
    # Pillow scales PGM of any range to 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _scaled(image)
    if image.mode in ("I", "F"):
        kind = "signed or 32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(
            f"it has {kind}, whose range is unknown; save it with 8 bits, or 16 without sign"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, as RGB."""
    tags = getattr(image, "tag_v2", {})
    top = 2 ** tags.get(_BITS, (16,))[0] - 1
    levels = np.asarray(image).astype(np.int64).clip(0, top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = top - levels
    grey = levels * 255 // top
    if "transparency" in image.info:
        grey = np.where(levels == image.info["transparency"], 255, grey)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _kind(data: bytes) -> str:
    """What a file is that Pillow does not recognise, and what to do."""
    if not data:
        return "it is empty; copy it again"
    for pattern, kind, way in _OTHERS:
        if re.match(pattern, data, re.DOTALL | re.IGNORECASE):
            return f"it is {kind}; {way}"
    return f"it is no image of {', '.join(FORMATS)}, or its beginning is damaged"
