"""Data files that are made to fill the memory, run as a program: it loads each and tells what came of it.

    python tests/core/hostile.py FOLDER

A line of JSON for each attack: its name, the error, seconds, and the bytes of memory that loading added at its peak.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from wgan_core.data.images import load_images
from wgan_core.data.sequences import load_sequences
from wgan_core.data.tables import load_table
from wgan_core.errors import UserError

# Beyond what the process has when it starts: what one attack may ask for, mapped or not.
LIMIT_BYTES = 6 << 30
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n/x 1 def\nshowpage\n%%EOF\n"
HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A black PNG, grey; chunks: more of them, by name and content."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def images(path: Path, contents: list[bytes], places: Any = None) -> Path:
    """Images as Hugging Face writes them; places: which of the contents each row has."""
    cells = pa.array(contents, pa.binary()).take(pa.array(np.arange(len(contents)) if places is None else places))
    column = pa.StructArray.from_arrays([cells, pa.nulls(len(cells), pa.string())], fields=list(HF_IMAGE))
    pq.write_table(pa.table({"image": column}), path)
    return path


def groups(path: Path, table: pa.Table, count: int, **options: Any) -> Path:
    """The same rows again and again, a row group each time."""
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        for _ in range(count):
            writer.write_table(table, row_group_size=len(table))
    return path


def one_image_in_every_row(path: Path) -> object:
    return load_images(images(path, [png(1024, 1024)], np.zeros(3000, np.int32)))


def tiny_images_without_end(path: Path) -> object:
    """Whose pixels take next to nothing; decoding them takes minutes."""
    table = pa.table({"image": pa.array([{"bytes": png(1, 1), "path": None}] * 100_000, HF_IMAGE)})
    return load_images(groups(path, table, 5))


def one_huge_image(path: Path) -> object:
    return load_images(images(path, [png(13_000, 13_000)] * 20))


def a_column_of_many_categories(path: Path) -> object:
    path = path.with_suffix(".csv")
    path.write_text("n,id\n" + "".join(f"{row % 7},k{row}\n" for row in range(50_000)))
    return load_table(path, categorical=["id"])


def many_columns_of_many_categories(path: Path) -> object:
    rows = np.arange(20_000)
    pq.write_table(pa.table({f"c{each}": (rows * (each + 1)) % 4001 for each in range(10)}), path)
    return load_table(path, categorical=[f"c{each}" for each in range(10)])


def rows_of_nothing(path: Path) -> object:
    return load_table(groups(path, pa.table({"a": np.zeros(1_000_000, np.int64)}), 60))


def a_long_text_in_every_row(path: Path) -> object:
    table = pa.table({"a": pa.DictionaryArray.from_arrays(np.zeros(3000, np.int32), ["x" * 1_000_000])})
    pq.write_table(table, path, store_schema=False)
    return load_table(path, drop=["a"])


def a_text_that_repeats_the_one_before(path: Path) -> object:
    table = pa.table({"a": ["x" * 100_000] * 500})
    encoded = {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}}
    return load_table(groups(path, table, 30, **encoded))


def pages_of_zeros(path: Path) -> object:
    table = pa.table({"image": pa.array([{"bytes": bytes(150_000_000)}])})
    return load_images(groups(path, table, 12, use_dictionary=False, compression="zstd", write_statistics=False))


def lists_of_nothing(path: Path) -> object:
    offsets = pa.array(np.arange(0, 5_000_001, 50_000, dtype=np.int32))
    table = pa.table({"a": pa.ListArray.from_arrays(offsets, pa.array(np.zeros(5_000_000, np.int8)))})
    return load_sequences(groups(path, table, 10))


def a_list_of_fixed_size(path: Path) -> object:
    pq.write_table(pa.table({"a": pa.array([], pa.list_(pa.float64(), 2**30))}), path)
    return load_sequences(path)


def a_million_columns_of_csv(path: Path) -> object:
    path = path.with_suffix(".csv")
    path.write_text(",".join(["a"] * 500_000) + "\n" + ",".join(["1"] * 500_000) + "\n")
    return load_table(path)


def count(value: int) -> bytes:
    """A number as Thrift's compact protocol has it."""
    found = b""
    while value > 127:
        value, found = value >> 7, found + bytes([value & 127 | 128])
    return found + bytes([value])


def footer(path: Path, *, depth: int, groups: int = 0) -> Path:
    """A file of a footer alone: a column below so many groups, and a list that claims to have so many row groups."""
    group = b"\x35\x02\x18\x01a\x15\x02\x00"
    column = b"\x15\x02\x25\x02\x18\x01x\x00"
    head = b"\x15\x02\x19\xfc" + count(depth + 2) + group * (depth + 1) + column
    head += b"\x16\x00\x19\xfc" + count(groups) + b"\x00"
    path.write_bytes(b"PAR1" + head + struct.pack("<I", len(head)) + b"PAR1")
    return path


def groups_within_groups(path: Path) -> object:
    """pyarrow ends the process with a segmentation fault."""
    return load_table(footer(path, depth=20_000))


def a_footer_that_claims_row_groups(path: Path) -> object:
    return load_table(footer(path, depth=1, groups=999_999))


def jpeg_of_many_scans(path: Path) -> object:
    whole = encoded(Image.new("L", (2048, 2048)), "JPEG", progressive=True)
    at = whole.rindex(b"\xff\xda")
    return load_images(images(path, [whole[:at] + whole[at:-2] * 2000 + whole[-2:]] * 20))


def texts_in_png(path: Path) -> object:
    """Pillow would decompress 60 MB for each row; the images are honest, and too few."""
    text = b"a\0\0" + zlib.compress(bytes(1_000_000), 9)
    return load_images(images(path, [png(2, 2, *[(b"zTXt", text)] * 60)] * 10))


def jpeg_of_many_segments(path: Path) -> object:
    """Pillow joins them one by one, which takes seconds for each row."""
    whole = encoded(Image.new("L", (8, 8)), "JPEG")
    return load_images(images(path, [whole[:2] + b"\xff\xe1\0\x09Exif\0\0x" * 500_000 + whole[2:]] * 20))


ATTACKS: list[Callable[[Path], object]] = [
    one_image_in_every_row,
    tiny_images_without_end,
    one_huge_image,
    a_column_of_many_categories,
    many_columns_of_many_categories,
    rows_of_nothing,
    a_long_text_in_every_row,
    a_text_that_repeats_the_one_before,
    pages_of_zeros,
    lists_of_nothing,
    a_list_of_fixed_size,
    a_million_columns_of_csv,
    groups_within_groups,
    a_footer_that_claims_row_groups,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    texts_in_png,
]


def peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main(folder: Path, names: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + LIMIT_BYTES,) * 2)
    for attack in ATTACKS:
        if names and attack.__name__ not in names:
            continue
        path = folder / f"{attack.__name__}.parquet"
        made: dict[str, Any] = {"name": attack.__name__, "error": None}
        loaders = {each: globals()[each] for each in ("load_images", "load_table", "load_sequences")}

        def timed(load: Callable[..., object], made: dict[str, Any] = made) -> Callable[..., object]:
            def loaded(file: Path, **options: Any) -> object:
                pa.default_memory_pool().release_unused()
                Path("/proc/self/clear_refs").write_text("5")
                before, start = psutil.Process().memory_info().rss, time.perf_counter()
                made["size"] = os.path.getsize(file)
                try:
                    return load(file, **options)
                finally:
                    made.update(seconds=time.perf_counter() - start, bytes=peak() - before)

            return loaded

        globals().update({each: timed(load) for each, load in loaders.items()})
        try:
            attack(path)
        except UserError as error:
            made["error"] = str(error)
        globals().update(loaders)
        path.unlink(missing_ok=True)
        print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
