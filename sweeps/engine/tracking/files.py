"""A trial's sample grids and exported generator as MLflow artifacts.

Both may be written repeatedly. The name of an image follows from its run, key and step. A model is found by its run and
by the trial's end that it belongs to.
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

_SIDE = 256  # Pixels.


@dataclass(frozen=True)
class Sample:
    """A sample grid for MLflow's image charts.

    Attributes:
        key: Name of the image series.
        step: Step of the image in its series.
        timestamp_ms: Time in milliseconds since 1970.
        png: The full-size image.
        webp: The thumbnail.
    """

    key: str
    step: int
    timestamp_ms: int
    png: bytes
    webp: bytes


@dataclass(frozen=True)
class Export:
    """A trial's exported generator.

    Attributes:
        folder: Folder of the generator's files.
        mark: Identifies the trial's end that the generator belongs to (see `mark_of`).
        name: Name of the MLflow model.
        params: Params of the MLflow model.
        tags: Tags of the MLflow model.
        step: Critic updates of the checkpoint.
        score: The model's score, if there is one.
    """

    folder: Folder
    mark: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    step: int
    score: Point | None


def log_samples(store: Store, run_id: str, samples: Sequence[Sample]) -> None:
    """Write sample grids to a run, byte for byte, so that MLflow's image charts show them.

    `MlflowClient.log_image` gives every file a random name, so a repeated upload would double the image. This function
    writes the same two files, a PNG and a small WebP, under the same naming scheme but with a fixed name.
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
    """Return an image as WebP, shrunk to at most `side` pixels in width and height; None for a broken image."""
    return _small(png, side, "WEBP", lossless=True)


def small_png(png: bytes, side: int) -> bytes | None:
    """Return an image as PNG, shrunk to at most `side` pixels in width and height; None for a broken image."""
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
    """Upload the generator as a model of the run. Replace the model of an earlier end of the same trial.

    Only the generator's weights and description are uploaded, no other file of the folder.

    Returns:
        The model's id and URI.

    Raises:
        FileNotFoundError: One of the generator's files is missing.
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
    """Find or create the run's model for this end of the trial."""
    client = store.client
    for found in client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'"):
        if found.tags.get("trial.end") == export.mark:
            return found
        if "trial.end" in found.tags:  # The model belongs to an earlier end of the trial.
            client.delete_logged_model(found.model_id)
    return client.create_logged_model(
        store.experiment_id,
        name=export.name,
        source_run_id=run_id,
        params=export.params,
        tags={**export.tags, "trial.end": export.mark},
        model_type="generator",
    )
