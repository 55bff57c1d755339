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
from wgan_core.data.orientation import TURNS, orientation, turned
from wgan_core.errors import UserError, shortened

CHANNELS = {"L": 1, "RGB": 3}
MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""The mode in which an image is learnt, by its own mode. A palette is resolved, and alpha is drawn over white."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Accepted formats. Pillow's other decoders read formats that no data set uses, and some start programs."""


@dataclass
class Reference:
    """Mode, size and place of a data set's first image, and the numbers of changed images, shared by all its files.

    Attributes:
        mode: Mode in which the first image is learnt.
        size: Its width and height, once upright.
        where: Its row and file.
        images: Number of images so far.
        turned: How many were turned upright, as their EXIF orientation says.
        over_white: How many had transparent pixels, or an alpha channel, and were drawn over white.
    """

    mode: str = ""
    size: tuple[int, int] = (0, 0)
    where: str = ""
    images: int = 0
    turned: int = 0
    over_white: int = 0

    def notice(self) -> str:
        """Return what was done to images so that they can be learnt, or an empty text."""
        done = {"were turned upright (EXIF orientation)": self.turned, "had alpha, drawn over white": self.over_white}
        return "; ".join(f"{count:,} of {self.images:,} images {what}" for what, count in done.items() if count)


def decode_rows(encoded: pa.ChunkedArray, file: Path, reference: Reference, memory: Memory) -> NDArray[np.uint8]:
    """Decode the N images of one file to pixels, uint8 (N, C, H, W).

    Raises:
        UserError: An image cannot be decoded, has a mode that is not in `MODES`, has more than `IMAGE_PIXELS` pixels,
            or differs from the first in size or mode. The message names its row. Or the images exceed the memory
            account.
    """
    if len(encoded) == 0:
        raise UserError(f"{file} must hold images; it has no rows; drop the file or write it again")
    pixels: NDArray[np.uint8] | None = None
    with bombs_raise():
        for row, content in enumerate(encoded):
            where = f"row {row} of {file}"
            image, noted = opened(content.as_py(), where, reference)
            if pixels is None:
                shape = (len(encoded), CHANNELS[reference.mode], *reference.size[::-1])
                # The pixels are in memory twice: as read here, and again in the splits.
                count = max(2 * math.prod(shape), IMAGE_BYTES * len(encoded))
                memory.take(count, f"{len(encoded):,} images of {size_text(reference.size)} pixels of {file}")
                pixels = np.empty(shape, np.uint8)
            reference.images += 1
            reference.turned += noted in TURNS
            reference.over_white += image.has_transparency_data
            pixels[row] = decode(image, noted, where).transpose(2, 0, 1)
    assert pixels is not None
    return pixels


def opened(content: bytes | None, where: str, reference: Reference) -> tuple[Image.Image, int]:
    """Open one encoded image without decoding it.

    Returns:
        The image, and its EXIF orientation.

    Raises:
        UserError: The image cannot be opened, or does not match the first image.
    """
    if content is None:
        raise UserError(f"every image must hold its own bytes; {where} has none; embed the files in the table")
    try:
        image = open_header(content, FORMATS, IMAGE_PIXELS)
    except UnreadableImage as error:
        raise _refusal(where, error) from error
    noted = orientation(content)
    check_like_first(image, noted, where, reference)
    return image, noted


def decode(image: Image.Image, noted: int, where: str) -> NDArray[np.uint8]:
    """Decode an opened image of an EXIF orientation to upright pixels, uint8 (H, W, C).

    Raises `UserError` if it is broken.
    """
    try:
        load(image)
        image = _plain(image)
    except UnreadableImage as error:
        raise _refusal(where, error) from error
    if noted in TURNS:
        image = image.transpose(TURNS[noted])
    return np.asarray(image).reshape(*image.size[::-1], -1)


def _plain(image: Image.Image) -> Image.Image:
    """Return an image in its mode of `MODES`, with transparent pixels drawn over white."""
    mode = MODES[image.mode]
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image if image.mode == mode else image.convert(mode)
    except Exception as error:  # Pillow raises exceptions of many types for a broken palette
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _refusal(where: str, error: UnreadableImage) -> UserError:
    return UserError(
        f"every image must be a whole PNG, JPEG, WebP, BMP or GIF file of at most {IMAGE_PIXELS:,} pixels; {where} "
        f"does not decode: {shortened(str(error))}; drop or replace that row"
    )


def check_like_first(image: Image.Image, noted: int, where: str, reference: Reference) -> None:
    """Raise `UserError` unless an opened image has the size and mode of the first, which sets the reference."""
    mode, size = MODES.get(image.mode, ""), turned(image.size, noted)
    if not mode:
        raise UserError(
            f"images must be 8-bit grey or RGB, with a palette or alpha or without; {where} has mode {image.mode}; "
            "convert them, for example with Pillow's convert('RGB')"
        )
    if not reference.where:
        reference.mode, reference.size, reference.where = mode, size, where
    if size != reference.size:
        raise UserError(
            f"images must all be of one size; {where} is {size_text(size)} and {reference.where} is "
            f"{size_text(reference.size)} (width x height{', upright' if noted in TURNS else ''}); resize them"
        )
    if mode != reference.mode:
        raise UserError(
            f"images must all have one mode; {where} is {mode} and {reference.where} is {reference.mode}; "
            "convert them to L or to RGB"
        )


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
