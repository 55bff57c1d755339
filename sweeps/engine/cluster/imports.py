"""Folders from which workers import modules, besides the installed packages."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any, cast

from ray.job_config import JobConfig


class ScriptJob(JobConfig):
    """A Ray job whose workers import from the script's folder, as the driver does.

    Ray would also put the driver's current folder before all packages. Then a file `optuna.py` in the folder where the
    user starts a sweep would run instead of Optuna.
    """

    def _serialize(self) -> str:
        # Ray calls this after it has added its own folders. If the job has a working_dir, the script lies in it, and
        # Ray puts it on each worker's path by itself.
        has_folder = cast("Any", self)._runtime_env_has_working_dir()
        self._py_driver_sys_path = [] if has_folder else script_folders()
        self._cached_pb = None
        return super()._serialize()


def script_folders() -> list[str]:
    """Return the folder from which the started script imports, in a list; an empty list in a notebook.

    For `python -m a.b` it is the folder that holds the package a. The list is empty if Python does not import from
    that folder, or if it holds the installed packages.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if not file:
        return []
    spec = getattr(main, "__spec__", None)
    folder = Path(file).resolve().parents[0 if spec is None else spec.name.count(".")]
    searched = {Path(each).resolve() for each in sys.path}
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return [str(folder)] if folder in searched - installed else []
