"""Data sets in memory, and the conversion between stored values and network inputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.coding import Coding
from wgan_core.data.limits import CATEGORIES
from wgan_core.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

HALF_RANGE = 127.5


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        values: Images, uint8 (N, C, H, W) in [0, 255]; points or table rows, float32 (N, D); or sequences, float32
            (N, C, L). Loaders standardise numeric columns and sequences. The array is C-contiguous.
        labels: The class of each sample, int64 (N,); its standardised conditions, float32 (N, K); or None without both.
    """

    values: NDArray[Any]
    labels: NDArray[Any] | None

    def __post_init__(self) -> None:
        if not self.values.flags.c_contiguous:
            raise ValueError("the values of a split must be C-contiguous; use numpy.ascontiguousarray")
        floats = np.issubdtype(self.values.dtype, np.floating)
        if not floats and self.values.dtype != np.uint8:
            raise UserError(
                f"the values of a split must be uint8 pixels or floats; given {self.values.dtype}: convert them"
            )
        if floats and not np.isfinite(self.values).all():
            where = np.unravel_index(np.argmin(np.isfinite(self.values)), self.values.shape)
            raise UserError(
                f"the values of a split must be finite; sample {where[0]} has {self.values[where]}: fill or drop it"
            )
        if self.labels is not None and self.labels.shape[:1] != self.values.shape[:1]:
            raise ValueError(f"a split of {len(self.values)} samples has labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Dataset:
    """A data set with three disjoint splits.

    A trial trains on `train`. A sweep selects trials by their scores on `validation`, and reports `test` once.

    Attributes:
        name: The data's name, which is part of a metric's protocol.
        digest: SHA-256 in hexadecimal of the values, labels, shapes and types of all splits.
        coding: The columns behind a sample's entries, for tables and sequences; None for other data.
        notice: What a sweep says of the data when it starts, such as the number of copies; "" for nothing.
        overlapping: Whether samples of a split are windows that share steps. A test of independent samples is then
            invalid.
        conditions: The numeric columns that the labels of the splits code; None if they are classes, or if there are
            none.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    digest: str
    coding: Coding | None = None
    notice: str = ""
    overlapping: bool = False
    conditions: Coding | None = None

    def __post_init__(self) -> None:
        if self.coding is not None:
            self.coding.check_size(self.name)

    @classmethod
    def of(
        cls,
        name: str,
        train: Split,
        validation: Split,
        test: Split,
        coding: Coding | None = None,
        notice: str = "",
    ) -> Dataset:
        """Build a data set and compute its digest."""
        return cls(name, train, validation, test, content_digest(train, validation, test), coding, notice)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) for images, (D,) for a table, (C, L) for sequences."""
        return tuple(self.train.values.shape[1:])


def content_digest(*splits: Split) -> str:
    """Return the SHA-256, in hexadecimal, of the content of the splits, in order."""
    sha = hashlib.sha256()
    for split in splits:
        for array in (split.values, split.labels):
            # Without the header, different arrays could give the same sequence of bytes.
            sha.update(b"none;" if array is None else f"{array.dtype.str}{array.shape};".encode())
            if array is not None:
                sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def to_model(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert stored values to network inputs: uint8 pixels [0, 255] become [-1, 1], floats are only cast.

    Raises:
        TypeError: The values have another type, so their range is unknown.
    """
    import torch

    if values.dtype == torch.uint8:
        return values.to(dtype).div_(HALF_RANGE).sub_(1.0)
    if values.is_floating_point():
        return values.to(dtype)
    raise TypeError(f"stored values are uint8 pixels or floats; given {values.dtype}")


def to_pixels(samples: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8 pixels in [0, 255], rounded and clipped; the inverse of `to_model`."""
    scaled = samples.detach().add(1.0).mul_(HALF_RANGE).round_()
    return scaled.nan_to_num_(nan=0.0, posinf=255.0, neginf=0.0).clamp_(0, 255).byte()


def count_classes(dataset: Dataset) -> int:
    """Return the number of classes in the training labels, which must be 0, 1, ..., n - 1.

    Raises:
        UserError: A split has no labels, or a held-out label is not in the training split. Or the training labels have
            more than `CATEGORIES` classes, or are not numbered from 0.
    """
    labels = dataset.train.labels
    if labels is None:
        raise UserError(
            f"a conditional GAN needs the class of each sample; {dataset.name} has no column 'label': add one of whole "
            "numbers from 0 on"
        )
    found = np.unique(labels)
    if len(found) > CATEGORIES:
        raise UserError(
            f"a label must have at most {CATEGORIES:,} classes, each of which is an input of the networks; "
            f"{dataset.name} has {len(found):,}: take a script that is not conditional, or drop rows"
        )
    if not np.array_equal(found, np.arange(len(found))):
        raise UserError(
            f"the labels of the training split must be 0 to one less than there are classes; {dataset.name} has "
            f"{', '.join(map(str, found[:10]))}{', ...' if len(found) > 10 else ''}: number the classes anew"
        )
    for name, split in (("validation", dataset.validation), ("test", dataset.test)):
        if split.labels is None:
            raise UserError(
                f"each split must have labels if the training split has; the {name} split of {dataset.name} has none: "
                "add the column 'label' to its files"
            )
        unseen = np.setdiff1d(split.labels, found)
        if unseen.size:
            raise UserError(
                f"each label of the {name} split must be in the training split; of {dataset.name}, {unseen[0]} is not: "
                "drop its rows, or train on some"
            )
    return len(found)
