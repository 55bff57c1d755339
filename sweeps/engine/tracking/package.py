"""A generator packaged as an MLflow model, which MLflow loads and serves without this package and without pickles."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sweeps.engine.tracking import served
from wgan_core.config import Structure
from wgan_core.data.folder import Folder
from wgan_core.sampling.generator import program, write_generator
from wgan_core.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

BEST, PROTOCOL = "best.json", "protocol.json"
# MLflow copies the folder of data below `data` and looks there for a program with this name.
_DATA, _PROGRAM = "program", "model.pt2"
# The module's name on the serving machine. It shows in tracebacks there.
_SERVED = "served_generator"


def write_package(
    target: Path, checkpoint: Checkpoint, best: dict[str, Any], protocol: dict[str, Any], model_id: str, run_id: str
) -> None:
    """Write a generator as an MLflow model with two flavours, and add the files that `sweeps export` writes.

    The flavour `pytorch` loads the `torch.export` program itself. The flavour `python_function` maps arrays to arrays.

    Args:
        target: Folder of the model, which must not exist yet.
        checkpoint: Checkpoint of the generator.
        best: Content of `best.json`.
        protocol: Content of `protocol.json`.
        model_id: Id of the MLflow model.
        run_id: Id of the trial's run.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    # By default, MLflow copies uv.lock and pyproject.toml of the current folder into the model. They may be unrelated.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    model = Model(model_id=model_id, run_id=run_id)
    model.add_flavor("pytorch", model_data=f"data/{_DATA}", pytorch_version=str(torch.__version__), code=None)
    structure = checkpoint.structure
    with TemporaryDirectory() as scratch:
        data, code = Path(scratch, _DATA), Path(scratch, f"{_SERVED}.py")
        data.mkdir()
        (data / _PROGRAM).write_bytes(program(checkpoint))
        shutil.copyfile(served.__file__, code)
        pyfunc.save_model(
            str(target),
            loader_module=_SERVED,
            data_path=str(data),
            code_paths=[str(code)],
            mlflow_model=model,
            signature=_signature(structure),
            input_example=_example(structure),
            pip_requirements=_requirements(),
        )
    folder = Folder.at(target)
    write_generator(folder, checkpoint)
    folder.write(BEST, json.dumps(best, indent=1).encode())
    folder.write(PROTOCOL, json.dumps(protocol, indent=1).encode())


def _signature(structure: Structure) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    floats = np.dtype(structure.dtype)
    noise, samples = (-1, structure.z_length), (-1, *structure.sample_shape)
    # Callers pass a single unnamed input as an array, and several named inputs as a dict.
    inputs: list[ColSpec | TensorSpec] = [TensorSpec(floats, noise, "z" if structure.is_conditional else None)]
    if structure.classes:
        inputs.append(TensorSpec(np.dtype("int64"), (-1,), "labels"))
    if structure.conditions is not None:
        inputs.append(TensorSpec(np.dtype("float64"), (-1, structure.code_length), "conditions"))
    return ModelSignature(Schema(inputs), Schema([TensorSpec(floats, samples)]))


def _example(structure: Structure) -> np.ndarray | dict[str, np.ndarray]:
    """Return inputs for two samples."""
    z = np.random.default_rng(0).standard_normal((2, structure.z_length)).astype(structure.dtype)
    if structure.conditions is not None:
        means = [column.mean for column in structure.conditions.columns]
        return {"z": z, "conditions": np.array([means] * 2, dtype="float64")}
    return {"z": z, "labels": np.arange(2) % structure.classes} if structure.classes else z


def _requirements() -> list[str]:
    """Return pip requirements. A `torch.export` program needs the torch version that wrote it, or a later one."""
    import mlflow

    written = (("torch", torch.__version__, 3), ("mlflow", mlflow.__version__, 4))
    return [f"{name}>={'.'.join(version.split('.')[:2])},<{below}" for name, version, below in written]
