"""A trial's sample grids and generator as MLflow artifacts.

Both may be written repeatedly. The name of an image follows from its run, key and step. A model is found by its run and
by the trial's end that it belongs to.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweeps.engine.tracking.store import StoredSweep
from wgan_core.data.folder import Folder
from wgan_core.data.image_files import open_png
from wgan_core.sampling.generator import DESCRIPTION, WEIGHTS

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

END = "trial.end"
"""Tag of a trial's model: the `EndRecord.mark` of the end that it belongs to."""

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

    @classmethod
    def of(cls, png: bytes, key: str, step: int, timestamp_ms: int, side: int = _SIDE) -> Sample | None:
        """Add a thumbnail of at most `side` pixels in width and height. Return None for a broken image."""
        webp = shrunk(png, side, "WEBP", lossless=True)
        return None if webp is None else cls(key, step, timestamp_ms, png, webp)


def log_samples(stored: StoredSweep, run_id: str, samples: Iterable[Sample | None]) -> None:
    """Write sample grids to a run, byte for byte, so that MLflow's image charts show them. Skip each None.

    `MlflowClient.log_image` gives every file a random name, so a repeated upload would double the image. This function
    writes the same two files, a PNG and a small WebP, under the same naming scheme but with a fixed name.
    """
    files: dict[str, bytes] = {}
    for sample in filter(None, samples):
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{run_id}/{sample.key}/{sample.step}")
        key = sample.key.replace("/", "~")
        name = f"{key}+step+{sample.step}+timestamp+{sample.timestamp_ms}+{identity}"
        files |= {f"{name}+compressed.webp": sample.webp, f"{name}.png": sample.png}
    if files:
        stored.put(run_id, files, "images")
        stored.log(run_id, tags={"mlflow.loggedImages": "True"})


def shrunk(png: bytes, side: int, kind: str, **options: bool) -> bytes | None:
    """Return an image as a file of this kind, at most `side` pixels wide and high; None for a broken image."""
    small = open_png(png)
    if small is None:
        return None
    small.thumbnail((side, side))
    written = io.BytesIO()
    small.save(written, kind, **options)
    return written.getvalue()


def log_generator(
    stored: StoredSweep, run_id: str, folder: Folder, name: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> LoggedModel:
    """Upload a generator as a model of the run, which is not ready yet. Replace the model of an earlier end.

    Only the generator's weights and description are uploaded, no other file of the folder.

    Args:
        stored: The sweep in MLflow.
        run_id: Id of the trial's run.
        folder: Folder of the generator.
        name: Name of the model.
        params: Params of the model.
        tags: Tags of the model, among them `END`.

    Raises:
        FileNotFoundError: One of the generator's files is missing.
    """
    with TemporaryDirectory() as local:
        for file in (WEIGHTS, DESCRIPTION):
            Path(local, file).write_bytes(folder.read(file))
        earlier = [each for each in stored.models(run_id) if END in each.tags]
        model = next((each for each in earlier if each.tags[END] == tags[END]), None)
        for each in earlier:
            if each is not model:
                stored.client.delete_logged_model(each.model_id)
        model = model or stored.create_model(run_id, name, params, tags)
        stored.client.log_model_artifacts(model.model_id, local)
        return model
