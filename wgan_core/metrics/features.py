"""Networks that give features of images, on which FID and KID are measured: the digit classifier, or a person's own.

One of your own is a `torch.export` program that takes images, float32 (N, C, H, W) in [-1, 1] of the shape that the
data has, and gives features (N, D) with 1 <= D <= 4096, for any N. What it was trained on, scaling to another range or
size included, is its own business. Three lines make one of a network in evaluation mode:

    example, batch = torch.zeros(2, 3, 32, 32), torch.export.Dim("batch")
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, "features.pt2")

It is read as data (`metrics.program`): nothing is unpickled, and nothing but tensor operators is run.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wgan_core.errors import UserError, one_line
from wgan_core.metrics.digits import BATCH, digit_features, digits_label, weights_hash
from wgan_core.metrics.program import Program, ProgramError

# FID takes the eigenvalues of a D x D matrix: at 4,096 that is most of a minute for each score.
MOST_FEATURES = 4096
STEM_LENGTH = 20
FEW = 3
# Sums of another batch size are rounded otherwise; batch normalisation in training mode is off by far more.
BATCH_TOLERANCE = 1e-3


class Extractor(Protocol):
    """What turns images into features. It is pickled into other processes with the evaluator."""

    @property
    def label(self) -> str:
        """Tells it apart in the names of metrics: `digits_<hash8>`, or `<stem>_<hash8>` of a person's file."""

    def features(self, values: Tensor) -> Tensor:
        """Features float32 (N, D) on the CPU, of images (N, C, H, W) in [-1, 1]."""

    def protocol(self) -> dict[str, Any]:
        """All that its features depend on besides the images; can be written as JSON."""


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
class OwnFeatures:
    """A person's exported program, as the bytes of its file; each process reads them when it first needs features.

    Attributes:
        stem: the file's name without its ending, reduced to [a-z0-9_] and at most 20 characters.
        sha256: of the file, in hexadecimal.
        data: the file.
    """

    stem: str
    sha256: str
    data: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, path: Path, data: bytes) -> OwnFeatures:
        """The content of a file, not looked at yet."""
        stem = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")[:STEM_LENGTH].rstrip("_")
        return cls(stem or "features", hashlib.sha256(data).hexdigest(), data)

    @property
    def label(self) -> str:
        return f"{self.stem}_{self.sha256[:8]}"

    def features(self, values: Tensor) -> Tensor:
        program = loaded(self)
        images = values.detach().to("cpu", torch.float32)
        # Equal parts: a program may be exported for two images or more, and what is left over may be one.
        batches = images.tensor_split(math.ceil(len(images) / BATCH))
        return torch.cat([program(batch).to(torch.float32) for batch in batches])

    def protocol(self) -> dict[str, Any]:
        return {"features": "exported program", "program_sha256": self.sha256}


@functools.cache
def loaded(features: OwnFeatures) -> Program:
    """The program, read once per process for each hash. Raises `ProgramError`."""
    return Program.parse(features.data)


def read_features(path: Path, images: Tensor) -> OwnFeatures:
    """The extractor in a file, tried on real images (N, C, H, W) of the data.

    Raises `UserError` for a file that is missing or no exported program, one that does not take these images in any
    number, and features that are not (N, D), more than 4,096, not finite, or not of each image alone.
    """
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"--features must be a file; {path}: {error.strerror}; check the path") from error
    extractor = OwnFeatures.of(path, data)
    try:
        program = loaded(extractor)
    except ProgramError as error:
        raise UserError(
            f"--features must be a torch.export program; {path} cannot be read: {error}; "
            "write it with torch.export.save, of a network made of torch's own operators"
        ) from error
    check_takes(program, tuple(images.shape[1:]), path)
    many = images[torch.arange(BATCH) % len(images)]
    check_features(attempt(program, many, path), attempt(program, many[:FEW], path), path)
    return extractor


def check_takes(program: Program, shape: tuple[int, ...], path: Path) -> None:
    """Raise `UserError` unless the program is for images of this shape (C, H, W) in any number."""
    takes = program.takes
    fits = [least <= size <= most for size, (least, most) in zip(shape, takes[1:], strict=False)]
    if len(takes) != 1 + len(shape) or not all(fits):
        stated = ", ".join(str(least) if least == most else "any" for least, most in takes)
        raise UserError(
            f"--features must take the images of the data, {('N', *shape)}; {path} takes ({stated}); "
            "export it with an example of the data's shape, and let it resize by itself"
        )
    if takes[0][0] > FEW - 1 or takes[0][1] < BATCH:
        raise UserError(
            f"--features must take any number of images; {path} takes {bounds(takes[0])}; "
            'export it with dynamic_shapes=({0: torch.export.Dim("batch")},)'
        )


def bounds(limits: tuple[float, float]) -> str:
    least, most = limits
    return f"{least}" if least == most else f"{least} to {'any' if most == math.inf else most}"


def attempt(program: Program, images: Tensor, path: Path) -> Tensor:
    """The features (N, D) of a batch. Raises `UserError` where there are none, or of another shape."""
    try:
        given = program(images)
    # An operator raises what it likes.
    except Exception as error:
        raise UserError(
            f"--features must take the images of the data, float32 {tuple(images.shape)}; "
            f"{path} fails on them: {one_line(error)}; export it with an example of that shape and type"
        ) from error
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(images) or not given.is_floating_point():
        found = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise UserError(
            f"--features must give floats (N, D), one row for each image; {path} gives {found} "
            f"for {len(images)} images; pool or flatten that to one vector an image, and export it again"
        )
    if not 1 <= given.shape[1] <= MOST_FEATURES:
        raise UserError(
            f"--features must give 1 to {MOST_FEATURES} features; {path} gives {given.shape[1]}; "
            "pool them to fewer: FID takes the eigenvalues of a matrix with as many rows"
        )
    return given.to(torch.float32)


def check_features(many: Tensor, few: Tensor, path: Path) -> None:
    """Raise `UserError` unless features (250, D) are finite, and their first rows those (3, D) of the images alone."""
    for features in (many, few):
        require_finite(features, str(path))
    first, scale = many[: len(few)], float(many.abs().max())
    if first.shape != few.shape or not torch.allclose(first, few, rtol=0, atol=BATCH_TOLERANCE * scale):
        raise UserError(
            f"--features must give each image its own features; those of {path} depend on the other images "
            "or on chance; call eval() on the network before exporting it"
        )


def require_finite(values: Tensor, whose: str) -> None:
    """Raise `UserError` if a feature of a real image, or a score on such features, is not a finite number."""
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            f"--features must give finite numbers; {whose} gives NaN or infinity for real images; "
            "check that it takes pixels in [-1, 1], and that it is not exported in half precision"
        )
