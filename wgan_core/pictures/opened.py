"""Images from files that may come from strangers.

Pillow has decoders for 50 formats; one starts Ghostscript. So each caller names the formats that it takes. An image is
opened first, which reads its header, and decoded only once its size is known to be small enough.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

PICTURE_PIXELS = 64_000_000
"""Most pixels of a picture that a sweep's folder holds: 64 samples of 998 x 998 pixels in a grid."""

SCANS = 64
"""Most scans of a JPEG file. Each is decoded for all pixels; encoders make about ten."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pillow decompresses up to 64 MB of a PNG's text, and its colour profile. Neither changes a pixel.
PNG_TEXTS = (b"zTXt", b"iTXt", b"iCCP")


class Unreadable(ValueError):
    """An image that is not decoded, and why."""


def open_png(content: bytes) -> Image.Image | None:
    """Return a PNG picture as RGB; None if it is none, is not whole, or has more than `PICTURE_PIXELS`."""
    try:
        # Of a PNG the size is known before Pillow sees it, so Pillow has nothing to warn of.
        image = open_header(content, ("PNG",), PICTURE_PIXELS)
        load(image)
        return image.convert("RGB")
    except Exception:  # Pillow raises whatever its parsers stumble over
        return None


def open_header(content: bytes, formats: tuple[str, ...], most_pixels: int) -> Image.Image:
    """Open an image without decoding it.

    Args:
        content: the file.
        formats: Pillow's names of the formats that may be.
        most_pixels: width times height at most.

    Raises:
        Unreadable: It is of another format, broken, or too large.
    """
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > SCANS:
        raise Unreadable(f"it has more than {SCANS} scans")
    if content.startswith(PNG_SIGNATURE):
        _check_size(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"), most_pixels)
        if any(name in content for name in PNG_TEXTS):
            content = _without_texts(content)
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        raise Unreadable(f"it is no whole {', '.join(formats)} file") from error
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    _check_size(image.width, image.height, most_pixels)
    return image


def load(image: Image.Image) -> None:
    """Decode an image that `open_header` opened; of several frames, the first. Raises `Unreadable` if it is broken."""
    was = image.mode, image.size
    try:
        image.load()
    except Exception as error:  # as above
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    if (image.mode, image.size) != was:
        raise Unreadable(f"its header says {was}, its content is {image.mode, image.size}")


@contextmanager
def bombs_raise() -> Iterator[None]:
    """Let Pillow raise where it would warn of a large image, as `open_header` then refuses it in its own words.

    Not in `open_header` itself, as it takes a third of the time of opening a small image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _check_size(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise Unreadable(f"it has {width} x {height} pixels, and {most_pixels:,} are allowed")


def _without_texts(content: bytes) -> bytes:
    """Return a PNG file without its compressed texts and its colour profile."""
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] not in PNG_TEXTS:
            kept.append(content[at:end])
        at = end
    return b"".join(kept)
