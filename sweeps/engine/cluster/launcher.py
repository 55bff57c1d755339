"""Checks of the folders on this machine whose files `ray up` and Ray's other commands for a cluster trust."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import tempfile
from contextlib import suppress
from getpass import getuser
from pathlib import Path

from wgan_core.cache import make_private_folder
from wgan_core.errors import UserError
from wgan_core.rights import keeps_others_out, mode_lets_others_write, user_name

# Ray keeps SSH connections below this folder, whatever TMPDIR says.
CONNECTIONS_BELOW = Path("/tmp")


def check_launcher(cluster_name: str) -> None:
    """Check that other users can change none of the files that Ray's launcher trusts.

    Ray reads the cluster's file from a copy in the temporary folder, whoever wrote the copy. The copy may name commands
    to run. Ray also sends the token through any SSH connection that it finds.

    Raises:
        UserError: Others may write to the temporary folder or to the folder of SSH connections.
    """
    _check_temp_folder()
    folder = connections_folder(cluster_name)
    for each in (folder.parent, folder):
        _reserve(each)


def connections_folder(cluster_name: str) -> Path:
    """Return the folder in which Ray's `SSHCommandRunner` keeps a cluster's SSH connections."""
    user, cluster = (hashlib.sha256(text.encode()).hexdigest()[:10] for text in (getuser(), cluster_name))
    return CONNECTIONS_BELOW / f"ray_ssh_{user}" / cluster


def _check_temp_folder() -> None:
    named = os.environ.get("RAY_TMPDIR")
    if named and not _is_private(Path(named)):
        raise UserError(
            f"Ray must keep the cluster's state in a folder that you alone may write to; RAY_TMPDIR names {named}, "
            "which is none: unset RAY_TMPDIR"
        )
    folder = Path(tempfile.gettempdir())
    if _is_private(folder):
        return
    try:
        own = make_private_folder("ray")
    except (OSError, RuntimeError) as error:
        remedy = f"set TMPDIR to such a folder of your own ({error})"
    else:
        remedy = f"in every terminal in which you use Ray, run export TMPDIR={shlex.quote(str(own))}"
    raise UserError(
        f"Ray must keep its copy of the cluster's file in a folder that you alone may write to; {folder} is none: "
        f"{remedy}"
    )


def _is_private(folder: Path) -> bool:
    try:
        return keeps_others_out(folder)
    except OSError:
        return False


def _reserve(folder: Path) -> None:
    """Make a folder that only this user may write to. Raise `UserError` if another one has its name."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise UserError(
            f"the folder of Ray's SSH connections must be there; {folder}: {error.strerror}: see that {folder.parent} "
            "takes folders"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or mode_lets_others_write(status):
        remove = "rm -rf" if status.st_uid == os.geteuid() else "sudo rm -rf"
        raise UserError(
            f"the folder of Ray's SSH connections must be one that you alone may write to; {folder} of "
            f"{user_name(status.st_uid)} is none: {remove} {folder}"
        )
