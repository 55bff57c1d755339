"""The FID Inception network (Heusel et al. 2017), as torch-fidelity builds it, from a local weights file.

The extra `inception` installs the package torch-fidelity. Nothing is downloaded here: the user puts the weights file
into the cache folder. The size and SHA-256 of the file are checked before it is unpickled.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wgan_core.cache import cache_folder
from wgan_core.data.dataset import to_pixels
from wgan_core.errors import UserError, one_line

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 95_628_359
"""Size of the published file, in bytes."""

PACKAGE = "torch-fidelity==0.4.0"
# torch-fidelity's names for the network and for its 2,048 pooled features, on which FID is defined.
NAME, LAYER = "inception-v3-compat", "2048"
GREY, RGB = 1, 3


class Inception(nn.Module):
    """A network from images (N, 1 or 3, H, W) in [-1, 1] to features (N, 2048)."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap torch-fidelity's network. It takes uint8 images (N, 3, H, W) and resizes them as TensorFlow 1 does."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        pixels = to_pixels(images)
        if pixels.shape[1] == GREY:
            pixels = pixels.expand(-1, RGB, -1, -1)
        (features,) = self.network(pixels)
        return features


def load_inception() -> Inception:
    """Load the network with its published weights, once per process. Raises `UserError` if it cannot be loaded."""
    return read_inception(cache_folder() / FILE, SHA256, SIZE)


@functools.cache
def read_inception(path: Path, sha256: str, size: int) -> Inception:
    """Load the network with the weights in a file, once per process.

    Args:
        path: A state dict of torch-fidelity's network, as torch.save writes it.
        sha256: SHA-256 of that file, in hexadecimal.
        size: Size of that file, in bytes.

    Raises:
        UserError: The file is missing, its size or SHA-256 differs, or torch-fidelity cannot be imported.
    """
    data = read_verified(path, sha256, size)
    network = _network_class()(NAME, [LAYER], feature_extractor_weights_path=io.BytesIO(data))
    return Inception(network).eval().requires_grad_(False)


def read_verified(path: Path, sha256: str, size: int) -> bytes:
    """Return the bytes of a regular file. Raises `UserError` unless they have this size and this SHA-256.

    torch-fidelity unpickles the weights. It gets the checked bytes instead of the path, so nobody can exchange the file
    between the check and the loading.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(
                    f"--features inception must find its weights in a regular file; {path} is none: "
                    f"remove it, and download {URL} to that path"
                )
            if status.st_size != size:
                raise UserError(
                    f"--features inception must have weights of {size:,} bytes; {path} has {status.st_size:,}: "
                    f"delete it, and download {URL} to that path"
                )
            # The file may have grown since its size was checked; one more byte then changes the SHA-256.
            data = file.read(size + 1)
    except OSError as error:
        raise UserError(
            f"--features inception must find its weights in {path}; {error.strerror}: download {URL} to that path"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise UserError(
            f"--features inception must have weights whose SHA-256 is {sha256}; {path} has {found}: "
            f"delete it, and download {URL} to that path"
        )
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file for `open`. Without O_NONBLOCK, opening a named pipe waits for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def package_version() -> str:
    """Return the version of torch-fidelity. Raises `UserError` if it cannot be imported."""
    _network_class()
    import torch_fidelity

    return str(torch_fidelity.__version__)


def _network_class() -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    # torch-fidelity imports torchvision, which raises RuntimeError if it was built for another torch.
    except Exception as error:
        raise UserError(
            f"--features inception must find the package {PACKAGE}; importing it fails: {one_line(error)}: "
            f"run pip install '{PACKAGE}', with the build of torchvision that belongs to torch {torch.__version__}"
        ) from error
    return FeatureExtractorInceptionV3
