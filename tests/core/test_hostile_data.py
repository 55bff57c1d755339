"""Data from strangers: no file starts a program, fills the memory, waits for ever, or ends in anything but one line."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import os
import random
import resource
import subprocess
import sys
import tarfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from tests.core.hostile import ATTACKS, EPS, HF_IMAGE, count, encoded, groups, images, png
from tests.core.refusal import refused
from wgan_core.config import Structure
from wgan_core.data import limits, parquet_file
from wgan_core.data.dataset import Dataset, Split, count_classes
from wgan_core.data.image_files import PICTURE_PIXELS, UnreadableImage, open_header, open_png
from wgan_core.data.image_files import load as decode
from wgan_core.data.images import load_images
from wgan_core.data.limits import CATEGORIES, Memory
from wgan_core.data.mnist_files import SHA256, SIZES, Mirror, fetch_files, unpack
from wgan_core.data.parquet_file import BadParquet, parquet_schema, read_parquet
from wgan_core.data.sequences import load_sequences
from wgan_core.data.splits import allot
from wgan_core.data.tables import load_table
from wgan_core.errors import UserError, listed, quoted, shortened
from wgan_core.networks.pairs import PAIRS, SHIPPED, Pair
from wgan_core.training.footprint import output_bytes, state_bytes
from wgan_core.training.preflight import check_fit
from wgan_core.training.state import TrainingState

MOST_BYTES, MOST_SECONDS = 400 << 20, 20
# Attacks that are not refused for what they would take, but come to nothing.
HARMLESS = {"a_list_of_fixed_size": "has none", "texts_in_png": "at least 2 images"}
SAID = ("must take at most", "must be a whole", "must have at most", "more than 4,096")


# Memory


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each attack, all in one process whose memory is limited."""
    command = [sys.executable, "-m", "tests.core.hostile", str(tmp_path_factory.mktemp("hostile"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["name"]: each for each in found} | {"": {"error": done.stderr[-500:]}}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc here")
@pytest.mark.parametrize("name", [attack.__name__ for attack in ATTACKS])
def test_a_small_file_takes_little_memory_and_time(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    assert name in outcomes, outcomes[""]["error"]
    found = outcomes[name]
    assert found["error"] is not None
    assert any(part in found["error"] for part in (*SAID, HARMLESS.get(name, SAID[0])))
    assert found["bytes"] < MOST_BYTES
    assert found["seconds"] < MOST_SECONDS


def test_many_categories_are_refused_with_the_column_to_drop(outcomes: dict[str, dict[str, Any]]) -> None:
    assert "'id' is categories of 50,000 values" in outcomes["a_column_of_many_categories"]["error"]
    assert "--drop id" in outcomes["a_column_of_many_categories"]["error"]
    assert "4,001 of them of 'c0': leave" in outcomes["many_columns_of_many_categories"]["error"]


def test_data_takes_at_most_half_of_the_memory_that_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.arange(1000.0), "b": np.arange(1000.0) ** 2}), path)
    load_table(path)

    class Little:
        available = 40_000

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    refused(lambda: load_table(path), "half of the memory that is available, 20,000 bytes", "take fewer rows")
    pq.write_table(pa.table({"a": [[0.5 * row, 1.0] for row in range(1000)]}), path)
    refused(lambda: load_sequences(path), "half of the memory that is available", "take fewer rows")


def test_the_account_of_memory(tmp_path: Path) -> None:
    """1 GiB, and 1,000 times the files; what is given back is free again."""
    (tmp_path / "x").write_bytes(bytes(1000))
    memory = Memory([tmp_path / "x"], "x")
    memory.take(limits.FREE_BYTES, "one")
    memory.take(1_000_000, "two")
    memory.give(1)
    memory.take(1, "three")
    refused(lambda: memory.take(1, "four"), "x has 1,000 bytes and takes up to 1 GiB with four: take another file")


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"compression": "gzip"}, {"compression": "lz4"},
                                     {"compression": "none", "use_dictionary": False}, {"data_page_version": "2.0"},
                                     {"row_group_size": 70}], ids=str)  # fmt: skip
def test_the_process_that_reads_returns_the_table(options: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contents = [rng.bytes(int(size)) for size in rng.integers(100, 300, 400)]
    found = {
        "image": pa.array([{"bytes": each, "path": None} for each in contents], HF_IMAGE),
        "word": pa.array([f"word {row % 90}" for row in range(400)]).dictionary_encode(),
        "number": rng.normal(size=400),
        "lists": [[[row, 1], [2]] for row in range(400)],
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(found), path, **options)
    assert read_parquet(path, None, 1 << 20).equals(pq.read_table(path))
    some = ["image.bytes", "word"]
    assert read_parquet(path, some, 1 << 20).equals(pq.ParquetFile(path).read(some))
    assert parquet_schema(path).equals(pq.read_schema(path))
    with pytest.raises(MemoryError):
        read_parquet(path, None, 10_000)


def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text repeats the one before it, so a row group of 2 MB takes 650 bytes."""
    options = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}}
    slow = groups(tmp_path / "slow.parquet", pa.table({"a": ["x" * 100] * 20_000}), 500, **options)
    monkeypatch.setattr(parquet_file, "LEAST_S", 1)
    with pytest.raises(BadParquet, match="takes more than 1 s"):
        read_parquet(slow, None, 1 << 34)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    assert len(read_parquet(tmp_path / "t.parquet", None, 1000)) == 1


def test_the_reading_process_is_started_again_and_keeps_lower_limits(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    process = parquet_file._process(os.getpid())._process
    assert os.getpgid(process.pid) != os.getpgid(0)  # Ctrl-C is not for it
    process.kill()
    process.wait()
    assert len(read_parquet(path, None, 1000)) == 1
    code = f"""import resource
resource.setrlimit(resource.RLIMIT_DATA, (700 << 20,) * 2)
from pathlib import Path
from wgan_core.data.parquet_file import read_parquet
print(len(read_parquet(Path({str(path)!r}), None, 1 << 30)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_label_has_at_most_so_many_classes() -> None:
    """Each would be an input of the networks; 2^40 is no number of classes."""
    values = np.zeros((CATEGORIES + 1, 1), np.float32)
    split = Split(values, np.arange(len(values)))
    refused(lambda: count_classes(Dataset.of("x", split, split, split)), "at most 4,096 classes", "has 4,097")
    far = Split(values[:2], np.array([0, 2**40]))
    refused(lambda: count_classes(Dataset.of("x", far, far, far)), "number the classes anew")


def test_rows_of_as_many_classes_are_split_at_once() -> None:
    """And as before: a tenth of each class is held out."""
    rng = np.random.default_rng(1)
    for classes in (1, 7, 60_000):
        strata = rng.integers(0, classes, 60_000)
        found = {name: rows for name, (_, rows) in allot({"all": len(strata)}, strata).items()}
        assert sorted(np.concatenate([*found.values()])) == list(range(len(strata)))
        for name in ("validation", "test"):
            held_out = np.bincount(strata[found[name]], minlength=classes)
            assert np.array_equal(held_out, np.bincount(strata, minlength=classes) // 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds the limit")
@pytest.mark.parametrize("networks", sorted(SHIPPED))
def test_networks_for_huge_samples_are_checked_without_memory(networks: str) -> None:
    """80 black images of this size are a file of 958 bytes, and an MLP for them has 26 GB of weights."""
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + (200 << 20), most))
    try:
        with suppress(UserError):  # some pairs are for samples of other shapes
            check_fit(Structure(sample_shape=(1, 2048, 2048), networks=networks), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def test_a_small_file_with_samples_for_huge_networks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 rows of 300,000 zeros are a file of 1 kB, and the networks for them have gigabytes of weights."""
    steps, rows = 300_000, 20
    values = np.zeros((rows, steps), np.int8)
    values[range(rows), range(rows)] = [1 + row % 3 for row in range(rows)]
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * steps, pa.int32()), pa.array(values.ravel()))
    path = tmp_path / "small.parquet"
    pq.write_table(pa.table({"s": lists}), path, compression="zstd")
    assert path.stat().st_size < 1024
    structure = Structure("sequence", load_sequences(path).sample_shape)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 << 30))
    refused(
        lambda: check_fit(structure, 1),
        "into half of the memory that is available, 8 GiB",
        "'sequence' for samples of shape (1, 300000) take ",
        "other --networks",
    )


def test_own_networks_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    width = 2**40
    wide = lambda structure: nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.Linear(width, 4))  # noqa: E731
    monkeypatch.setitem(PAIRS, "wide", Pair(wide, wide))
    refused(lambda: check_fit(Structure("wide", (4,), latent_dim=4), 1), "those of 'wide'", "smaller samples")


@pytest.mark.parametrize("networks", ["mlp", "dcgan"])
def test_the_networks_of_a_trial_take_what_is_counted(networks: str) -> None:
    structure = Structure(networks, (1, 28, 28), latent_dim=7, classes=3, label_embedding=2)
    state = TrainingState.initial(structure, 0, torch.device("cpu"))
    gradients = [*state.critic.parameters.values(), *state.generator.parameters.values()]
    held = sum(tensor.numel() * 4 for tensor in [*state.tensors().values(), *gradients])
    assert state_bytes(structure) == held


def test_the_outputs_of_all_layers_are_counted() -> None:
    options = {"critic": {"widths": [10]}, "generator": {"widths": [20]}}
    structure = Structure("mlp", (6,), latent_dim=7, batch_size=5, network_options=options)
    # Linear, activation and linear of both; the critic also flattens its samples.
    assert output_bytes(structure) >= 5 * 4 * (10 + 10 + 1 + 20 + 20 + 6)
    assert output_bytes(replace(structure, batch_size=10)) == 2 * output_bytes(structure)


# Images


# A GIF is grey only if its palette is all greys in their order.
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    return encoded(Image.new("L", size), kind)


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    refused(lambda: load_images(images(tmp_path / "t.parquet", [EPS] * 20)), "row 0 of", "PNG, JPEG, WebP, BMP or GIF")


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "PCX", "TGA", "SGI", "JPEG2000", "DDS", "AVIF"])
def test_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    try:
        content = saved(kind, (64, 64))
    except (KeyError, OSError):
        pytest.skip(f"Pillow has no {kind} here")
    refused(lambda: load_images(images(tmp_path / "t.parquet", [content] * 20)), "row 0 of", "does not decode")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_formats_of_data_are_read(kind: str, tmp_path: Path) -> None:
    contents = [encoded(Image.fromarray(np.roll(GREYS, count)), kind) for count in range(20)]
    assert len(load_images(images(tmp_path / "t.parquet", contents)).train) == 16


PHOTO = Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 40, 3), np.uint8))
PROFILE, THUMBNAIL = bytes(400_000), b"Exif\0\0" + bytes(65_000)


def adobe_rgb() -> bytes:
    """A JPEG whose Adobe segment says that it holds RGB; without that it is taken for YCbCr."""
    whole = encoded(PHOTO, "JPEG", quality=95)
    at = whole.index(b"\xff\xdb")
    return whole[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + whole[at:]


def texts(count: int) -> PngInfo:
    made = PngInfo()
    for each in range(count):
        made.add_text(f"t{each}", "x" * 99)
    made.add(b"gAMA", (45_455).to_bytes(4, "big"))
    return made


def moving(kind: str, count: int, side: int) -> bytes:
    """A file whose first frame is a small part of it."""
    frames = [
        Image.fromarray(each) for each in np.random.default_rng(6).integers(0, 256, (count, side, side), np.uint8)
    ]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=9)


HONEST: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(PHOTO, "JPEG"),
    "JPEG, progressive": lambda: encoded(PHOTO, "JPEG", progressive=True, subsampling=0, comment=b"c" * 999),
    "JPEG, grey": lambda: encoded(PHOTO.convert("L"), "JPEG", quality=30, restart_marker_rows=1),
    "JPEG, CMYK": lambda: encoded(PHOTO.convert("CMYK"), "JPEG"),
    "JPEG, RGB": lambda: encoded(PHOTO, "JPEG", keep_rgb=True),
    "JPEG, Adobe RGB": adobe_rgb,
    "JPEG, metadata": lambda: encoded(PHOTO, "JPEG", exif=THUMBNAIL, icc_profile=PROFILE, xmp=b"x" * 60_000),
    "JPEG, two pictures": lambda: encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "PNG": lambda: encoded(PHOTO, "PNG"),
    "PNG, metadata": lambda: encoded(PHOTO, "PNG", pnginfo=texts(100), icc_profile=PROFILE, exif=THUMBNAIL[6:]),
    "PNG, palette": lambda: encoded(PHOTO.quantize(16), "PNG", transparency=3),
    "PNG, one bit": lambda: encoded(PHOTO.convert("1"), "PNG"),
    "PNG, alpha": lambda: encoded(PHOTO.convert("RGBA"), "PNG"),
    "PNG, 16 bits": lambda: encoded(Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 60), "PNG"),
    "PNG, frames": lambda: moving("PNG", 300, 8),
    "GIF": lambda: encoded(PHOTO.quantize(), "GIF", comment=b"c" * 9999, transparency=2, interlace=1),
    "GIF, frames": lambda: moving("GIF", 100, 100),
    "WEBP": lambda: encoded(PHOTO, "WEBP", exif=THUMBNAIL, icc_profile=PROFILE),
    "BMP": lambda: encoded(PHOTO, "BMP"),
}


@pytest.mark.parametrize("kind", HONEST)
def test_honest_images_are_decoded_as_pillow_decodes_them(kind: str) -> None:
    content = HONEST[kind]()
    image = open_header(content, ("PNG", "JPEG", "WEBP", "BMP", "GIF"), 1 << 22)
    decode(image)
    with Image.open(io.BytesIO(content)) as plain:
        plain.load()
    assert (image.mode, image.size, image.getpalette()) == (plain.mode, plain.size, plain.getpalette())
    assert image.tobytes() == plain.tobytes()


def test_the_adobe_segment_matters() -> None:
    """So the comparison above would notice if it were dropped."""
    content = adobe_rgb()
    at = content.index(b"\xff\xee")
    without = Image.open(io.BytesIO(content[:at] + content[at + 16 :]))
    assert without.tobytes() != Image.open(io.BytesIO(content)).tobytes()


def crafted() -> dict[str, tuple[bytes, str]]:
    """Images of many parts, most of them where Pillow looks and a walk along the lengths might not."""
    start, rest = (whole := saved("JPEG"))[:2], whole[2:]
    exif, comments = b"\xff\xe1\0\x09Exif\0\0x", b"\xff\xfe\0\x02" * 200_000
    gif, grey = saved("GIF"), saved("PNG")
    at = gif.index(b",", 13 + 3 * 256 if gif[10] & 7 == 7 else 13)
    empty = b"\0\0\0\0prVt" + zlib.crc32(b"prVt").to_bytes(4, "big")
    idat = b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    hidden = b"\xff\xff" + exif * 5_000
    return {
        "Exif": (start + exif * 300_000 + rest, "bytes"),
        "Exif, few bytes": (start + exif * 90_000 + rest, "more than 256 segments"),
        "comments": (start + comments + rest, "more than 256 segments"),
        "after an end": (start + b"\xff\xd9" + exif * 90_000 + rest, ""),
        "after a bare marker": (start + b"\xff\xf0" + hidden + rest, "more than 256 segments"),
        "junk": (start + rest[:18] + bytes(1_000_000) + rest[18:], ""),
        "padding": (start + rest[:18] + b"\xff" * 1_000_000 + rest[18:], ""),
        "chunks": (grey[:33] + empty * 80_000 + grey[33:], "more than 257 chunks"),
        "texts": (png(8, 8, *[(b"tEXt", b"a\0b")] * 70_000), "more than 257 chunks"),
        "pixels": (grey[:33] + idat * 80_000 + grey[33:], "more than 257 chunks"),
        "GIF": (gif[:at] + b"!\xfe" + b"\x01x" * 500_000 + b"\0" + gif[at:], "more than 8,192 blocks"),
        "GIF, empty": (gif[:at] + b"!\x01\0" * 300_000 + gif[at:], "more than 256 extensions"),
        "GIF, after junk": (gif[:at] + b"x!\xfe" + b"\x01x" * 500_000 + b"\0" + gif[at:], "more than 8,192 blocks"),
    }


CRAFTED = crafted()


@pytest.mark.parametrize("kind", CRAFTED)
def test_the_parts_of_an_image_are_bounded_before_pillow_sees_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, why = CRAFTED[kind]
    seen: list[int] = []
    plain = Image.open

    def noted(file: io.BytesIO, **options: Any) -> Image.Image:
        seen.append(len(file.getbuffer()))
        return plain(file, **options)

    monkeypatch.setattr(Image, "open", noted)
    caught = ""
    try:
        open_header(content, ("PNG", "JPEG", "GIF"), 8192)
    except UnreadableImage as error:
        caught = str(error)
    assert why in caught
    assert all(size < 4096 for size in seen)


def test_an_image_has_no_more_bytes_than_its_pixels_need() -> None:
    """Of files that are otherwise sound, and before they are decoded."""
    sound = {kind: saved(kind) for kind in ("JPEG", "BMP")} | {"PNG": png(8, 8, (b"prVt", bytes(1_100_000)))}
    for kind, content in sound.items():
        with pytest.raises(UnreadableImage, match=r"its pixels take 1,1..,... bytes, and 1,049,600 are allowed"):
            open_header(content + bytes(1_100_000 * (kind != "PNG")), (kind,), 1 << 20)
        with pytest.raises(UnreadableImage, match=r"and 1,049,600 are allowed"):
            open_header(content + bytes(1_100_000), (kind,), 64)


def test_a_picture_of_one_column_is_not_decoded() -> None:
    """64 million rows of one pixel took 5.9 GB, though their pixels are as many as those of a large grid."""
    assert open_png(png(1, 70_000)) is None
    assert open_png(png(1, 60_000)) is not None


def test_sizes_are_told_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the file as a whole, and that of the first image."""
    huge = {
        "PNG": png(1, 1)[:16] + (60_000).to_bytes(4, "big") * 2 + png(1, 1)[24:],
        "GIF": b"GIF89a" + b"\xff\xff" * 2 + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + b"\xff\xff" * 2 + b"\0\x02",
        "BMP": saved("BMP")[:18] + (30_000).to_bytes(4, "little") * 2 + saved("BMP")[26:],
    }
    jpeg = saved("JPEG")
    at = jpeg.index(b"\xff\xc0")
    huge["JPEG"] = jpeg[: at + 5] + b"\xff\xff\xff\xff" + jpeg[at + 9 :]
    mixed = [saved("PNG"), saved("PNG", (9, 8))] * 20
    cmyk = encoded(Image.new("CMYK", (8, 8)), "JPEG")

    def decoded(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, content in huge.items():
            path = images(tmp_path / f"{kind}.parquet", [content] * 20)
            refused(lambda path=path: load_images(path), "row 0 of", "does not decode")
    refused(lambda: load_images(images(tmp_path / "a.parquet", [cmyk] * 20)), "has mode CMYK")
    monkeypatch.undo()
    refused(lambda: load_images(images(tmp_path / "m.parquet", mixed)), "row 1 of", "is 9x8")


def test_pictures_of_a_sweep_are_png_of_a_bounded_size() -> None:
    assert open_png(png(5, 4)).size == (5, 4)  # type: ignore[union-attr]
    side = int(PICTURE_PIXELS**0.5) + 1
    header = png(1, 1)
    for content in (
        b"",
        EPS,
        saved("GIF"),
        png(5, 4)[:-20],
        header[:16] + side.to_bytes(4, "big") * 2 + header[24:],
        header[:16] + b"\xff" * 8 + header[24:],
    ):
        assert open_png(content) is None


# Files


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe would be waited for for ever. A link is followed, as a hub's cache is made of links."""
    os.mkfifo(tmp_path / "pipe.parquet")
    for load in LOADERS.values():
        refused(lambda load=load: load(tmp_path / "pipe.parquet"), "a regular file or a folder", "is a device, a pipe")
        refused(lambda load=load: load(tmp_path), "must hold regular files", "pipe.parquet")
        refused(lambda load=load: load(Path("/dev/zero")), "is a device")
    (tmp_path / "pipe.parquet").unlink()
    (tmp_path / "blobs").mkdir()
    images(tmp_path / "blobs" / "content", [encoded(Image.new("L", (8, 8), count), "PNG") for count in range(20)])
    (tmp_path / "t.parquet").symlink_to(tmp_path / "blobs" / "content")
    assert len(load_images(tmp_path).train) == 16
    (tmp_path / "u.parquet").symlink_to(tmp_path / "nowhere")
    refused(lambda: load_images(tmp_path), "u.parquet is none")


def test_types_with_code_of_their_own_are_refused(tmp_path: Path) -> None:
    """pyarrow makes such a type with code that has registered for it; that of Ray before 2.55 unpickles the file."""
    made: list[bytes] = []

    class Noted(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.float64(), "tests.noted")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"anything"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Noted:
            made.append(serialized)
            return cls()

    pa.register_extension_type(Noted())
    try:
        column = pa.ExtensionArray.from_storage(Noted(), pa.array(np.arange(40.0)))
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"image": column}), path)
        made.clear()
        for load in LOADERS.values():
            refused(lambda load=load: load(path), "extension types")
        # The same note under the number 5 + 65536. Thrift's reader in pyarrow keeps 16 bits of a field's number.
        pq.write_table(pa.table({"a": np.arange(40.0)}), path, store_schema=False)
        schema = base64.b64encode(pa.schema([pa.field("a", Noted())]).serialize().to_pybytes())
        note = b"\x19\x1c\x18\x0cARROW:schema\x18" + count(len(schema)) + schema + b"\0"
        content, end = path.read_bytes(), b"\x09" + count(2 * (5 + 65536)) + note[1:] + b"\0"
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        footer = content[start:-9] + end
        path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
        made.clear()
        for load in LOADERS.values():
            refused(lambda load=load: load(path), "extension types")
        assert not made
        with suppress(TypeError, pa.ArrowException):
            pq.read_schema(path)
        assert made, "the note is not where pyarrow looks"
    finally:
        pa.unregister_extension_type("tests.noted")


def test_an_error_quotes_little_and_no_control_characters(tmp_path: Path) -> None:
    long, path = "\x1b]0;x\x07\n" + "n" * 1_000_000, tmp_path / "t.parquet"
    rows = 40
    tables: list[dict[str, Any]] = [
        {long: [1.0, math.inf] * (rows // 2), "n": range(rows)},
        {long: [f"{long} {row}" for row in range(rows)], "n": range(rows)},
        {long: pa.array([{"a": 1}] * rows), "n": range(rows)},
        {"n": [1e300 * row for row in range(rows)], long: range(rows)},
    ]
    for found in tables:
        pq.write_table(pa.table(found), path)
        refused(lambda: load_table(path))
        refused(lambda: load_images(path), "image")
        refused(lambda: load_sequences(path), "a column of lists")
        refused(lambda: load_table(path, drop=["x"]), "--drop must name columns")
    pq.write_table(pa.table({long: [[1.0]] * rows}), path)
    refused(lambda: load_sequences(path), "must vary")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n" + "\x1b" * 500_000 + "\n")
    refused(lambda: load_table(tmp_path / "t.csv"), "must be a whole CSV file")


def test_texts_are_cut_and_escaped() -> None:
    assert quoted("town") == "'town'"
    assert quoted("it's") == '"it\'s"'
    assert shortened("short") == "short"
    for text in ("x" * 500, "\x1b" * 500, "\u202e" * 79, "'\"" * 200):
        assert len(quoted(text)) <= 82
        assert len(shortened(text, 80)) <= 80
        assert quoted(text).isprintable()
        assert shortened(text, 80).isprintable()
    assert listed(str(each) for each in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    assert listed(["a"]) == "a"


def test_files_of_mnist_are_no_larger_than_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """1 GB of zeros in a mirror's file and in a package, whose headers may claim as much."""
    block = gzip.compress(bytes(1 << 24), 9)
    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(block * 64)
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match=f"got {SIZES['train-images-idx3-ubyte'] + 1} bytes"):
        fetch_files([Mirror(tmp_path.as_uri())])
    (tmp_path / "p.tgz").write_bytes(block * 64)
    with pytest.raises(OSError, match="more than 268,435,456 bytes once"):
        unpack(tmp_path / "p.tgz")
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name in SHA256:
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = SIZES[name] + 99 if name.startswith("t10k-l") else 5
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    (tmp_path / "q.tgz").write_bytes(written.getvalue())
    assert [len(content) for content in unpack(tmp_path / "q.tgz").values()] == [5, 5, 5, 10_009]
    assert psutil.Process().memory_info().rss - before < 400 << 20


# Anything


def seeds() -> dict[str, bytes]:
    """Sound files, by the suffix and what loads them."""
    rng = np.random.default_rng(4)
    out = {}
    tables: dict[str, dict[str, Any]] = {
        "images": {
            "image": pa.array([{"bytes": saved("PNG"), "path": None}] * 20, HF_IMAGE),
            "label": np.arange(20) % 2,
        },
        "table": {"n": rng.normal(size=40), "w": pa.array(["a", "b"] * 20).dictionary_encode(), "k": range(40)},
        "sequences": {"a": rng.normal(size=(40, 5)).tolist()},
    }
    for name, columns in tables.items():
        written = io.BytesIO()
        pq.write_table(pa.table(columns), written)
        out[name] = written.getvalue()
    return out


LOADERS: dict[str, Callable[[Path], object]] = {
    "images": load_images,
    "table": load_table,
    "sequences": load_sequences,
}
SEEDS = seeds()
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loaded(kind: str, content: bytes, path: Path) -> None:
    """Load it, or be refused in a line; anything else is an error."""
    path.write_bytes(content)
    assert said_of(lambda: LOADERS[kind](path)).isprintable()


def said_of(load: Callable[[], object]) -> str:
    try:
        load()
    except UserError as error:
        return str(error)
    return ""


@FEW
@given(kind=st.sampled_from([*LOADERS]), content=st.binary(max_size=300), csv=st.booleans())
def test_random_bytes_are_refused(kind: str, content: bytes, csv: bool, tmp_path: Path) -> None:
    loaded(kind, content, tmp_path / ("t.csv" if csv and kind == "table" else "t.parquet"))
    loaded(kind, b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1", tmp_path / "t.parquet")


@FEW
@given(kind=st.sampled_from([*LOADERS]), seed=st.integers(0, 2**32), flips=st.integers(1, 4))
def test_changed_and_cut_files_are_refused_or_read(kind: str, seed: int, flips: int, tmp_path: Path) -> None:
    drawn, content = random.Random(seed), bytearray(SEEDS[kind])
    for _ in range(flips):
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    loaded(kind, bytes(content), tmp_path / "t.parquet")
    loaded(kind, SEEDS[kind][: drawn.randrange(len(content))], tmp_path / "t.parquet")


@FEW
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]), seed=st.integers(0, 2**32), cut=st.booleans())
def test_changed_images_are_refused_or_read(kind: str, seed: int, cut: bool, tmp_path: Path) -> None:
    drawn, content = random.Random(seed), bytearray(saved(kind))
    for _ in range(3):
        content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    changed = bytes(content[: drawn.randrange(len(content))]) if cut else bytes(content)
    images(tmp_path / "t.parquet", [changed] * 20)
    assert said_of(lambda: load_images(tmp_path / "t.parquet")).isprintable()
    open_png(changed)


def test_a_footer_of_very_many_row_groups_is_refused(tmp_path: Path) -> None:
    """Each takes one byte of the file and about 130 of memory."""
    path = tmp_path / "t.parquet"
    footer = b"\x49\xfc" + count(1_000_000) + bytes(1_000_001)
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    refused(lambda: load_table(path), "must be a whole Parquet file")


def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.csv")
    path.write_text("a,b\n" + "1,2\n" * 50)
    refused(lambda: load_table(path), "must be UTF-8")


def test_categories_that_no_sweep_could_keep_are_refused(tmp_path: Path) -> None:
    """A small file may hold them; sweep.json and each checkpoint would have 18 MB, and could not be read again."""
    texts = [f"{number}" + "é" * 30_000 for number in range(100)]
    columns = {"text": texts * 10, "number": list(range(1000))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    refused(lambda: load_table(tmp_path / "t.parquet", categorical=["text"]), "as JSON", "most of them in 'text'")
