"""Photographs are learnt upright, and palettes and alpha by one rule."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.core.hostile import encoded, images, png
from wgan_core.data.decode import Reference
from wgan_core.data.images import load_images, read_images
from wgan_core.data.limits import Memory
from wgan_core.data.orientation import orientation

RNG = np.random.default_rng(3)
# Wider than high, so that a quarter turn swaps the sides.
PHOTO = Image.fromarray(RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8))


def with_exif(kind: str, noted: int, endian: str = "<") -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a camera"
    exif[0x0112] = noted
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(PHOTO, kind, exif=exif, **options)


def loaded(folder: Path, contents: Sequence[bytes]) -> tuple[Reference, NDArray[np.uint8]]:
    """Return what was found, and the pixels (N, H, W, C) of these images."""
    file, reference = images(folder / "a.parquet", list(contents)), Reference()
    return reference, read_images(file, reference, Memory([file], file)).values.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("noted", range(1, 9))
def test_photographs_are_turned_upright(kind: str, noted: int, tmp_path: Path) -> None:
    for endian in "<>":
        content = with_exif(kind, noted, endian)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert upright is not None
        reference, pixels = loaded(tmp_path, [content])
        assert np.array_equal(pixels[0], np.asarray(upright))
        assert reference.notice() == ("1 of 1 images were turned upright (EXIF orientation)" if noted > 1 else "")


def test_images_of_one_size_once_upright_are_one_data_set(tmp_path: Path) -> None:
    lying = PHOTO.transpose(Image.Transpose.ROTATE_90)  # as orientation 6 stores it
    exif = Image.Exif()
    exif[0x0112] = 6
    reference, pixels = loaded(tmp_path, [encoded(PHOTO, "PNG"), encoded(lying, "PNG", exif=exif)])
    assert np.array_equal(pixels, [np.asarray(PHOTO)] * 2)
    assert reference.turned == 1


def test_a_data_set_says_what_was_done_to_its_images(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(40)]
    contents = [encoded(image, "PNG", **({"exif": exif} if at % 4 == 0 else {})) for at, image in enumerate(made)]
    dataset = load_images(images(tmp_path / "a.parquet", contents))
    assert dataset.notice == "10 of 40 images were turned upright (EXIF orientation)"


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 3), b"\0" * 30],
    ids=["empty", "no directory", "far away", "entries that are not there", "zeros"],
)
def test_broken_exif_data_is_no_orientation(exif: bytes) -> None:
    assert orientation(png(8, 8, (b"eXIf", exif))) == 1


def test_an_orientation_that_is_none_is_upright() -> None:
    assert orientation(with_exif("JPEG", 9)) == 1


def _palette() -> Image.Image:
    return PHOTO.quantize(16)


def _with_alpha(mode: str) -> Image.Image:
    image = PHOTO.convert(mode)
    image.putalpha(Image.fromarray(np.tile(np.array([0, 128, 255], np.uint8), (8, 4))))
    return image


def over_white(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (H, W, C) over white, by the definition of alpha."""
    *colours, alpha = np.moveaxis(np.asarray(image, np.float64), 2, 0)
    mixed = np.stack([colour * alpha / 255 + 255 - alpha for colour in colours], axis=2)
    return mixed.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("make", "options", "wanted"),
    [
        (_palette, {}, lambda image: np.asarray(image.convert("RGB"))),
        (
            _palette,
            {"transparency": 3},
            lambda image: np.where(np.asarray(image)[..., None] == 3, 255, image.convert("RGB")),
        ),
        (lambda: _with_alpha("L"), {}, over_white),
        (lambda: _with_alpha("RGB"), {}, over_white),
        (lambda: PHOTO.convert("L"), {}, lambda image: np.asarray(image)[..., None]),
    ],
    ids=["palette", "palette, one colour transparent", "grey and alpha", "RGB and alpha", "grey"],
)
def test_palettes_and_alpha_are_resolved(
    make: Callable[[], Image.Image],
    options: dict[str, int],
    wanted: Callable[[Image.Image], NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    image = make()
    reference, pixels = loaded(tmp_path, [encoded(image, "PNG", **options)])
    assert np.abs(pixels[0].astype(int) - np.asarray(wanted(image), int)).max() <= 1
    assert ("had alpha, drawn over white" in reference.notice()) == (bool(options) or image.mode in ("LA", "RGBA"))


def test_palettes_and_rgb_are_one_data_set(tmp_path: Path) -> None:
    _, pixels = loaded(tmp_path, [encoded(_palette(), "PNG"), encoded(PHOTO, "PNG")])
    assert np.array_equal(pixels, [np.asarray(_palette().convert("RGB")), np.asarray(PHOTO)])
