"""What a sweep left in its storage, its search and MLflow, read with their own clients, to be compared with another."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

from sweeps.engine.plan.plan import read_plan
from sweeps.engine.storage.spool import Spool
from wgan_core.data.folder import Folder

OBJECTIVE = "eval/sliced_wasserstein"
# What says when, by whom or where a run was made: a sweep's id, name and parent run among it.
_OWN_TAGS = re.compile(r"sweep\.(id|name)|mlflow\.(parentRunId|user|source\.\w+|runName)")


@dataclass(frozen=True)
class Stored:
    """The sweep `name` below `storage`; its search and its runs are there too, unless they are on servers."""

    storage: Path
    name: str
    study_url: str = ""
    tracking_uri: str = ""

    @property
    def folder(self) -> Path:
        return self.storage / self.name

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        plan = read_plan(Folder.at(self.folder))
        assert plan is not None
        url = self.study_url or f"sqlite:///{self.folder}/study.db"
        return optuna.load_study(study_name=plan.study_name, storage=url).get_trials()

    def search(self) -> list[tuple[str, dict[str, Any], dict[int, float]]]:
        """State, parameters and reported values of each trial."""
        return [(trial.state.name, trial.params, trial.intermediate_values) for trial in self.trials()]

    def faults(self) -> list[int]:
        """How often each trial's process died while it trained alone."""
        return [trial.user_attrs.get("death", {}).get("faults", 0) for trial in self.trials()]

    def reports(self, number: int) -> int:
        return len(self.steps(number))

    def steps(self, number: int) -> list[int]:
        """The critic updates after which the trial's records were written."""
        return [int(name[:9]) for name in self.spool(number).segments() if re.fullmatch(r"\d{9}\.json", name)]

    def spool(self, number: int) -> Spool:
        return Spool(self.trial(number))

    def trial(self, number: int) -> Folder:
        return Folder.at(self.folder / "trials" / str(number))

    def states(self) -> dict[str, str]:
        """SHA-256 of every checkpoint's state, by its path."""
        files = sorted(self.folder.glob("trials/*/checkpoints/*/state.safetensors"))
        return {str(f.relative_to(self.folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def runs(self) -> dict[str | None, Run]:
        """MLflow's runs by trial number, of which none may be double; the sweep's own by None."""
        client, experiment = self._client()
        runs = client.search_runs([experiment])
        found = {run.data.tags.get("trial.number"): run for run in runs}
        assert len(found) == len(runs), "a trial has two runs"
        return found

    def curves(self) -> dict[int, dict[int, float]]:
        """The objective's curve by trial, each point once."""
        client, _ = self._client()
        return {
            int(number): _curve(client, stored.info.run_id, OBJECTIVE)
            for number, stored in self.runs().items()
            if number is not None
        }

    def logged(self) -> dict[int, dict[str, Any]]:
        """All that MLflow's client gives of each trial but times and what names the sweep itself."""
        client, _ = self._client()
        return {int(number): self._logged(client, run) for number, run in self.runs().items() if number is not None}

    def _logged(self, client: MlflowClient, run: Run) -> dict[str, Any]:
        keys = sorted(run.data.metrics)
        tags = {key: value for key, value in run.data.tags.items() if not _OWN_TAGS.fullmatch(key)}
        (model,) = run.outputs.model_outputs
        return {
            "status": run.info.status,
            "params": run.data.params,
            # A path without what stands before the sweep's own part of it, which depends on where it is seen from.
            "tags": {key: value.partition(f"/{self.name}/trials/")[2] or value for key, value in tags.items()},
            "metrics": {key: _curve(client, run.info.run_id, key) for key in keys if key != "train/seconds"},
            "timed": sorted(_curve(client, run.info.run_id, "train/seconds")),
            "images": self._images(run.info.run_id),
            "model": self._artifacts(client.get_logged_model(model.model_id).artifact_location),
        }

    def _images(self, run_id: str) -> dict[str, str]:
        """By key and step: their names go on with a time and an id."""
        files = self._artifacts(f"runs:/{run_id}/images")
        found = {re.sub(r"\+timestamp\+\d+\+[0-9a-f-]+", "", name): digest for name, digest in files.items()}
        assert len(found) == len(files), f"run {run_id} has an image twice"
        return found

    def _artifacts(self, uri: str) -> dict[str, str]:
        """SHA-256 of each file, by its path."""
        with tempfile.TemporaryDirectory() as folder:
            download_artifacts(uri, dst_path=folder, tracking_uri=self._uri)
            files = [file for file in Path(folder).rglob("*") if file.is_file()]
            return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    @property
    def _uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.storage}/mlflow.db"

    def _client(self) -> tuple[MlflowClient, str]:
        client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        experiment = client.get_experiment_by_name(self.name)
        assert experiment is not None
        return client, str(experiment.experiment_id)


def _curve(client: MlflowClient, run_id: str, key: str) -> dict[int, float]:
    points = client.get_metric_history(run_id, key)
    found = {point.step: point.value for point in points}
    assert len(found) == len(points), f"{key} of run {run_id} has a point twice"
    return found
