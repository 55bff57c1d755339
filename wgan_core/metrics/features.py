"""Networks that turn images into features, on which FID and KID are measured.

`--features NAME` chooses a network. It is either `inception`, the network of the literature (`metrics.inception`), or a
network that the sweep's script registers with `register_features`. MNIST also has the shipped digit classifier.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wgan_core.errors import UserError, one_line
from wgan_core.metrics import inception
from wgan_core.metrics.digits import BATCH, digit_features, digits_label, weights_hash
from wgan_core.metrics.register import FACTORIES, INCEPTION, REGISTER, check_features

# FID takes the eigenvalues of a D x D matrix. At D = 4,096 that is most of a minute for each score.
MOST_FEATURES = 4096
FEW = 3
# Largest difference between an image's features in two batch sizes, relative to the largest feature. Another batch size
# rounds sums differently; batch normalisation in training mode changes features by far more.
BATCH_TOLERANCE = 1e-3
# With a fixed seed, a factory that draws its weights makes the same network at each start of a sweep.
SEED = 0
# Inception's first activations take about 10 MB an image, so its batches are smaller.
INCEPTION_BATCH = 25


Factory = Callable[[], nn.Module]


class Extractor(Protocol):
    """A function from images to features. It is pickled into other processes with the evaluator."""

    @property
    def label(self) -> str:
        """Return a name and a hash, such as `digits_<hash8>`, that identify the extractor in the names of metrics."""

    def features(self, values: Tensor) -> Tensor:
        """Return features float32 (N, D) on the CPU, of images (N, C, H, W) in [-1, 1]."""

    def protocol(self) -> dict[str, Any]:
        """Return all that the features depend on besides the images, as values that JSON has."""


@dataclass(frozen=True)
class DigitFeatures:
    """The shipped digit classifier."""

    @property
    def label(self) -> str:
        return digits_label()

    def features(self, values: Tensor) -> Tensor:
        return digit_features(values)

    def protocol(self) -> dict[str, Any]:
        return {"features": "digit classifier", "weights_sha256_8": weights_hash()}


@dataclass(frozen=True)
class NetworkFeatures:
    """A network in evaluation mode, on the CPU and without gradients. It is pickled with its weights.

    Attributes:
        name: The name that `--features` gives.
        digest: SHA-256, in hexadecimal, that identifies the features.
        stated: The return value of `protocol`.
        network: The network.
        batch: Largest number of images in one call of the network.
    """

    name: str
    digest: str
    stated: Mapping[str, Any]
    network: nn.Module = field(repr=False, compare=False)
    batch: int = BATCH

    @property
    def label(self) -> str:
        return f"{self.name}_{self.digest[:8]}"

    @torch.no_grad()
    def features(self, values: Tensor) -> Tensor:
        images = values.detach().to("cpu", torch.float32)
        # Equal parts avoid a last part of one image, whose batch axis many networks would squeeze away.
        parts = images.tensor_split(math.ceil(len(images) / self.batch))
        # The network gets a copy, because it may change its input in place.
        return torch.cat([self.network(part.clone()).to(torch.float32) for part in parts])

    def protocol(self) -> dict[str, Any]:
        return dict(self.stated)


def load_features(name: str, images: Tensor) -> NetworkFeatures:
    """Return the extractor that `--features` names.

    Args:
        name: A registered name, or `inception`.
        images: Real images (N, C, H, W) of the data, on which a registered network is tried.

    Raises:
        UserError: The name is unknown, the network cannot be made or loaded, or its features cannot be used.
    """
    check_features(name)
    if name == INCEPTION:
        return _inception(images.shape[1])
    extractor = _made(name, FACTORIES[name])
    many = images[torch.arange(BATCH) % len(images)]
    _check_output(_attempt(extractor, many), _attempt(extractor, many[:FEW]), name)
    if network_digest(extractor.network, FACTORIES[name]) != extractor.digest:
        raise UserError(
            f"a feature extractor must not change in forward, as several threads call it at once; {name!r} changes "
            "its attributes or buffers: keep results in local variables"
        )
    return extractor


def _inception(channels: int) -> NetworkFeatures:
    if channels not in (inception.GREY, inception.RGB):
        raise UserError(
            f"--features inception must have images of 1 or 3 channels; the data has {channels}: register a network "
            f"for it in the sweep's script with {REGISTER} of wgan_core"
        )
    network = inception.load_inception()
    stated = {
        "features": "FID Inception, 2048 pooled features",
        "weights_sha256": inception.SHA256,
        "torch_fidelity": inception.package_version(),
    }
    return NetworkFeatures(INCEPTION, inception.SHA256, stated, network, INCEPTION_BATCH)


@functools.cache
def _made(name: str, factory: Factory) -> NetworkFeatures:
    """Make a registered network once per process, so that validation and test split share one network.

    Raises:
        UserError: The factory fails, or does not return a network that can be copied.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)  # torch.manual_seed would reseed GPUs as well
            made = factory()
    # The user's factory may raise any exception.
    except Exception as error:
        raise UserError(
            f"the factory of a feature extractor must return an nn.Module; that of {name!r} fails: "
            f"{one_line(error)}: mend it"
        ) from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"the factory of a feature extractor must return an nn.Module; that of {name!r} returns "
            f"{type(made).__name__}: return the network"
        )
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in made.modules())
    if scripted or any(is_lazy(tensor) for tensor in (*made.parameters(), *made.buffers())):
        raise UserError(
            "a feature extractor must be a plain nn.Module with all its weights, to be copied to the workers; "
            f"{name!r} has {'TorchScript' if scripted else 'lazy'} layers: "
            f"{'build the network in Python and load its weights' if scripted else 'state their sizes'}"
        )
    try:
        # The script may go on training its network, so a copy is kept. A network that cannot be copied cannot be
        # pickled either.
        network = copy.deepcopy(made).to("cpu").eval().requires_grad_(False)
    except Exception as error:
        raise UserError(
            f"a feature extractor must be copied to the workers; {name!r} cannot be: {one_line(error)}: "
            "keep files, locks and the like out of its attributes"
        ) from error
    digest = network_digest(network, factory)
    return NetworkFeatures(name, digest, {"features": "registered network", "network_sha256": digest}, network)


# Digest of a network.


def network_digest(network: nn.Module, factory: Factory) -> str:
    """Return a SHA-256 that identifies the function that a network computes.

    The digest covers the types of the layers, their tensors and plain attributes. It also covers the source text of the
    factory and of the user's own classes. The same script gives the same digest at each start.
    """
    sha = hashlib.sha256()
    kinds = set()
    for path, module in network.named_modules():
        kinds.add(type(module))
        sha.update(f"{path}: {type(module).__qualname__}\n".encode())
        attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        for name, value in sorted({**attributes, **module._parameters, **module._buffers}.items()):
            if isinstance(value, Tensor):
                sha.update(f"{name}: {value.dtype} {tuple(value.shape)}\n".encode())
                sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            elif _is_plain(value):
                sha.update(f"{name}: {value!r}\n".encode())
    own = [kind for kind in kinds if not kind.__module__.startswith(("torch.", "wgan_core."))]
    for text in sorted(_text(each) for each in (*own, factory)):
        sha.update(f"{text}\n".encode())
    return sha.hexdigest()


def _is_plain(value: object) -> bool:
    """Return whether the repr of a value is the same in every process."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


def _text(made: object) -> str:
    try:
        return inspect.getsource(made)  # type: ignore[arg-type]
    except (OSError, TypeError):  # a class that was typed into a prompt has no source
        return ""


# Checks of a network's features.


def _attempt(extractor: NetworkFeatures, images: Tensor) -> Tensor:
    """Return the features (N, D) of one batch. Raises `UserError` if the network fails or returns another shape."""
    name = extractor.name
    try:
        with torch.no_grad():
            given = extractor.network(images.clone())
    # The user's network may raise any exception.
    except Exception as error:
        raise UserError(
            f"a feature extractor must take the images of the data, float32 {tuple(images.shape)}; "
            f"{name!r} fails on them: {one_line(error)}: convert or resize them in its forward"
        ) from error
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(images) or not given.is_floating_point():
        found = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise UserError(
            f"a feature extractor must give floats (N, D), a row for each image; {name!r} gives {found} for "
            f"{len(images)} images: pool or flatten them to one vector an image"
        )
    if not 1 <= given.shape[1] <= MOST_FEATURES:
        raise UserError(
            f"a feature extractor must give 1 to {MOST_FEATURES} features; {name!r} gives {given.shape[1]}: "
            "pool them to fewer, as FID takes the eigenvalues of a matrix with as many rows"
        )
    return given.to(torch.float32)


def _check_output(many: Tensor, few: Tensor, name: str) -> None:
    """Raise `UserError` unless features are finite and do not depend on the other images of the batch.

    Args:
        many: Features (250, D) of a batch.
        few: Features (3, D) of the first images of that batch, computed without the others.
        name: The extractor's name, for errors.
    """
    for features in (many, few):
        require_finite(features, name)
    first, scale = many[: len(few)], float(many.abs().max())
    if first.shape != few.shape or not torch.allclose(first, few, rtol=0, atol=BATCH_TOLERANCE * scale):
        raise UserError(
            f"a feature extractor must give each image its own features; those of {name!r} depend on the other images "
            "or on chance: leave out what normalises over the batch, or draws random numbers, in evaluation mode"
        )


def require_finite(values: Tensor, name: str) -> None:
    """Raise `UserError` if a feature of a real image, or a score on such features, is not a finite number."""
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            f"a feature extractor must give finite numbers; {name!r} gives NaN or infinity for real images: "
            "check that it takes pixels in [-1, 1], and that it computes in float32"
        )
