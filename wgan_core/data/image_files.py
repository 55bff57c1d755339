"""Image files that may come from strangers.

Pillow has decoders for 50 formats, and one starts Ghostscript. So each caller names the formats that it accepts.
Function `open_header` reads only the header. Then `load` decodes the image, once its size is known to be small enough.

Pillow parses headers in Python, and some parsers take time quadratic in the file's size. So `open_header` bounds the
number of parts of a file, and drops metadata that changes no pixel, before Pillow reads the file.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

PICTURE_PIXELS = 64_000_000
"""Most pixels of a picture in a sweep's folder: a grid of 64 samples of 998 x 998 pixels."""

PICTURE_SIDE = 1 << 16
"""Most pixels of a side of such a picture. Pillow takes about 90 bytes for each row, besides its pixels."""

SCANS = 64
"""Most scans of a JPEG file. Each scan is decoded for all pixels; encoders write about ten scans."""

FREE_BYTES, PIXEL_BYTES = 1 << 20, 16
"""Most bytes of an encoded image: `FREE_BYTES` for metadata, `PIXEL_BYTES` per pixel. Raw pixels take 8 at most."""

SEGMENTS = 256
"""Most segments of a JPEG before its first scan. A colour profile of 1 MB takes 16."""

CHUNKS, CHUNK_PIXELS = 256, 64
"""Most chunks of a PNG up to the end of its first frame: `CHUNKS`, and one more for every `CHUNK_PIXELS` pixels."""

EXTENSIONS, BLOCKS = 256, 8_192
"""Most extensions of a GIF before its first frame, and most blocks of up to 255 bytes in all of them."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pillow decompresses up to 64 MB of texts in a PNG, and the colour profile. None of these chunks changes a pixel.
PNG_DROPPED = frozenset((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"))

JPEG_START = b"\xff\xd8\xff"
START_OF_SCAN, END_OF_IMAGE, COMMENT = 0xDA, 0xD9, 0xFE
# Markers that Pillow treats as bare: it reads no length, and parses the next bytes. libjpeg refuses most of them.
BARE = frozenset((0x01, 0xC8, *range(0xD0, 0xD9), *range(0xF0, 0xFE)))
# Application segments and comments. APP0 (JFIF) and APP14 (Adobe) stay: the decoder finds the colour space in them.
JPEG_DROPPED = frozenset((*range(0xE1, 0xEE), 0xEF, COMMENT))
# Markers as Pillow and libjpeg find them: 0xFF before a zero is no marker, and repeated 0xFF bytes are padding.
MARKER = re.compile(rb"\xff([\x01-\xfe])")

GIF_STARTS = (b"GIF87a", b"GIF89a")
GRAPHIC_CONTROL = b"!\xf9"
_GIF_BLOCK = re.compile(rb"[!,;]")

# Formats whose files often have more than one frame. Only the first frame is decoded.
MOVING = ("GIF", "WEBP")


class UnreadableImage(ValueError):
    """Error that says why an image is not decoded."""


def open_png(content: bytes) -> Image.Image | None:
    """Return a PNG picture as RGB, or None if it is not a whole PNG or is larger than `PICTURE_PIXELS` allows."""
    try:
        # `open_header` checks a PNG's size before Pillow reads it, so Pillow has no large image to warn of.
        image = open_header(content, ("PNG",), PICTURE_PIXELS)
        if max(image.size) > PICTURE_SIDE:
            return None
        load(image)
        return image.convert("RGB")
    except Exception:  # Pillow's parsers raise exceptions of many types
        return None


def open_header(content: bytes, formats: tuple[str, ...], most_pixels: int) -> Image.Image:
    """Open an image without decoding it.

    Args:
        content: The encoded image.
        formats: The accepted formats, by Pillow's names.
        most_pixels: The largest accepted product of width and height.

    Raises:
        UnreadableImage: The image is of another format, is broken or too large, or has too many parts.
    """
    _check_bytes(len(content), FREE_BYTES + PIXEL_BYTES * most_pixels)
    if content.startswith(PNG_SIGNATURE):
        content = _shortened_png(content, most_pixels)
    elif content.startswith(JPEG_START):
        content = _shortened_jpeg(content)
    elif content.startswith(GIF_STARTS):
        content = _shortened_gif(content)
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"it is no whole {', '.join(formats)} file") from error
    except Exception as error:  # Pillow's parsers raise exceptions of many types
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error
    _check_size(image.width, image.height, most_pixels)
    if image.format not in MOVING:
        _check_bytes(len(content), FREE_BYTES + PIXEL_BYTES * image.width * image.height)
    return image


def load(image: Image.Image) -> None:
    """Decode an image that `open_header` opened. Raise `UnreadableImage` if it is broken."""
    was = image.mode, image.size
    try:
        image.load()
    except Exception as error:  # Pillow's decoders raise exceptions of many types
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error
    if (image.mode, image.size) != was:
        raise UnreadableImage(f"its header says {was}, its content is {image.mode, image.size}")


@contextmanager
def bombs_raise() -> Iterator[None]:
    """Turn Pillow's warnings of large images into exceptions, which `open_header` converts to `UnreadableImage`.

    `open_header` does not do so itself, because this takes a third of the time of opening a small image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise UnreadableImage(f"it has {width} x {height} pixels, and {most_pixels:,} are allowed")


def _check_bytes(count: int, most: int) -> None:
    if count > most:
        raise UnreadableImage(f"its pixels take {count:,} bytes, and {most:,} are allowed")


def _shortened_png(content: bytes, most_pixels: int) -> bytes:
    """Return a PNG file up to the end of its first frame, without the chunks in `PNG_DROPPED`."""
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    _check_size(width, height, most_pixels)
    left = most = CHUNKS + width * height // CHUNK_PIXELS
    kept, at, has_pixels = [PNG_SIGNATURE], len(PNG_SIGNATURE), False
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"fcTL" and has_pixels:  # the next frame
            break
        if not left:
            raise UnreadableImage(f"it has more than {most:,} chunks")
        left -= 1
        if name not in PNG_DROPPED:
            kept.append(content[at : at + 12 + length])
        if name == b"IEND":
            break
        has_pixels |= name == b"IDAT"
        at += 12 + length
    return b"".join(kept)


def _shortened_jpeg(content: bytes) -> bytes:
    """Return a JPEG file without `JPEG_DROPPED` segments and without stray bytes before its first scan."""
    kept, at = [content[:2]], 2
    for _ in range(SEGMENTS):
        found = MARKER.search(content, at)
        if found is None:
            break
        start, at, marker = found.start(), found.end(), content[found.end() - 1]
        if marker == END_OF_IMAGE:  # Pillow would parse the bytes behind it too
            break
        if marker == START_OF_SCAN:
            kept.append(content[start:])
            break
        if marker not in BARE:
            # The length counts its own two bytes. Pillow and libjpeg treat a smaller length as two.
            at += max(int.from_bytes(content[at : at + 2], "big"), 2)
        if marker not in JPEG_DROPPED:
            kept.append(content[start:at])
    else:
        raise UnreadableImage(f"it has more than {SEGMENTS} segments before its first scan")
    content = b"".join(kept)
    if content.count(b"\xff\xda") > SCANS:
        raise UnreadableImage(f"it has more than {SCANS} scans")
    return content


def _shortened_gif(content: bytes) -> bytes:
    """Return a GIF file without extensions before its first frame, except graphic control extensions."""
    flags = content[10] if len(content) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    if content[at : at + 1] == b",":
        return content
    kept, extensions, blocks = [content[:at]], 0, 0
    while (found := _GIF_BLOCK.search(content, at)) is not None:
        start = found.start()
        if found[0] != b"!":
            kept.append(content[start:])
            break
        extensions += 1
        if extensions > EXTENSIONS:
            raise UnreadableImage(f"it has more than {EXTENSIONS} extensions before its first frame")
        at, size = start + 2, 1
        while size:
            if blocks == BLOCKS:
                raise UnreadableImage(f"it has more than {BLOCKS:,} blocks before its first frame")
            blocks += 1
            size = content[at] if at < len(content) else 0
            at += 1 + size
        # Drop an extension whose first block is empty: Pillow would read the next bytes as another block.
        if content.startswith(GRAPHIC_CONTROL, start) and at > start + 3:
            kept.append(content[start:at])
    return b"".join(kept)
