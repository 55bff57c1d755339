"""A folder that may be a local path, a shared file system or an object store.

Everything a sweep keeps goes through this class, so nothing depends on appending, renaming or
locking, which an object store cannot do.

A folder may have been written by somebody else. So below the path that the user named, names are plain, no link is
followed, and only regular files are read.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from wgan_core.errors import UserError, without_secrets

MOST_BYTES = 2**33
"""Largest file that is read, in bytes; a checkpoint of two networks is far smaller."""

MOST_JSON_BYTES = 2**24
"""Largest JSON file that is read, in bytes."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe waits for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooLarge(UserError):
    """A file has more bytes than its reader takes."""


@dataclass(frozen=True)
class Folder:
    """A folder in a pyarrow file system; `folder / "name"` is one below it.

    Attributes:
        filesystem: the file system.
        path: where the folder is in it.
        root: the path that the user named, which may be a link; below it no link is followed. By default `path`.
    """

    filesystem: fs.FileSystem
    path: str
    root: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root or self.path)

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> Folder:
        """Return the folder at a local path or at a URI (`file://`, `s3://`, `gs://`, `hdfs://`).

        Raises:
            UserError: the URI is of no file system that pyarrow knows.
        """
        text = os.fspath(uri)
        try:
            if "://" in text:
                return cls(*fs.FileSystem.from_uri(text))
            return cls(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)))
        except (ValueError, OSError) as error:
            raise UserError(
                f"a folder is a path or a URI such as s3://bucket/prefix; given {without_secrets(text)!r}: "
                f"{without_secrets(str(error), text)}: give a path or a file://, s3://, gs:// or hdfs:// URI"
            ) from error

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.filesystem, f"{self.path}/{_plain(name)}", self.root)

    def __str__(self) -> str:
        return self.path if self.is_local else f"{self.filesystem.type_name}://{self.path}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part.

        An object store shows a file when it is closed. A local one shows it while it is written,
        so there it is written under a name that `names` leaves out, brought to the disk, and then moved.
        A root that is not there yet is made for this user alone.
        """
        if not self.is_local:
            self.filesystem.create_dir(self.path, recursive=True)
            with self.filesystem.open_output_stream(f"{self.path}/{_plain(name)}") as stream:
                stream.write(content)
            return
        # No process id: on another host, or in another container, it may be another process's.
        part = f".{_plain(name)}.{uuid.uuid4().hex}.part"
        with self._opened(make=True) as folder:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: it is not there.
            UserError: it is a link, not a regular file, or larger than `most` bytes.
        """
        where = f"{self.path}/{_plain(name)}"
        if not self.is_local:
            with self.filesystem.open_input_file(where) as file:
                _check_size(where, file.size(), most)
                return file.read()
        with self._opened() as folder:
            self._refuse_link(name, folder)
            with _naming(where), os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb") as opened:
                found = os.fstat(opened.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise UserError(f"a file below {self.root} must be a regular file; {where} is none: remove it")
                _check_size(where, found.st_size, most)
                return opened.read()

    def json(self, name: str) -> Any:
        """Return what a JSON file holds.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is not JSON, or nested too deeply to be read.
            UserError: as `read` raises it, and for more than 16 MiB.
        """
        try:
            return json.loads(self.read(name, MOST_JSON_BYTES))
        except RecursionError:
            raise ValueError(f"{self.path}/{name} is nested too deeply") from None

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of this name is there. Raises `UserError` for a link."""
        if not self.is_local:
            return self.filesystem.get_file_info(f"{self.path}/{_plain(name)}").type != fs.FileType.NotFound
        try:
            with self._opened() as folder:
                return self._mode(name, folder) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def names(self) -> list[str]:
        """Names of the files and folders directly in this one, sorted; empty if it is not there."""
        if not self.is_local:
            selector = fs.FileSelector(self.path, allow_not_found=True)
            found = [info.base_name for info in self.filesystem.get_file_info(selector)]
        else:
            try:
                with self._opened() as folder:
                    found = os.listdir(folder)
            except FileNotFoundError:
                return []
        return sorted(name for name in found if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all that is in it. Nothing happens if it is not there.

        Raises:
            UserError: it is a link. A link inside a folder is deleted, and what it points to stays.
        """
        if not self.is_local:
            target = f"{self.path}/{_plain(name)}"
            match self.filesystem.get_file_info(target).type:
                case fs.FileType.Directory:
                    self.filesystem.delete_dir(target)
                case fs.FileType.File:
                    self.filesystem.delete_file(target)
            return
        try:
            with self._opened() as folder:
                mode = self._mode(name, folder)
                if mode is not None and stat.S_ISDIR(mode):
                    try:
                        shutil.rmtree(name, dir_fd=folder)
                    except RecursionError as error:
                        raise UserError(
                            f"a folder must not be nested too deeply to be deleted; {self.path}/{name} is: remove it"
                        ) from error
                elif mode is not None:
                    os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return

    def file(self, name: str) -> str:
        """Return the path of a local file for a library that opens it itself. Raises `UserError` for a link."""
        self.exists(name)
        return f"{self.path}/{name}"

    @contextmanager
    def _opened(self, make: bool = False) -> Iterator[int]:
        """Give a descriptor of this folder, reached from the root one name at a time.

        make: make what is not there.
        """
        if make:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
        current, path = os.open(self.root, _FOLDER), self.root
        try:
            for name in self.path[len(self.root) :].strip("/").split("/"):
                if name:
                    path = f"{path}/{name}"
                    following = self._below(name, current, path, make)
                    os.close(current)
                    current = following
            yield current
        finally:
            os.close(current)

    def _below(self, name: str, folder: int, path: str, make: bool) -> int:
        self._refuse_link(name, folder, path)
        with _naming(path):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            # A link that was put there since is not followed either.
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)

    def _mode(self, name: str, folder: int) -> int | None:
        """Return the type and rights of what has this name; None if nothing has. Raises `UserError` for a link."""
        self._refuse_link(name, folder)
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def _refuse_link(self, name: str, folder: int, path: str | None = None) -> None:
        try:
            mode = os.stat(_plain(name), dir_fd=folder, follow_symlinks=False).st_mode
        except OSError:  # whatever is done next says so
            return
        if stat.S_ISLNK(mode):
            raise UserError(
                f"nothing below {self.root} may be a link; {path or f'{self.path}/{name}'} is one: put what it points "
                "to in its place, or remove it"
            )


def _plain(name: str) -> str:
    """Return a name. Raises `UserError` for one that leads elsewhere."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UserError(
            f"a name in a folder must be plain, without '/' and not '..'; given {name!r}: mend the file that says so"
        )
    return name


def _check_size(where: str, size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{where} must have at most {most} bytes; it has {size}: it is damaged, so remove it")


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Have an error of the operating system name the whole path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error
