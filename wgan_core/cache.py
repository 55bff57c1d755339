"""Folders in which this user keeps data and compiled code between runs."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from pathlib import Path

from wgan_core.rights import belongs_to_us, mode_lets_others_write

COMPILED = "TORCHINDUCTOR_CACHE_DIR"


def cache_folder() -> Path:
    """Return the folder of fetched data: `WGAN_DATA`, else `wgan-sweeps` in the user's cache folder."""
    if given := os.environ.get("WGAN_DATA"):
        return Path(given).expanduser()
    return _own() / "wgan-sweeps"


def keep_compiled_code_private() -> None:
    """Have torch keep compiled code in a folder of this user's, unless the environment names one.

    torch's own choice is a name in /tmp that every user can guess. It unpickles what lies there, whoever wrote it.
    """
    if os.environ.get(COMPILED):
        return
    try:
        folder = make_private_folder("compiled")
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        folder = Path(tempfile.mkdtemp(prefix="wgan-sweeps-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[COMPILED] = str(folder)


def make_private_folder(name: str) -> Path:
    """Make a folder of mode 700 in this user's cache folder.

    Raises:
        OSError: It cannot be made, or others may replace it.
        RuntimeError: The user has no home folder.
    """
    folder = _own().resolve() / "wgan-sweeps" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not all(_is_ours(each) for each in (folder, *folder.parents)):
        raise PermissionError(f"others may replace {folder}")
    folder.chmod(0o700)
    return folder


def _own() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser()


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is no link, belongs to this user or root, and keeps its entries from other users."""
    status = folder.lstat()
    sealed = not mode_lets_others_write(status) or status.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(status.st_mode) and belongs_to_us(status) and bool(sealed)
