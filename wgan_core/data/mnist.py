"""MNIST, fetched once into a cache folder. `python -m wgan_core.data.mnist` fetches it ahead of time."""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wgan_core.cache import cache_folder
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.folder import Folder
from wgan_core.data.mnist_files import SHA256, SOURCES, Source, fetch_files
from wgan_core.data.parquet_file import read_parquet
from wgan_core.errors import UserError, listed, one_line, shortened

CACHED = "mnist.parquet"
TRAIN_FILE_ROWS, TEST_ROWS, VALIDATION_ROWS = 60_000, 10_000, 10_000
SIDE = 28
SPLIT_SEED = 20_171_107
# Most bytes of the cache file, which is not compressed. Other users may write to its folder.
CACHE_BYTES = 64_000_000
CACHE_SCHEMA = pa.schema([("image", pa.binary(SIDE * SIDE)), ("label", pa.uint8())])

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load_mnist(cache: Path | None = None, sources: Sequence[Source] = SOURCES) -> Dataset:
    """Load MNIST, uint8 (N, 1, 28, 28), labels 0 to 9: 50,000 images to train, 10,000 to validate, 10,000 to test.

    The training and validation splits are a fixed shuffle of the official training set (PCG64, a constant seed). The
    test split is the official one in its order. The first call fetches the files into `cache`. Later calls read and
    check them. A damaged cache is fetched again with a message.

    Raises:
        UserError: The files cannot be fetched, or the cache folder cannot be written.
    """
    images, labels = cached_arrays(cache or cache_folder(), sources)
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(TRAIN_FILE_ROWS)
    held_out, learned = order[:VALIDATION_ROWS], order[VALIDATION_ROWS:]
    official_test = np.arange(TRAIN_FILE_ROWS, len(images))  # indexing copies, while a slice would keep the file mapped
    return Dataset.of(
        "mnist",
        train=Split(images[learned], labels[learned].astype(np.int64)),
        validation=Split(images[held_out], labels[held_out].astype(np.int64)),
        test=Split(images[official_test], labels[official_test].astype(np.int64)),
    )


def cached_arrays(cache: Path, sources: Sequence[Source]) -> Arrays:
    """Return all images (70000, 1, 28, 28) and labels (70000,) from the cache; fetch them first if necessary."""
    path = cache / CACHED
    if path.is_file():
        try:
            return read_cache(path)
        except UserError as error:
            print(f"mnist: {error}; fetching again", file=sys.stderr, flush=True)
    files = fetch_files(sources)
    try:
        Folder.at(cache).write(CACHED, to_parquet(files))
    except OSError as error:
        raise UserError(
            f"the data cache must be a folder that can be written; {cache}: {error}; set WGAN_DATA"
        ) from error
    print(f"mnist: kept in {path}", file=sys.stderr, flush=True)
    return read_cache(path)


def to_parquet(files: dict[str, bytes]) -> bytes:
    """Convert the four IDX files to one Parquet table of 70,000 rows, the training set first.

    The table is neither compressed nor dictionary-encoded, so that each process reads it by a plain copy.
    """
    pixels = files["train-images-idx3-ubyte"][16:] + files["t10k-images-idx3-ubyte"][16:]
    digits = files["train-labels-idx1-ubyte"][8:] + files["t10k-labels-idx1-ubyte"][8:]
    rows = len(digits)
    images = pa.Array.from_buffers(pa.binary(SIDE * SIDE), rows, [None, pa.py_buffer(pixels)])
    labels = pa.array(np.frombuffer(digits, np.uint8))
    sink = pa.BufferOutputStream()
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_cache(path: Path) -> Arrays:
    """Return the images and labels of a cache file. Raise `UserError` if it is damaged or changed."""
    remedy = "delete the file and it will be fetched again"
    try:
        if path.stat().st_size > CACHE_BYTES:
            raise ValueError(f"it has more than {CACHE_BYTES:,} bytes")
        table = read_parquet(path, None, CACHE_BYTES).combine_chunks()
        if not table.schema.equals(CACHE_SCHEMA) or len(table) != TRAIN_FILE_ROWS + TEST_ROWS:
            raise ValueError(f"it has {len(table):,} rows of {listed(table.schema.names)}")
        images = buffer_of(table.column("image")).reshape(-1, 1, SIDE, SIDE)
        labels = buffer_of(table.column("label"))
    except (pa.ArrowException, OSError, MemoryError, KeyError, ValueError) as error:
        raise UserError(f"{path} must be a whole Parquet file; {shortened(one_line(error))}; {remedy}") from error
    if changed := changed_files(images, labels):
        raise UserError(f"{path} must hold MNIST as it was published; {', '.join(changed)} differ; {remedy}")
    return images, labels


def buffer_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the bytes of a fixed-width column without copying them."""
    array = column.chunk(0)
    width = array.type.bit_width // 8
    data: NDArray[Any] = np.frombuffer(array.buffers()[1], np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width]


def changed_files(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> list[str]:
    """Return the names of the official files that these arrays do not reproduce byte for byte."""
    if images.shape != (TRAIN_FILE_ROWS + TEST_ROWS, 1, SIDE, SIDE) or labels.shape != images.shape[:1]:
        return list(SHA256)
    train, test = slice(0, TRAIN_FILE_ROWS), slice(TRAIN_FILE_ROWS, None)
    parts = {
        "train-images-idx3-ubyte": images[train],
        "train-labels-idx1-ubyte": labels[train],
        "t10k-images-idx3-ubyte": images[test],
        "t10k-labels-idx1-ubyte": labels[test],
    }
    return [name for name, part in parts.items() if idx_digest(part) != SHA256[name]]


def idx_digest(array: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the IDX file that holds this array, to check the cache like a download."""
    sizes = (array.shape[0], SIDE, SIDE) if array.ndim > 1 else array.shape
    sha = hashlib.sha256(struct.pack(f">I{len(sizes)}I", 0x0800 + len(sizes), *sizes))
    sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def main() -> int:
    try:
        dataset = load_mnist()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"mnist: {cache_folder() / CACHED}, digest {dataset.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
