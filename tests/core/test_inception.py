"""`--features inception`: verified weights, the pixels that the network sees, and one line where something is missing.

torch-fidelity cannot be imported beside torch's CPU build, so a package of the same interface stands in for it.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.errors import UserError
from wgan_core.metrics import inception
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.features import load_features
from wgan_core.metrics.inception import read_inception, read_verified

# As torch-fidelity 0.4.0: the weights are a path or a file, uint8 images of three channels come in, a tuple goes out.
STAND_IN = """
import torch

class FeatureExtractorInceptionV3(torch.nn.Module):
    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        self.name, self.features_list = name, features_list
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.ndim == 4 and x.shape[1] == 3
        return (x.flatten(1).float() * self.scale,)
"""
NETWORK = "torch_fidelity.feature_extractor_inceptionv3"


def provide(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> None:
    """Make `torch_fidelity` a package with this network module."""
    import_module("torchmetrics.image.fid")  # before, as it imports torch-fidelity where it finds that
    package = folder / "torch_fidelity"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0.4.0"\n')
    (package / "feature_extractor_inceptionv3.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    for name in ("torch_fidelity", NETWORK):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    provide(monkeypatch, tmp_path, STAND_IN)
    yield
    for name in ("torch_fidelity", NETWORK):
        sys.modules.pop(name, None)


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, str, int]:
    """A weights file in a cache folder, its SHA-256, and its size."""
    path = tmp_path / "cache" / inception.FILE
    path.parent.mkdir()
    torch.save({"scale": torch.tensor(2.0)}, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size


def message_of(path: Path, sha256: str, size: int) -> str:
    with pytest.raises(UserError) as caught:
        read_inception(path, sha256, size)
    message = str(caught.value)
    assert message.startswith("--features inception must")
    assert "\n" not in message
    return message


def test_the_file_is_the_one_that_its_name_says() -> None:
    assert f"-{inception.SHA256[:8]}.pth" in inception.FILE
    assert inception.URL.endswith(f"/{inception.FILE}")
    assert len(bytes.fromhex(inception.SHA256)) == 32


def test_a_missing_or_other_file_is_refused_before_the_package_is_looked_for(
    weights: tuple[Path, str, int], tmp_path: Path
) -> None:
    path, sha256, size = weights
    message = message_of(tmp_path / inception.FILE, sha256, size)
    assert f"in {tmp_path / inception.FILE}; No such file or directory: download {inception.URL} to" in message
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    message = message_of(path, sha256, size)
    assert f"{sha256}; {path} has {hashlib.sha256(path.read_bytes()).hexdigest()}: delete it" in message
    assert inception.URL in message


def test_only_a_regular_file_of_the_published_size_is_read(weights: tuple[Path, str, int], tmp_path: Path) -> None:
    """Reading a pipe waits for ever; a device and a sparse file fill the memory."""
    path, sha256, size = weights
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        message = message_of(tmp_path / name, sha256, size)
        assert f"in a regular file; {tmp_path / name} is none: remove it, and download {inception.URL} to" in message
    assert "Is a directory: download" in message_of(tmp_path, sha256, size)
    (tmp_path / "link").symlink_to(path)
    assert read_verified(tmp_path / "link", sha256, size) == path.read_bytes()
    os.truncate(path, 1 << 40)
    message = message_of(path, sha256, size)
    assert f"weights of {size:,} bytes; {path} has 1,099,511,627,776: delete it, and download" in message


@pytest.mark.usefixtures("package")
def test_the_network_loads_the_bytes_that_were_checked(
    weights: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sha256, size = weights

    def read_and_exchange(path: Path, sha256: str, size: int) -> bytes:
        data = read_verified(path, sha256, size)
        torch.save({"scale": torch.tensor(3.0)}, path)
        return data

    monkeypatch.setattr(inception, "read_verified", read_and_exchange)
    made = read_inception(path, sha256, size)
    assert float(made.network.scale) == 2
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert read_inception(path, sha256, size) is made


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_the_stored_pixels_in_three_channels(channels: int, weights: tuple[Path, str, int]) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 2, 2).repeat(1, channels, 1, 1)
    found = read_inception(*weights)(to_model(pixels, torch.float32))
    assert torch.equal(found, 2 * pixels.repeat(1, 3 // channels, 1, 1).flatten(1).float())


@pytest.mark.usefixtures("package")
def test_an_evaluator_measures_on_it_under_a_name_with_the_hash_of_the_weights(
    weights: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sha256, size = weights
    monkeypatch.setenv("WGAN_DATA", str(path.parent))
    monkeypatch.setattr(inception, "SHA256", sha256)
    monkeypatch.setattr(inception, "SIZE", size)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 1, 4, 4), np.uint8)
    evaluator = Evaluator.build(
        Dataset.of("images:t", *(Split(part, None) for part in np.split(pixels, 3))), features="inception"
    )
    label = f"inception_{sha256[:8]}"
    assert evaluator.names[:2] == (f"eval/fid_{label}", f"eval/kid_{label}")
    stated = evaluator.protocol["metrics"][f"eval/fid_{label}"]
    assert (stated["weights_sha256"], stated["torch_fidelity"]) == (sha256, "0.4.0")
    with pytest.raises(UserError, match=r"1 or 3 channels; the data has 2"):
        load_features("inception", torch.zeros(5, 2, 4, 4))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError: operator torchvision::nms"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named(
    source: str, why: str, weights: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provide(monkeypatch, tmp_path, source)
    message = message_of(*weights)
    assert f"the package torch-fidelity==0.4.0; importing it fails: {why}" in message
    assert "run pip install 'torch-fidelity==0.4.0'" in message
    sys.modules.pop("torch_fidelity", None)
