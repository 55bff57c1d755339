"""Code that a promoted model carries to the serving machine, where this package need not be installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class Generator:
    """A generator as `mlflow.pyfunc` calls it. It turns noise, and labels or conditions, into samples."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def predict(
        self, data: np.ndarray | Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Return samples.

        Args:
            data: Noise z from N(0, 1), shape (N, z_length). If the generator has classes, a mapping of `z` to the
                noise and of `labels` to int64 classes, shape (N,). If it has conditions, `conditions` hold their values
                in the data's own units, shape (N, C).
            params: Unused; MLflow passes it.

        Returns:
            Samples, shape (N, *sample_shape).
        """
        import numpy as np
        import torch

        inputs = [data]
        if isinstance(data, Mapping):
            inputs = [data["z"], data["labels" if "labels" in data else "conditions"]]
        with torch.no_grad():
            return self._module(*(torch.from_numpy(np.array(each)) for each in inputs)).numpy()


def _load_pyfunc(path: str) -> Generator:
    """Load the generator for `mlflow.pyfunc.load_model`.

    Use MLflow's own loader: if pickles are not allowed, it checks the program before torch opens it.

    Args:
        path: The folder `data/program` inside the model's folder.
    """
    import mlflow.pytorch

    return Generator(mlflow.pytorch.load_model(str(Path(path).parents[1])))
