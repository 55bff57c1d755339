"""A folder that may be a local path, a shared file system or an object store.

A sweep reads and writes all its files through `Folder`. An object store cannot append, rename or lock, so `Folder`
offers none of these.

Somebody else may have written a folder. So below the path that the user named, names must be plain, no link is
followed, and only regular files are read.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pyarrow import fs

from wgan_core.errors import UserError, shortened, without_secrets

MOST_BYTES = 2**33
"""Largest file that is read, in bytes. A checkpoint of two networks is far smaller."""

MOST_JSON_BYTES = 2**24
"""Largest JSON file that is read, in bytes."""

MOST_DEPTH, MOST_DIGITS = 50, 25
"""Most levels of a JSON file, and most digits of a whole number in it."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe blocks until another process opens its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Name of a local file while `Folder.write` writes it.
_PART = re.compile(r"\..+\.[0-9a-f]{32}\.part")


class TooLarge(UserError):
    """Error for a file with more bytes than its reader accepts."""


@dataclass(frozen=True)
class Folder:
    """A folder in a pyarrow file system; `folder / "name"` is a folder below it.

    Attributes:
        filesystem: The file system.
        path: The path of the folder in the file system.
        root: The path that the user named, by default `path`. It may be a link, but no link below it is followed.
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
            UserError: No file system of pyarrow supports the URI.
        """
        text = os.fspath(uri)
        try:
            if "://" in text:
                return cls(*fs.FileSystem.from_uri(text))
            return cls(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)))
        except (ValueError, OSError) as error:
            raise UserError(
                f"a folder is a path or a URI such as s3://bucket/prefix; given "
                f"{shortened(without_secrets(text, text))!r}: "
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
        """Write a file atomically: a reader sees the old content or the new, never a part.

        An object store shows a file only when it is closed. A local file system shows a file while it is written. So
        a local file is written under a name that `names` leaves out, flushed to disk, and then renamed. A local root
        that does not exist is created with access for this user only.
        """
        if not self.is_local:
            self.filesystem.create_dir(self.path, recursive=True)
            with self.filesystem.open_output_stream(f"{self.path}/{_plain(name)}") as stream:
                stream.write(content)
            return
        # A process id is not unique across hosts and containers, so the name has a UUID.
        part = f".{_plain(name)}.{uuid.uuid4().hex}.part"
        with self._opened(make=True) as folder:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:  # a full disk must not fill up with parts
                with suppress(OSError):
                    os.unlink(part, dir_fd=folder)
                raise

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: The file does not exist.
            UserError: The file is a link, not a regular file, or larger than `most` bytes.
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
        """Return the parsed content of a JSON file.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The content is not JSON, or JSON that `parse_json` refuses.
            UserError: The file is a link, not a regular file, or larger than `MOST_JSON_BYTES`.
        """
        return parse_json(self.read(name, MOST_JSON_BYTES))

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of this name exists. Raise `UserError` for a link."""
        if not self.is_local:
            return self.filesystem.get_file_info(f"{self.path}/{_plain(name)}").type != fs.FileType.NotFound
        try:
            with self._opened() as folder:
                return self._mode(name, folder) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def names(self) -> list[str]:
        """Return the sorted names of files and folders in this folder, without hidden ones; [] if it does not exist."""
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
        """Delete a file, or a folder with all its content, if it exists.

        A link inside the deleted folder is deleted too, and its target stays.

        Raises:
            UserError: The name is a link, or the folder is nested too deeply.
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

    def delete_parts(self) -> None:
        """Delete the files that `write` left half-written because its process was killed.

        No other process may write to this folder meanwhile. An object store has no such files.
        """
        if self.is_local:
            with suppress(FileNotFoundError), self._opened() as folder:
                for name in filter(_PART.fullmatch, os.listdir(folder)):
                    with suppress(IsADirectoryError, PermissionError):  # a folder of such a name is none of ours
                        os.unlink(name, dir_fd=folder)

    def file(self, name: str) -> str:
        """Return the path of a local file for a library that opens it itself. Raise `UserError` for a link."""
        self.exists(name)
        return f"{self.path}/{name}"

    @contextmanager
    def _opened(self, make: bool = False) -> Iterator[int]:
        """Yield a descriptor of this folder, opened from the root one name at a time.

        If `make` is true, create missing folders.
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
            # O_NOFOLLOW also refuses a link that was created after `_refuse_link` looked.
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)

    def _mode(self, name: str, folder: int) -> int | None:
        """Return the mode of a file or folder, or None if it does not exist. Raise `UserError` for a link."""
        self._refuse_link(name, folder)
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def _refuse_link(self, name: str, folder: int, path: str | None = None) -> None:
        try:
            mode = os.stat(_plain(name), dir_fd=folder, follow_symlinks=False).st_mode
        except OSError:  # the caller's next operation reports the error
            return
        if stat.S_ISLNK(mode):
            raise UserError(
                f"nothing below {self.root} may be a link; {path or f'{self.path}/{name}'} is one: put what it points "
                "to in its place, or remove it"
            )


def parse_json(content: bytes) -> Any:
    """Parse JSON that somebody else may have written.

    Raises:
        ValueError: The content is not JSON. Or it is nested too deeply, has a whole number that is too long, or has
            half of a character of two parts, which no file and no terminal takes.
    """
    try:
        value = json.loads(content, parse_int=_short_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [each for held in level for each in _held(held)]
        if not level:
            break
    else:
        raise ValueError("it is nested too deeply")
    if b"\\ud" in content.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _held(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _short_whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user named. A link in its place is replaced and not followed.

    Raises:
        UserError: The file cannot be written, or something else than a file is there.
    """
    try:
        with suppress(FileNotFoundError):
            if not any(kind(path.lstat().st_mode) for kind in (stat.S_ISREG, stat.S_ISLNK)):
                raise OSError(errno.EEXIST, "something else than a file is there")
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        Folder.at(path.parent).write(path.name, content)
    except OSError as error:
        raise UserError(
            f"--out must be a file that can be written; {path}: {error.strerror}: "
            "name one in a folder that is there and yours"
        ) from error


def _plain(name: str) -> str:
    """Return the name. Raise `UserError` if it could lead outside the folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UserError(
            f"a name in a folder must be plain, without '/' and not '..'; given {name!r}: mend the file that says so"
        )
    return name


def _check_size(where: str, size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{where} must have at most {most} bytes; it has {size}: it is damaged, so remove it")
    # A file with holes takes no room on the disk. Reading tensors takes twice their size, and as much again to write.
    if size > MOST_JSON_BYTES and size > (there := psutil.virtual_memory().available) // 4:
        raise TooLarge(
            f"a file must fit in a quarter of the available memory, {there // 4} bytes; {where} has {size}: free "
            "memory, or remove it"
        )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the whole path into errors of the operating system."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error
