"""Decoding of image files to one array of pixels. All images must match the first in size and mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from wgan_core.data.image_files import UnreadableImage, bombs_raise, load, open_header
from wgan_core.data.limits import IMAGE_BYTES, IMAGE_PIXELS, Memory
from wgan_core.errors import UserError, shortened

CHANNELS = {"L": 1, "RGB": 3}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Accepted formats. Pillow's other decoders read formats that no data set uses, and some start programs."""


@dataclass
class Reference:
    """Mode, size and place of a data set's first image, shared by all its files."""

    mode: str = ""
    size: tuple[int, int] = (0, 0)
    where: str = ""


def decode_rows(encoded: pa.ChunkedArray, file: Path, reference: Reference, memory: Memory) -> NDArray[np.uint8]:
    """Decode the N images of one file to pixels, uint8 (N, C, H, W).

    Raises:
        UserError: An image cannot be decoded, is neither grey nor RGB, has more than `IMAGE_PIXELS` pixels, or differs
            from the first in size or mode. The message names its row. Or the images exceed the memory account.
    """
    if len(encoded) == 0:
        raise UserError(f"{file} must hold images; it has no rows; drop the file or write it again")
    pixels: NDArray[np.uint8] | None = None
    with bombs_raise():
        for row, content in enumerate(encoded):
            where = f"row {row} of {file}"
            image = opened(content.as_py(), where, reference)
            if pixels is None:
                shape = (len(encoded), CHANNELS[reference.mode], *image.size[::-1])
                # The pixels are in memory twice: as read here, and again in the splits.
                count = max(2 * math.prod(shape), IMAGE_BYTES * len(encoded))
                memory.take(count, f"{len(encoded):,} images of {size_text(image.size)} pixels of {file}")
                pixels = np.empty(shape, np.uint8)
            pixels[row] = decode(image, where).transpose(2, 0, 1)
    assert pixels is not None
    return pixels


def opened(content: bytes | None, where: str, reference: Reference) -> Image.Image:
    """Open one encoded image without decoding it. Raise `UserError` unless it matches the first image."""
    if content is None:
        raise UserError(f"every image must hold its own bytes; {where} has none; embed the files in the table")
    try:
        image = open_header(content, FORMATS, IMAGE_PIXELS)
    except UnreadableImage as error:
        raise _refusal(where, error) from error
    check_like_first(image, where, reference)
    return image


def decode(image: Image.Image, where: str) -> NDArray[np.uint8]:
    """Decode an opened image to pixels, uint8 (H, W, C). Raise `UserError` if it is broken."""
    try:
        load(image)
    except UnreadableImage as error:
        raise _refusal(where, error) from error
    if image.mode == "1":
        image = image.convert("L")
    return np.asarray(image).reshape(*image.size[::-1], -1)


def _refusal(where: str, error: UnreadableImage) -> UserError:
    return UserError(
        f"every image must be a whole PNG, JPEG, WebP, BMP or GIF file of at most {IMAGE_PIXELS:,} pixels; {where} "
        f"does not decode: {shortened(str(error))}; drop or replace that row"
    )


def check_like_first(image: Image.Image, where: str, reference: Reference) -> None:
    """Raise `UserError` unless an opened image has the size and mode of the first, which sets the reference."""
    mode = "L" if image.mode == "1" else image.mode
    if mode not in CHANNELS:
        raise UserError(
            f"images must be 8-bit grey (mode L) or RGB; {where} has mode {mode}; "
            "convert them, for example with Pillow's convert('RGB')"
        )
    if not reference.where:
        reference.mode, reference.size, reference.where = mode, image.size, where
    if image.size != reference.size:
        raise UserError(
            f"images must all be of one size; {where} is {size_text(image.size)} and {reference.where} is "
            f"{size_text(reference.size)} (width x height); resize them"
        )
    if mode != reference.mode:
        raise UserError(
            f"images must all have one mode; {where} is {mode} and {reference.where} is {reference.mode}; "
            "convert them to L or to RGB"
        )


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
