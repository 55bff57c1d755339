"""Files that several write at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
