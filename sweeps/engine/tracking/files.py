"""A trial's sample grids and its exported generator as MLflow keeps them.

Both may be written again and again: an image has a name made from its run, key and step, a model is
looked up by its run and by the end that it belongs to.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweeps.engine.tracking.store import Point, Store, join_model
from wgan_core.data.folder import Folder
from wgan_core.data.image_files import open_png
from wgan_core.sampling.generator import DESCRIPTION, WEIGHTS

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_SIDE = 256


@dataclass(frozen=True)
class Sample:
    """A sample grid: its key in MLflow's image charts, step, time in milliseconds, and the image large and small."""

    key: str
    step: int
    timestamp_ms: int
    png: bytes
    webp: bytes


@dataclass(frozen=True)
class Export:
    """A trial's generator: the folder of its files, and what is said of it; `mark` tells one end from another."""

    folder: Folder
    mark: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    step: int
    score: Point | None


def log_samples(store: Store, run_id: str, samples: Sequence[Sample]) -> None:
    """Write sample grids to a run, byte for byte, so that MLflow's image charts show them.

    `MlflowClient.log_image` gives every file a random name, so an image logged again would be there
    twice; this writes the two files that it writes, the PNG and a small WebP for the grid, under its
    naming scheme.
    """
    if not samples:
        return
    with TemporaryDirectory() as folder:
        for sample in samples:
            identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{run_id}/{sample.key}/{sample.step}")
            key = sample.key.replace("/", "~")
            name = f"{key}+step+{sample.step}+timestamp+{sample.timestamp_ms}+{identity}"
            Path(folder, f"{name}+compressed.webp").write_bytes(sample.webp)
            Path(folder, f"{name}.png").write_bytes(sample.png)
        store.client.log_artifacts(run_id, folder, "images")
    store.log(run_id, tags={"mlflow.loggedImages": "True"})


def thumbnail(png: bytes, side: int = _SIDE) -> bytes | None:
    """The image as WebP, at most `side` pixels wide and high, never enlarged; None if it is not a whole image."""
    return _small(png, side, "WEBP", lossless=True)


def small_png(png: bytes, side: int) -> bytes | None:
    """As `thumbnail`, as PNG."""
    return _small(png, side, "PNG")


def _small(png: bytes, side: int, kind: str, **options: bool) -> bytes | None:
    small = open_png(png)
    if small is None:
        return None
    small.thumbnail((side, side))
    written = io.BytesIO()
    small.save(written, kind, **options)
    return written.getvalue()


def log_model(store: Store, run_id: str, export: Export) -> tuple[str, str]:
    """Make the generator a model of the run. A model that an earlier end of the same trial left is replaced.

    Returns:
        The model's id and URI.

    Raises:
        FileNotFoundError: one of the generator's files is not there. No other file of the folder is sent.
    """
    client = store.client
    with TemporaryDirectory() as folder:
        for name in (WEIGHTS, DESCRIPTION):
            Path(folder, name).write_bytes(export.folder.read(name))
        model = _model(store, run_id, export)
        client.log_model_artifacts(model.model_id, folder)
    join_model(client, run_id, model.model_id, export.step)
    if export.score is not None:
        key, value, timestamp_ms, step = export.score
        client.log_metric(run_id, key, value, timestamp_ms, step, synchronous=True, model_id=model.model_id)
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id, f"models:/{model.model_id}"


def _model(store: Store, run_id: str, export: Export) -> LoggedModel:
    """The run's model for this end, found or made."""
    client = store.client
    for found in client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'"):
        if found.tags.get("trial.end") == export.mark:
            return found
        if "trial.end" in found.tags:  # ours, of an end that was taken back
            client.delete_logged_model(found.model_id)
    return client.create_logged_model(
        store.experiment_id,
        name=export.name,
        source_run_id=run_id,
        params=export.params,
        tags={**export.tags, "trial.end": export.mark},
        model_type="generator",
    )
