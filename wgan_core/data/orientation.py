"""The EXIF orientation of a photograph: cameras store the pixels as the sensor lies, and note how to turn them.

Pillow would parse all EXIF data, of any length. Here only the one entry is read, in bounded time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

from wgan_core.data.image_files import BARE, JPEG_START, MARKER, PNG_SIGNATURE, SEGMENTS, START_OF_SCAN

TAG, SHORT = 0x0112, 3
# Most entries of a directory of EXIF data. Cameras write about fifteen.
ENTRIES = 256
JPEG_EXIF, APP1 = b"Exif\0\0", 0xE1
UPRIGHT = 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by orientation. Orientation 1 is upright."""


def orientation(content: bytes) -> int:
    """Return the orientation that an encoded JPEG, PNG or WebP image notes, 1 to 8; 1 if it notes none.

    `image_files.open_header` must have opened the image, which bounds the number of its parts.
    """
    if content.startswith(JPEG_START):
        found = _in_jpeg(content) if JPEG_EXIF in content else iter(())
    elif content.startswith(PNG_SIGNATURE):
        found = _chunks(content, len(PNG_SIGNATURE), b"eXIf", ">I4s", 4) if b"eXIf" in content else iter(())
    elif content.startswith(b"RIFF"):
        found = _chunks(content, 12, b"EXIF", "<4sI", 0) if b"EXIF" in content else iter(())
    else:
        return UPRIGHT
    # Some encoders write JPEG's mark in a PNG or WebP too.
    return next((_of_tiff(each.removeprefix(JPEG_EXIF)) for each in found), UPRIGHT)


def _in_jpeg(content: bytes) -> Iterator[bytes]:
    at = 2
    for _ in range(SEGMENTS):
        found = MARKER.search(content, at)
        if found is None or content[found.end() - 1] == START_OF_SCAN:
            return
        at, marker = found.end(), content[found.end() - 1]
        if marker in BARE:
            continue
        end = at + max(int.from_bytes(content[at : at + 2], "big"), 2)
        if marker == APP1 and content.startswith(JPEG_EXIF, at + 2):
            yield content[at + 2 : end]
        at = end


def _chunks(content: bytes, at: int, wanted: bytes, head: str, check: int) -> Iterator[bytes]:
    """Yield the content of the chunks of one name, of a PNG or a RIFF file. `check` is the length of a checksum."""
    while at + 8 <= len(content):
        first, second = struct.unpack_from(head, content, at)
        name, length = (first, second) if isinstance(first, bytes) else (second, first)
        if name == wanted:
            yield content[at + 8 : at + 8 + length]
        # RIFF pads a chunk to an even length, and a PNG's checksum follows it.
        at += 8 + length + (check or length % 2)


def _of_tiff(data: bytes) -> int:
    """Return the orientation of the first directory of TIFF data; 1 if the data is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    try:
        if order is None:
            return UPRIGHT
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for number in range(min(count, ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * number)
            if tag == TAG:
                return int(value) if kind == SHORT and value in TURNS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def turned(size: tuple[int, int], noted: int) -> tuple[int, int]:
    """Return the width and height of an image after it is turned upright."""
    return size[::-1] if noted > 4 else size
