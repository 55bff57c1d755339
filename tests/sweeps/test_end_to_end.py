"""One sweep of four short trials on real MNIST, run as a person runs it, and all that can be taken away from it."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, Run
from packaging.requirements import Requirement
from PIL import Image

from sweeps.engine.plan.plan import read_plan
from sweeps.engine.storage.spool import EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.study.attributes import SHOWN
from sweeps.engine.tracking import best_key
from tests.sweeps.processes import Running, Surroundings
from wgan_core.config import Trial, report_grid, trial_seed
from wgan_core.data.folder import Folder
from wgan_core.data.mnist import load_mnist
from wgan_core.kinds.images import grid_png
from wgan_core.metrics.on_features import Fid, Kid
from wgan_core.metrics.wasserstein import SLICED_NAME
from wgan_core.sampling.generator import averaged_generator, read_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import grid_z

NAME = "mnist-smoke"
TRIALS, BUDGET = 4, 45
GRID = report_grid(BUDGET, 9)
SEARCHED = ("lambda_gp", "lr", "n_critic", "beta1", "one_minus_beta2")
EVALUATED = (Fid().spec.name, Kid().spec.name, SLICED_NAME)
TRAINED = (
    "train/wasserstein_estimate",
    "train/gradient_penalty",
    "train/gradient_norm",
    "train/critic_loss",
    "train/generator_loss",
)
OBJECTIVE = EVALUATED[0]
BEST = best_key(OBJECTIVE)

pytestmark = pytest.mark.slow


@dataclass
class Finished:
    """The sweep, as it ended, and ways to read what it left."""

    storage: Path
    ran: Running

    @property
    def folder(self) -> Path:
        return self.storage / NAME

    @cached_property
    def optuna(self) -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name=None, storage=f"sqlite:///{self.folder}/study.db").get_trials()

    @cached_property
    def client(self) -> MlflowClient:
        uri = f"sqlite:///{self.storage}/mlflow.db"
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    @cached_property
    def experiment(self) -> str:
        found = self.client.get_experiment_by_name(NAME)
        assert found is not None
        return str(found.experiment_id)

    @cached_property
    def all_runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment]))

    @cached_property
    def parent(self) -> Run:
        (parent,) = [run for run in self.all_runs if "mlflow.parentRunId" not in run.data.tags]
        return parent

    @cached_property
    def runs(self) -> dict[int, Run]:
        return {int(run.data.tags["trial.number"]): run for run in self.all_runs if run is not self.parent}

    @cached_property
    def models(self) -> dict[int, LoggedModel]:
        found = self.client.search_logged_models([self.experiment])
        return {int(model.tags["trial.number"]): model for model in found}

    def trial(self, number: int) -> Folder:
        return Folder.at(self.folder / "trials" / str(number))

    def spooled(self, number: int) -> tuple[StartRecord, list[ReportRecord], EndRecord]:
        spool = Spool(self.trial(number))
        segments = [spool.read(name) for name in spool.segments()]
        (start,), (end,) = ([s for s in segments if isinstance(s, kind)] for kind in (StartRecord, EndRecord))
        return start, [s for s in segments if isinstance(s, ReportRecord)], end

    def history(self, number: int, key: str) -> dict[int, float]:
        """Values of a metric by step, of which there must be one each."""
        points = self.client.get_metric_history(self.runs[number].info.run_id, key)
        found = {point.step: point.value for point in points}
        assert len(found) == len(points), f"{key} of trial {number} has two points at a step"
        return dict(sorted(found.items()))

    def best_checkpoint(self, number: int) -> checkpoints.Checkpoint:
        step, _ = min(self.optuna[number].intermediate_values.items(), key=lambda item: (item[1], item[0]))
        return checkpoints.read(self.trial(number) / "checkpoints" / checkpoints.folder_name(step))


@pytest.fixture(scope="module")
def sweep(surroundings: Surroundings, _mnist: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    storage = tmp_path_factory.mktemp("storage") / "all my sweeps"  # a space, as folders of people have
    return Finished(storage, surroundings.script(storage, "--smoke").succeeded())


@pytest.fixture(scope="module")
def report(sweep: Finished, surroundings: Surroundings) -> dict[str, Any]:
    """What `sweeps best --json` says of it."""
    ran = surroundings.command("best", NAME, "--json", "--storage", sweep.storage).succeeded()
    said: dict[str, Any] = json.loads(ran.out)
    return said


def test_all_trials_end(sweep: Finished) -> None:
    """As many trials as asked for, each complete with all reports of the grid or stopped early at one of them."""
    assert len(sweep.optuna) == TRIALS
    for trial in sweep.optuna:
        assert trial.state.name in ("COMPLETE", "PRUNED")
        steps = tuple(sorted(trial.intermediate_values))
        assert steps == GRID[: len(steps)]
        assert (len(steps) == len(GRID)) == (trial.state.name == "COMPLETE")
    assert any(trial.state.name == "COMPLETE" for trial in sweep.optuna)


def test_checkpoints_are_the_last_two_and_the_best(sweep: Finished) -> None:
    for trial in sweep.optuna:
        reported = sorted(trial.intermediate_values)
        best = min(reported, key=lambda step: (trial.intermediate_values[step], step))
        expected = sorted({*reported[-2:], best})
        assert (sweep.trial(trial.number) / "checkpoints").names() == [checkpoints.folder_name(s) for s in expected]


def test_the_first_trials_are_the_published_presets(sweep: Finished) -> None:
    wanted = [(10.0, 1e-4, 5, 0.0, 0.1), (10.0, 1e-3, 5, 0.5, 0.1), (10.0, 2e-4, 1, 0.5, 0.001)]
    assert [tuple(trial.params[name] for name in SEARCHED) for trial in sweep.optuna[:3]] == wanted


def test_run_tree(sweep: Finished) -> None:
    """One run of the sweep and below it one of each trial, named, tagged and ended as the trials did."""
    assert len(sweep.all_runs) == 1 + TRIALS
    assert sorted(sweep.runs) == list(range(TRIALS))
    tags = sweep.parent.data.tags
    assert (tags["sweep.name"], tags["sweep.role"], tags["mlflow.sync"]) == (NAME, "sweep", "complete")
    assert sweep.parent.info.status == "FINISHED"
    assert f"trial {best(sweep)[0]}" in tags["mlflow.note.content"]
    for number, run in sweep.runs.items():
        state = sweep.optuna[number].state.name
        assert run.data.tags["mlflow.parentRunId"] == sweep.parent.info.run_id
        wanted = {"sweep.name": NAME, "sweep.role": "trial", "trial.number": str(number), "trial.state": state}
        assert run.data.tags.items() >= wanted.items()
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[state]
        assert run.info.run_name.startswith(f"t{number:03d}")
        assert run.data.tags["best.checkpoint"] == str(folder_of_best(sweep, number))


def best(sweep: Finished) -> tuple[int, float]:
    """The trial with the lowest value of all, and that value."""
    lowest = {trial.number: min(trial.intermediate_values.values()) for trial in sweep.optuna}
    return min(lowest.items(), key=lambda item: item[1])


def folder_of_best(sweep: Finished, number: int) -> Folder:
    name = checkpoints.folder_name(sweep.best_checkpoint(number).critic_updates)
    return sweep.trial(number) / "checkpoints" / name


def test_params_are_optunas(sweep: Finished) -> None:
    """To the four digits that are shown; and what is derived from them."""
    for number, run in sweep.runs.items():
        params, asked = run.data.params, sweep.optuna[number].params
        assert set(asked) == set(SEARCHED)
        for name, value in asked.items():
            assert float(params[name]) == pytest.approx(value, rel=5e-4)
        for name in ("lr_critic", "lr_generator"):
            assert float(params[name]) == pytest.approx(asked["lr"], rel=5e-4)
        assert float(params["beta2"]) == pytest.approx(1 - asked["one_minus_beta2"], rel=5e-4)
        assert float(params["lr_log10"]) == pytest.approx(math.log10(asked["lr"]), rel=1e-3)
        assert int(params["seed"]) == trial_seed(0, number)
        start, _, _ = sweep.spooled(number)
        assert start.params.items() >= asked.items()


def test_curves_are_the_spools_at_the_steps_of_the_grid(sweep: Finished) -> None:
    """Every metric of every report is in MLflow once, with the value that was spooled; and the floor."""
    plan = read_plan(Folder.at(sweep.folder))
    assert plan is not None
    for number, run in sweep.runs.items():
        _, steps, _ = sweep.spooled(number)
        reached = [step.critic_updates for step in steps]
        assert tuple(reached) == GRID[: len(reached)]
        assert set(run.data.metrics) >= {*TRAINED, *EVALUATED, BEST, "train/generator_updates", "train/seconds"}
        for key in steps[0].metrics:
            spooled = {step.critic_updates: step.metrics[key] for step in steps}
            assert sweep.history(number, key) == pytest.approx(spooled, rel=1e-12), key
            assert all(math.isfinite(value) for value in spooled.values()), key
        assert set(sweep.history(number, f"{OBJECTIVE}_floor").values()) == {plan.floor}
        n_critic = int(run.data.params["n_critic"])
        assert sweep.history(number, "train/generator_updates") == {step: step // n_critic for step in reached}


def test_the_objectives_curve_is_optunas(sweep: Finished) -> None:
    """Values told to Optuna, and the best so far below them."""
    for number in sweep.runs:
        told = dict(sorted(sweep.optuna[number].intermediate_values.items()))
        assert sweep.history(number, OBJECTIVE) == pytest.approx(told, rel=1e-12)
        so_far = dict(zip(told, itertools.accumulate(told.values(), min), strict=True))
        assert sweep.history(number, BEST) == pytest.approx(so_far, rel=1e-12)


def test_the_report_is_beside_the_trials_and_in_mlflow(sweep: Finished) -> None:
    """Written when all records were over, of the best trial, and linked to from the sweep's run."""
    number, value = best(sweep)
    page = (sweep.folder / "report" / "sweep.html").read_bytes()
    assert f"The best: trial {number} ".encode() in page
    assert f"{value:.4g}".encode() in page
    recorded = sum(len(Spool(sweep.trial(each)).segments()) for each in range(TRIALS))
    assert f"{recorded} of {recorded} records of {TRIALS} trials are in MLflow".encode() in page
    names = {info.path for info in sweep.client.list_artifacts(sweep.parent.info.run_id, "report")}
    assert names == {f"report/{name}" for name in ("sweep.html", "trials.parquet", "best_config.json")}
    stored = download_artifacts(
        f"runs:/{sweep.parent.info.run_id}/report/sweep.html", tracking_uri=str(sweep.client.tracking_uri)
    )
    assert Path(stored).read_bytes() == page
    assert "report/sweep.html" in sweep.parent.data.tags["mlflow.note.content"]


def test_sample_grids(sweep: Finished) -> None:
    """At every step of the grid one picture, the last one again as the final, and the film; the same z in a trial."""
    of_best = [(f"{key}~best of {TRIALS}", 0) for key in ("samples", "film")]
    for number, run in sweep.runs.items():
        _, steps, _ = sweep.spooled(number)
        names = [Path(info.path).name for info in sweep.client.list_artifacts(run.info.run_id, "images")]
        grids = [found for name in names if (found := re.fullmatch(r"(.+?)\+step\+(\d+)\+.*\.png", name))]
        shown = sorted((found[1], int(found[2])) for found in grids)
        wanted = [("samples", step.critic_updates) for step in steps]
        assert shown == sorted([*wanted, ("samples~final", 0), ("samples~film", 0), *of_best])
        trial = checkpoints.latest(sweep.trial(number) / "checkpoints")
        assert trial is not None
        drawn = grid_png(averaged_generator(trial)(grid_z(trial.structure, trial.trial, 64)))
        kept = (sweep.trial(number) / "samples").read(steps[-1].image or "")
        assert np.abs(pixels(drawn) - pixels(kept)).max() <= 1
        assert pixels(drawn).std() > 1


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.int64)


def test_models_hold_the_best_generators(sweep: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial's model is ready, carries its score, and downloads as the generator of its best checkpoint."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(sweep.client.tracking_uri))
    assert sorted(sweep.models) == list(range(TRIALS))
    for number, model in sweep.models.items():
        assert str(model.status).endswith("READY")
        assert model.source_run_id == sweep.runs[number].info.run_id
        found = sweep.best_checkpoint(number)
        (linked,) = [(m.value, m.step) for m in model.metrics if m.key == OBJECTIVE]
        assert linked == (min(sweep.optuna[number].intermediate_values.values()), found.critic_updates)
        (output,) = sweep.runs[number].outputs.model_outputs
        assert (output.model_id, output.step) == (model.model_id, found.critic_updates)
        target = tmp_path / str(number)
        target.mkdir()
        taken = download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(target))
        taken_generator, kept = read_generator(Folder.at(taken)), averaged_generator(found)
        assert taken_generator.state_dict().keys() == kept.state_dict().keys()
        for name, tensor in kept.state_dict().items():
            assert torch.equal(taken_generator.state_dict()[name], tensor), name
    lowest = sweep.client.search_logged_models(
        [sweep.experiment], order_by=[{"field_name": f"metrics.{OBJECTIVE}", "ascending": True}]
    )[0]
    assert lowest.tags["trial.number"] == str(best(sweep)[0])


def test_leaderboard(sweep: Finished, report: dict[str, Any]) -> None:
    """What is printed at the end: every trial with every column, best first, and where to look further."""
    lines = sweep.ran.out.splitlines()
    (header,) = [number for number, line in enumerate(lines) if line.split()[:1] == ["trial"]]
    for column in ("trial", "λ", "lr", "n_critic", "β1", "β2", "score", "floor", "x floor", "state"):
        assert column in lines[header]
    rows = [line.split() for line in lines[header + 2 : header + 2 + TRIALS]]
    assert sorted(int(row[0]) for row in rows) == list(range(TRIALS))
    columns = re.split(r"\s{2,}", lines[header].strip())
    scores = [float(row[columns.index("score")]) for row in rows]
    assert scores == sorted(scores)
    floor = report["floor"]
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        trial = sweep.optuna[int(cells["trial"])]
        value = min(trial.intermediate_values.values())
        assert float(cells["score"]) == pytest.approx(value, rel=1e-3)
        assert float(cells["x floor"]) == pytest.approx(value / floor, abs=0.06)
        assert float(cells["λ"]) == pytest.approx(trial.params["lambda_gp"], rel=1e-2)
        assert float(cells["lr"]) == pytest.approx(trial.params["lr"], rel=1e-2)
        assert int(cells["n_critic"]) == trial.params["n_critic"]
        assert float(cells["β1"]) == pytest.approx(trial.params["beta1"], abs=1e-3)
        assert float(cells["β2"]) == pytest.approx(1 - trial.params["one_minus_beta2"], abs=1e-4)
        assert cells["state"] == trial.state.name
    (path,) = [line.split(maxsplit=2)[2] for line in lines if line.startswith("best checkpoint")]
    assert path == str(folder_of_best(sweep, best(sweep)[0]))
    (command,) = [line for line in lines if "sweeps serve-ui" in line]
    words = shlex.split(command[command.index("serve-ui") :])
    assert words == ["serve-ui", NAME, "--storage", str(sweep.storage)]
    assert "progress is not known" not in sweep.ran.out
    assert any("trials ended" in line for line in lines[:header])


def test_best_as_json(sweep: Finished, report: dict[str, Any]) -> None:
    """What Optuna and MLflow have of the trial with the lowest value, and the scores beside it."""
    number, value = best(sweep)
    keys = {"trial", "params", "structure", "sampler", "extends", "objective", "value", "floor", "floor_error"}
    assert set(report) == {*keys, "checkpoint", "run_id", "model_uri", *SHOWN}
    assert (report["structure"]["networks"], report["sampler"]) == ("mlp", "tpe")
    assert 0 < report["error"] < report["value"]
    assert (report["trial"], report["value"], report["objective"]) == (str(number), value, OBJECTIVE)
    assert report["params"].items() >= sweep.optuna[number].params.items()
    assert 0 < report["floor"] < value
    assert report["checkpoint"] == str(folder_of_best(sweep, number))
    assert report["run_id"] == sweep.runs[number].info.run_id
    assert report["model_uri"] == f"models:/{sweep.models[number].model_id}"


def test_best_prints_the_leaderboard(sweep: Finished, report: dict[str, Any], surroundings: Surroundings) -> None:
    ran = surroundings.sweeps("best", NAME, WGAN_STORAGE=str(sweep.storage)).succeeded()
    board = [line for line in sweep.ran.out.splitlines() if re.match(r"\s*(trial|\d+) ", line) and "ended" not in line]
    assert board
    assert [line for line in ran.out.splitlines() if re.match(r"\s*(trial|\d+) ", line)] == board
    assert report["checkpoint"] in ran.out


def test_sample_draws_a_grid(report: dict[str, Any], surroundings: Surroundings, tmp_path: Path) -> None:
    """A PNG of 4 by 4 digits, not blank, and another with another seed but the same again in another process."""
    drawn = {}
    here, process = surroundings.command, surroundings.sweeps
    for name, seed, run in (("a", 1, process), ("b", 2, here), ("again", 1, here)):
        out = tmp_path / f"{name}.png"
        checkpoint = report["checkpoint"]
        run("sample", checkpoint, "--n", 16, "--seed", seed, "--out", out).succeeded()
        drawn[name] = pixels(out.read_bytes())
    side = 4 * 28 + 3 * 2
    assert drawn["a"].shape == (side, side)
    assert drawn["a"][:28, :28].std() > 1
    assert (drawn["a"] != drawn["b"]).any()
    assert (drawn["a"] == drawn["again"]).all()


def test_a_generator_that_is_told_no_class_is_asked_for_none(
    report: dict[str, Any], surroundings: Surroundings, tmp_path: Path
) -> None:
    refused = surroundings.command("sample", report["checkpoint"], "--label", 1, "--out", tmp_path / "a.png")
    refused.refused("--label needs a generator that is told classes", "leave it out")


DRAW = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
generator = torch.export.load(sys.argv[2]).module()
drawn = {}
for count in (1, 7):
    z = torch.randn(count, 100, generator=torch.Generator().manual_seed(count))
    drawn[count] = generator(z).tolist()
foreign = {"wgan_core", "sweeps", "ray", "mlflow", "optuna", "safetensors", "numpy", "PIL"} & set(sys.modules)
json.dump({"drawn": drawn, "foreign": sorted(foreign)}, open(sys.argv[3], "w"))
"""


def torch_alone(folder: Path) -> Path:
    """A folder of packages that has torch and what torch itself requires, and nothing else."""
    folder.mkdir()
    wanted, seen = ["torch"], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        requirements = [Requirement(text) for text in metadata.requires(name) or ()]
        wanted += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
        for top in {Path(file).parts[0] for file in metadata.files(name) or ()} - {"..", "__pycache__"}:
            found = Path(str(metadata.distribution(name).locate_file(top)))
            if found.exists() and not (folder / top).exists():
                (folder / top).symlink_to(found)
    return folder


def test_export_makes_the_same_samples_with_torch_alone(
    sweep: Finished, report: dict[str, Any], surroundings: Surroundings, tmp_path: Path
) -> None:
    """The exported program runs where nothing but torch can be imported, for one sample and for seven."""
    out = tmp_path / "taken"
    said = surroundings.sweeps("export", NAME, "--out", out, "--storage", sweep.storage).succeeded().out
    assert sorted(file.name for file in out.iterdir()) == [
        "best.json",
        "generator.json",
        "generator.pt2",
        "generator.safetensors",
    ]
    assert json.loads((out / "best.json").read_text()) == report
    assert f'torch.export.load("{out / "generator.pt2"}")' in said

    drawn = tmp_path / "drawn.json"
    packages = torch_alone(tmp_path / "packages")
    # -S: without the packages of this environment.
    surroundings.start(sys.executable, "-I", "-S", "-c", DRAW, packages, out / "generator.pt2", drawn).succeeded()
    kept = averaged_generator(checkpoints.read(Folder.at(report["checkpoint"])))
    made = json.loads(drawn.read_text())
    assert made["foreign"] == []
    for count, samples in made["drawn"].items():
        z = torch.randn(int(count), 100, generator=torch.Generator().manual_seed(int(count)))
        torch.testing.assert_close(torch.tensor(samples), kept(z), rtol=0, atol=1e-6)

    surroundings.command("export", NAME, "--out", out, "--storage", sweep.storage).refused("--out", str(out))


def test_a_trial_is_what_its_point_of_the_search_trains_to(sweep: Finished) -> None:
    """Each again, by the core alone, from what Optuna says of it: every searched value reached its optimiser."""
    plan = read_plan(Folder.at(sweep.folder))
    data = torch.from_numpy(load_mnist().train.values)
    for trial in sweep.optuna:
        kept = sweep.best_checkpoint(trial.number)
        cohort = Cohort(plan.structure, TrainingData(data), [kept.critic_updates])
        cohort.add(Trial(trial.number, trial_seed(plan.seed, trial.number), plan.space.hyper(trial.params)))
        cohort.advance()
        again = cohort.state_of(trial.number).tensors()
        for name, tensor in kept.state.tensors().items():
            torch.testing.assert_close(tensor, again[name], rtol=1e-3, atol=1e-5, msg=f"{name} of trial {trial.number}")
