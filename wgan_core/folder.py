"""A folder that may be a local path, a shared file system or an object store.

Everything a sweep keeps goes through this class, so nothing depends on appending, renaming or
locking, which an object store cannot do.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

from pyarrow import fs

from wgan_core.errors import UserError


@dataclass(frozen=True)
class Folder:
    """A folder in a pyarrow file system; `folder / "name"` is one below it."""

    filesystem: fs.FileSystem
    path: str

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> Folder:
        """The folder at a local path or at a URI (`file://`, `s3://`, `gs://`, `hdfs://`).

        Raises `UserError` if the URI is of no file system that pyarrow knows.
        """
        text = os.fspath(uri)
        try:
            if "://" in text:
                return cls(*fs.FileSystem.from_uri(text))
            return cls(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)))
        except (ValueError, OSError) as error:
            raise UserError(
                f"a folder is a path or a URI such as s3://bucket/prefix; given {text!r}: {error}: "
                "give a path or a file://, s3://, gs:// or hdfs:// URI"
            ) from error

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.filesystem, f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path if self.is_local else f"{self.filesystem.type_name}://{self.path}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part.

        An object store shows a file when it is closed. A local one shows it while it is written,
        so there it is written under a name that `names` leaves out, brought to the disk, and then moved.
        """
        target = f"{self.path}/{name}"
        parent, _, base = target.rpartition("/")
        self.filesystem.create_dir(parent, recursive=True)
        if not self.is_local:
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(content)
            return
        # No process id: on another host, or in another container, it may be another process's.
        part = f"{parent}/.{base}.{uuid.uuid4().hex}.part"
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)

    def read(self, name: str) -> bytes:
        """The content of a file. Raises `FileNotFoundError`."""
        with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        return self.filesystem.get_file_info(f"{self.path}/{name}").type != fs.FileType.NotFound

    def names(self) -> list[str]:
        """Names of the files and folders directly in this one, sorted; empty if it is not there."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        return sorted(
            info.base_name for info in self.filesystem.get_file_info(selector) if not info.base_name.startswith(".")
        )

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it. Nothing happens if it is not there."""
        target = f"{self.path}/{name}"
        match self.filesystem.get_file_info(target).type:
            case fs.FileType.Directory:
                self.filesystem.delete_dir(target)
            case fs.FileType.File:
                self.filesystem.delete_file(target)
