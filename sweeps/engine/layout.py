"""Where things lie in a sweep's folder: `<storage>/<sweep>/trials/<number>/...`."""

from __future__ import annotations

from wgan_core.folder import Folder

CHECKPOINTS, SAMPLES, MODEL = "checkpoints", "samples", "model"


def sweep_folder(storage: str, name: str) -> Folder:
    return Folder.at(storage) / name


def trial_folder(sweep: Folder, number: int) -> Folder:
    return sweep / "trials" / str(number)


def sample_name(critic_updates: int) -> str:
    """The sample grid of a report step; names sort as the steps do."""
    return f"{critic_updates:09d}.png"
