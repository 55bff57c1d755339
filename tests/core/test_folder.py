"""Files that several write at once."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wgan_core.data.folder import Folder


def test_two_that_write_one_file_at_once_leave_it_whole(tmp_path: Path) -> None:
    """Whichever comes last; also where both have the same process id, as processes in two containers may."""
    folder, contents = Folder.at(tmp_path), [bytes([value]) * 300_000 for value in (1, 2)]

    def write(content: bytes) -> None:
        for _ in range(50):
            folder.write("file", content)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, contents))
    assert folder.read("file") in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_half_written_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    Folder.at(tmp_path).write("kept", b"x")
    part = f".kept.{'0' * 32}.part"
    (tmp_path / part).write_bytes(b"half")
    (tmp_path / f".folder.{'0' * 32}.part").mkdir()
    (tmp_path / ".hidden").touch()
    Folder.at(tmp_path).delete_parts()
    (Folder.at(tmp_path) / "none").delete_parts()
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".hidden", f".folder.{'0' * 32}.part"}


def test_a_write_that_fails_leaves_the_old_content_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.at(tmp_path)
    folder.write("a.json", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write("a.json", b"new")
    assert folder.read("a.json") == b"old"
    assert os.listdir(tmp_path) == ["a.json"]
