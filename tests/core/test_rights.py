"""Who else may read or write: the group of a file."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from wgan_core.rights import mode_lets_others_read

ENTRY = pwd.getpwuid(os.getuid())


@pytest.mark.parametrize(
    ("members", "primary", "is_open"), [([], [], False), (["eve"], [], True), ([], ["eve"], True)], ids=str
)
def test_a_group_is_ones_own_only_without_other_members(
    members: list[str], primary: list[str], is_open: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members may be listed in the group, or have it as their primary group."""
    file = tmp_path / "token"
    file.write_text("x")
    file.chmod(0o640)
    gid = file.stat().st_gid
    group = grp.struct_group((ENTRY.pw_name, "x", gid, members))
    users = [pwd.struct_passwd((name, "x", 4000, gid, "", "/", "/bin/sh")) for name in primary]
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    monkeypatch.setattr(pwd, "getpwall", lambda: [ENTRY, *users])
    assert mode_lets_others_read(file.stat()) is is_open
