"""The code that a promoted model brings along to where it is served, where this package need not be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class Generator:
    """What `mlflow.pyfunc` calls: noise, and labels where the generator is told classes, to samples."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def predict(
        self, data: np.ndarray | Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Samples (N, ...) from z (N, Z), drawn from N(0, 1); from `{"z": z, "labels": int64 (N,)}` of classes."""
        import numpy as np
        import torch

        inputs = [data["z"], data["labels"]] if isinstance(data, Mapping) else [data]
        with torch.no_grad():
            return self._module(*(torch.from_numpy(np.array(each)) for each in inputs)).numpy()


def _load_pyfunc(path: str) -> Generator:
    """What `mlflow.pyfunc.load_model` asks for; `path` is `data/program` in the model's folder.

    By MLflow's own loader: where pickles are not allowed it looks into the program before torch does.
    """
    import mlflow.pytorch

    return Generator(mlflow.pytorch.load_model(str(Path(path).parents[1])))
