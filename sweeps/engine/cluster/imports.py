"""The folders that workers import modules from, beside the installed packages."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any, cast

from ray.job_config import JobConfig


class ScriptJob(JobConfig):
    """A job whose workers import from the script's folder, as the driver does.

    Ray would put the driver's current folder there too, in front of all packages: whatever `optuna.py` lay in the
    folder where a person happens to stand would run.
    """

    def _serialize(self) -> str:
        # Ray calls this once it has added its own choice. A job's working_dir is on each worker's path anyway, and the
        # script lies in it.
        has_folder = cast("Any", self)._runtime_env_has_working_dir()
        self._py_driver_sys_path = [] if has_folder else script_folders()
        self._cached_pb = None
        return super()._serialize()


def script_folders() -> list[str]:
    """Return the folder of the script that Python was started with, from which it imports; nothing in a notebook.

    With `python -m a.b` it is the folder that holds the package a, unless that is where packages are installed.
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
