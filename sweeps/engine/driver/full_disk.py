"""A full disk, which Ray, Optuna and MLflow report in many words, or in others."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.engine.cluster.note import temp_folder
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

# A disk with less room is full. SQLite needs room for its journal, and files are written in blocks.
LEAST_BYTES = 1 << 20
WORDS = ("no space left on device", "disk is full", "disk quota exceeded", "out of disk")


class FullDisk(Exception):
    """A sweep ended because a disk is full."""


@contextmanager
def told_of_full_disk(folder: Folder) -> Iterator[None]:
    """Raise `FullDisk` in place of an error of another library that a full disk explains.

    Args:
        folder: The sweep's folder. Ray's temporary folder is looked at too.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        places = [*([folder.path] if folder.is_local else []), str(temp_folder())]
        full = next((place for place in places if _is_full(place)), "")
        if full or _says_so(error):
            where = f"the disk of {full}" if full else "a disk, on this machine or on another of the cluster,"
            raise FullDisk(f"{where} is full: free some room, and the same command goes on") from error
        raise


def _is_full(place: str) -> bool:
    with suppress(OSError):
        there = next(each for each in (Path(place), *Path(place).parents) if each.exists())
        usage = shutil.disk_usage(there)
        return usage.total > 0 and usage.free < LEAST_BYTES  # some file systems do not tell
    return False


def _says_so(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error).lower() for words in WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
