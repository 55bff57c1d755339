"""Program that reads Parquet files for `parquet_file`, each in a process of its own with limited memory and time.

It is started as a script, so it imports nothing of this package. Thus no package has registered extension types, whose
code a file could call.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import psutil
import pyarrow as pa
from pyarrow import parquet

# Exit status by answer: a table as an Arrow stream, the text of an error, or too little memory.
TABLE, ERROR, MEMORY = 0, 3, 4
LONGEST = 4_000
# While pyarrow reads, buffers grow by doubling and are copied: three times the table, beside the decoders' own memory.
GROWTH, BUFFERS = 3, 1 << 26


class NoPandas:
    """A finder of modules that finds no pandas. pyarrow would import it for each file, which takes most of a second."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ImportError(name)


def main() -> None:
    """Answer requests until the asking process ends. Standard input is the socket of that process."""
    sys.meta_path.insert(0, cast("Any", NoPandas()))
    with socket.socket(fileno=0) as channel:
        while True:
            head, files, *_ = socket.recv_fds(channel, 8, 1)
            if not files:
                return
            asked = json.loads(_exactly(channel, int.from_bytes(head, "little")))
            child = os.fork()
            if not child:
                channel.close()
                with os.fdopen(files[0], "wb") as sink:
                    status = answer(sink, **asked)
                os._exit(status)
            os.close(files[0])
            channel.sendall(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]).to_bytes(4, "little", signed=True))


def _exactly(channel: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        found += channel.recv(count - len(found)) or sys.exit()
    return bytes(found)


def answer(sink: BinaryIO, file: str, columns: list[str] | None, rows: bool, most: int, seconds: int) -> int:
    """Write the answer to a request, and return its kind.

    Args:
        sink: The file for the answer.
        file: Absolute path of the file.
        columns: Dotted paths of the columns to read; None reads all.
        rows: Whether to read the rows, and not only the schema.
        most: Most bytes of the table.
        seconds: Most processor time to take, in seconds.
    """
    own = getattr(psutil.Process().memory_info(), "data", 0)  # only Linux tells, and only Linux holds the limit
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(sum(os.times()[:2])) + seconds)
    _limit(resource.RLIMIT_DATA, own + GROWTH * most + BUFFERS)
    try:
        with parquet.ParquetFile(file, memory_map=False, pre_buffer=False) as opened:
            table = opened.schema_arrow.empty_table()
            _refuse_extensions(table.schema)
            if rows:
                table = opened.read(columns, use_threads=False)
        for field, column in zip(table.schema, table.columns, strict=True):
            # pyarrow does not check the range of dictionary indices when it reads them.
            column.validate(full=pa.types.is_dictionary(field.type))
        if table.nbytes > most:
            raise MemoryError
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    except MemoryError:
        return MEMORY
    except Exception as error:
        last = "".join(str(error).strip().splitlines()[-1:])
        sink.seek(0)
        sink.write(f"{type(error).__name__}: {last}"[:LONGEST].encode(errors="replace"))
        sink.truncate()
        return ERROR
    return TABLE


def _limit(which: int, most: int) -> None:
    """Lower a limit of this process. A lower one that it already has stays."""
    there = [each for each in resource.getrlimit(which) if each != resource.RLIM_INFINITY]
    resource.setrlimit(which, (min(most, *there, most),) * 2)


def _refuse_extensions(schema: pa.Schema) -> None:
    """Raise `ValueError` for extension types. The asking process may have code for them, which the file would call."""
    for field in _fields(schema, len(schema)):
        named = any(key.startswith(b"ARROW:extension") for key in field.metadata or {})
        if named or isinstance(_values(field.type), pa.BaseExtensionType):
            raise ValueError("it has columns of extension types, which are not read")


def _fields(parent: Any, count: int) -> Iterator[pa.Field]:
    """Yield the `count` fields of a schema or a type, each followed by those within its own type."""
    for place in range(count):
        field = parent.field(place)
        yield field
        yield from _fields(_values(field.type), _values(field.type).num_fields)


def _values(kind: pa.DataType) -> pa.DataType:
    """Return the type of a dictionary's values; any other type as it is."""
    return _values(kind.value_type) if pa.types.is_dictionary(kind) else kind


if __name__ == "__main__":
    main()
