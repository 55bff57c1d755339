"""Surroundings for the product's own processes, and image tables small enough to train on in a second."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from tests.sweeps.clusters import Head, head
from tests.sweeps.processes import Surroundings
from wgan_core.config import Structure
from wgan_core.data.mnist import load_mnist

SIDE = 12


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """Where the processes of a module run; whatever they left running is ended after it."""
    around = Surroundings(tmp_path_factory.mktemp("home"))
    yield around
    around.close()


@pytest.fixture(scope="session")
def shared_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray of two CPUs that runs as long as the tests do; its jobs find this interpreter as `python`."""
    around = Surroundings(tmp_path_factory.mktemp("cluster"))
    try:
        yield head(around, "--num-cpus", "2", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    finally:
        around.close()


@pytest.fixture(scope="module")
def joined(shared_ray: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """As `surroundings`, for tests of something else than how Ray is started: their sweeps join one that runs."""
    around = Surroundings(tmp_path_factory.mktemp("home"), shared_ray.env)
    yield around
    around.close()


@pytest.fixture(scope="session")
def _mnist() -> None:
    """MNIST is in the cache, so that no time limit of a test includes fetching it."""
    load_mnist()


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of 400 grey images, 12 pixels square: blobs, each around a centre of its own."""
    return write_images(tmp_path_factory.mktemp("data") / "blobs.parquet", blobs(400, seed=0))


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `small_data`, with the same name and other images."""
    return write_images(tmp_path_factory.mktemp("other") / "blobs.parquet", blobs(400, seed=1))


def blobs(count: int, seed: int, side: int = SIDE) -> list[np.ndarray]:
    """Grey images, each a spot around a centre of its own."""
    centres = np.random.default_rng(seed).uniform(2, side - 3, (count, 2))
    rows, columns = np.mgrid[:side, :side]
    distances = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return list((255 * np.exp(-distances / 4)).astype(np.uint8))


def write_images(path: Path, images: Sequence[np.ndarray], column: str = "image") -> Path:
    """A table of images in the Hugging Face layout."""
    pq.write_table(pa.table({column: [{"bytes": _png(image), "path": None} for image in images]}), path)
    return path


def _png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """A plan of 12 trials of 90 critic updates; any field may be given."""

    def made(**change: Any) -> Plan:
        fields: dict[str, Any] = {
            "id": "1d",
            "name": "sweep",
            "trials": 12,
            "budget": 90,
            "seed": 0,
            "objective": "eval/a",
            "structure": Structure("mlp", (1, 8, 8)),
            "space": WGAN_GP,
            "data": "data",
            "data_digest": "digest",
            "protocol": {"sample_size": 1000},
            "floors": {"eval/a": 0.5, "eval/b": 1.0},
        }
        return Plan(**{**fields, **change})

    return made
