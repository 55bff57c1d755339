"""Encoded image files to one array of pixels; every image must be like the first."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from wgan_core.errors import UserError

CHANNELS = {"L": 1, "RGB": 3}


@dataclass
class Reference:
    """What the first image was like; shared by all files of a data set."""

    mode: str = ""
    size: tuple[int, int] = (0, 0)
    where: str = ""


def decode_rows(encoded: pa.ChunkedArray, file: Path, reference: Reference) -> NDArray[np.uint8]:
    """Pixels uint8 (N, C, H, W) of the N encoded images of one file.

    Raises `UserError`, naming the row, for an image that cannot be decoded, is neither grey nor RGB,
    or is of another size or mode than the first.
    """
    if len(encoded) == 0:
        raise UserError(f"{file} must hold images; it has no rows; drop the file or write it again")
    pixels: NDArray[np.uint8] | None = None
    for row, content in enumerate(encoded):
        image = decode(content.as_py(), f"row {row} of {file}", reference)
        if pixels is None:
            pixels = np.empty((len(encoded), image.shape[2], *image.shape[:2]), np.uint8)
        pixels[row] = image.transpose(2, 0, 1)
    assert pixels is not None
    return pixels


def decode(content: bytes | None, where: str, reference: Reference) -> NDArray[np.uint8]:
    """Pixels (H, W, C) of one encoded image."""
    if content is None:
        raise UserError(f"every image must hold its own bytes; {where} has none; embed the files in the table")
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        image.load()
    # Pillow raises SyntaxError for a broken PNG, and ValueError and the bomb error for absurd sizes.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"every image must be a whole PNG, JPEG or the like; {where} does not decode: {error}; "
            "drop or replace that row"
        ) from error
    if image.mode == "1":
        image = image.convert("L")
    check_like_first(image, where, reference)
    return np.asarray(image).reshape(*image.size[::-1], -1)


def check_like_first(image: Image.Image, where: str, reference: Reference) -> None:
    if image.mode not in CHANNELS:
        raise UserError(
            f"images must be 8-bit grey (mode L) or RGB; {where} has mode {image.mode}; "
            "convert them, for example with Pillow's convert('RGB')"
        )
    if not reference.where:
        reference.mode, reference.size, reference.where = image.mode, image.size, where
    if image.size != reference.size:
        raise UserError(
            f"images must all be of one size; {where} is {size_text(image.size)} and {reference.where} is "
            f"{size_text(reference.size)} (width x height); resize them"
        )
    if image.mode != reference.mode:
        raise UserError(
            f"images must all have one mode; {where} is {image.mode} and {reference.where} is {reference.mode}; "
            "convert them to L or to RGB"
        )


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
