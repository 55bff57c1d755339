"""Permissions of files on this machine: what users other than this one and root ("others") may read or change."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def belongs_to_us(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user or to root."""
    return status.st_uid in (os.geteuid(), 0)


def user_name(user: int) -> str:
    """Return the name of the user with this id, or the id if the user has no name."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def mode_lets_others_write(status: os.stat_result) -> bool:
    """Return whether a file's mode lets others write, whatever the folders above it allow."""
    return _lets_others(status, stat.S_IWGRP, stat.S_IWOTH)


def mode_lets_others_read(status: os.stat_result) -> bool:
    """Return whether a file's mode lets others read, whatever the folders above it allow."""
    return _lets_others(status, stat.S_IRGRP, stat.S_IROTH)


def others_may_read(path: Path) -> bool:
    """Return whether others may read a file."""
    return mode_lets_others_read(path.stat()) and _others_reach(path)


def others_may_write(path: Path) -> bool:
    """Return whether others may change a file, or what a folder holds."""
    return mode_lets_others_write(path.stat()) and _others_reach(path)


def others_may_replace(entry: Path) -> bool:
    """Return whether others may replace an entry of a folder. The sticky bit of the folder prevents it."""
    status = entry.parent.stat()
    return others_may_write(entry.parent) and not status.st_mode & stat.S_ISVTX


def keeps_others_out(folder: Path) -> bool:
    """Return whether others can neither change what a folder holds nor replace the folder or one above it."""
    passed = {each for path in (folder.absolute(), folder.resolve()) for each in (path, *path.parents)}
    return not others_may_write(folder) and all(
        belongs_to_us(each.lstat()) and not others_may_replace(each) for each in passed
    )


def _others_reach(path: Path) -> bool:
    """Return whether others can pass each folder above a path. A folder of another user counts as passable."""
    folders = (folder.stat() for folder in path.resolve().parents)
    return all(_lets_others(each, stat.S_IXGRP, stat.S_IXOTH) or not belongs_to_us(each) for each in folders)


def _lets_others(status: os.stat_result, group: int, other: int) -> bool:
    return bool(status.st_mode & other) or (bool(status.st_mode & group) and not _is_group_of_one(status))


def _is_group_of_one(status: os.stat_result) -> bool:
    """Return whether the group has the user's name and no other member. Many systems create such a group per user."""
    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return False
    others = (each.pw_name for each in pwd.getpwall() if each.pw_gid == status.st_gid)
    return group.gr_name == user and {*group.gr_mem, *others} <= {user}
