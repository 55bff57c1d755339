"""A full disk is told in one line, whatever library met it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from sweeps.engine.driver import full_disk
from sweeps.engine.driver.full_disk import FullDisk, told_of_full_disk
from sweeps.engine.driver.script import run_script
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

Usage = namedtuple("Usage", "total used free")


class OtherError(Exception):
    pass


def chained() -> OtherError:
    error = OtherError("the commit failed")
    error.__cause__ = sqlite3.OperationalError("database or disk is full")
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        OtherError("a worker said:\nOSError: [Errno 28] No space left on device"),
        chained(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_say_so(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        with told_of_full_disk(Folder.at(tmp_path)):
            raise error

    monkeypatch.setattr(sys, "argv", ["mnist.py"])
    assert run_script(act) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is full: free some room, and the same command goes on")


@pytest.mark.parametrize("which", ["storage", "temporary"])
def test_errors_in_other_words(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna, for one, only says that a commit failed."""
    storage, temporary = tmp_path / "storage", tmp_path / "temporary"
    full = {"storage": storage, "temporary": temporary}[which]
    for each in (storage, temporary):
        each.mkdir()
    monkeypatch.setattr(full_disk, "temp_folder", lambda: temporary)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(9, 9, 0 if Path(place) == full else 1 << 40))
    with pytest.raises(FullDisk, match=f"the disk of {full}.* is full"), told_of_full_disk(Folder.at(storage / "new")):
        raise OtherError("the commit failed")


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    for error in (OtherError("no such file"), UserError("what must hold: no space left on device: what to do")):
        with pytest.raises(type(error), match=str(error)), told_of_full_disk(Folder.at(tmp_path)):
            raise error
