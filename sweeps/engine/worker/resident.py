"""Training data of a process, which it keeps between cohorts."""

from __future__ import annotations

import warnings

import torch

from wgan_core.data import Split
from wgan_core.training.data import TrainingData

_resident: dict[tuple[str, str], TrainingData] = {}


def resident(split: Split, digest: str, device: torch.device) -> TrainingData:
    """Return the training data on a device: on the CPU Ray's shared copy of the node, on a GPU one copy per process."""
    key = (digest, str(device))
    if key not in _resident:
        _resident.clear()
        with warnings.catch_warnings():
            # Torch warns that shared memory is read-only. The warning is moot: nothing here writes to the data.
            warnings.simplefilter("ignore", UserWarning)
            labels = None if split.labels is None else torch.from_numpy(split.labels).to(device)
            _resident[key] = TrainingData(torch.from_numpy(split.values).to(device), labels)
    return _resident[key]
