"""The script for toy data: its presets, the names of its sweeps, what it refuses, and a sweep that it runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

import sweeps.gaussians
from sweeps import run_script
from sweeps.engine.plan.options import Options
from sweeps.engine.plan.presets import GAUSSIANS, Preset
from sweeps.engine.results.results import open_results
from sweeps.engine.storage.spool import ReportRecord, Spool
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.config import Hyper, Structure
from wgan_core.data.dataset import Dataset
from wgan_core.data.folder import Folder
from wgan_core.kinds.canvas import SIDE
from wgan_core.metrics.modes import HIGH_QUALITY_NAME, KL_NAME, MODES_NAME
from wgan_core.metrics.wasserstein import SLICED_NAME, W1_NAME
from wgan_core.networks.network import build
from wgan_core.sampling.generator import averaged_generator
from wgan_core.training import checkpoint as checkpoints

SCRIPT = ROOT / "sweeps" / "gaussians.py"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Options, Dataset, Structure]]:
    """What the script asks for, without a sweep being run."""
    calls: list[tuple[Options, Dataset, Structure]] = []
    monkeypatch.setattr(
        sweeps.gaussians, "run_sweep", lambda options, data, structure, space: calls.append((options, data, structure))
    )
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gaussians.py", *options])
    return run_script(sweeps.gaussians.main)


@pytest.mark.parametrize("preset", GAUSSIANS.values(), ids=GAUSSIANS)
def test_each_preset_builds_and_has_its_published_point(preset: Preset) -> None:
    structure = preset.structure_for((2,), None)
    critic, generator = build(structure)
    assert sum(1 for name, _ in critic.named_parameters() if name.endswith("weight")) == 4
    assert not list(generator.named_buffers())
    for point in preset.space.presets:
        preset.space.hyper(point)


def test_the_published_points() -> None:
    blog, toy, gan = GAUSSIANS["blog"], GAUSSIANS["toy"], GAUSSIANS["gan"]
    assert blog.space.hyper(blog.space.presets[0]) == Hyper(0.2, 5e-4, 5e-4, 5, 0.5, 0.9)
    assert toy.space.hyper(toy.space.presets[0]) == Hyper(0.1, 1e-4, 1e-4, 5, 0.5, 0.9)
    assert gan.space.hyper(gan.space.presets[0]) == Hyper(0.0, 5e-4, 5e-4, 5, 0.5, 0.9)
    structure = blog.structure_for((2,), None)
    assert (structure.latent_dim, structure.batch_size, structure.loss) == (2, 512, "wgan-gp")
    assert structure.network_options["critic"]["widths"] == [400, 400, 400]
    assert gan.structure_for((2,), None).network_options == structure.network_options
    authors = toy.structure_for((2,), None)
    assert authors.batch_size == 256
    assert {options["initial"] for options in authors.network_options.values()} == {"he"}


@pytest.mark.parametrize(
    ("options", "name", "data", "budget"),
    [
        ([], "gaussians", "8gaussians", None),
        (["--data", "8gaussians", "--full"], "gaussians-full", "8gaussians", 250_000),
        (["--data", "25gaussians"], "gaussians-25gaussians", "25gaussians", None),
        (["--data", "swissroll", "--preset", "toy", "--smoke"], "gaussians-swissroll-toy-smoke", "swissroll", 45),
        (["--preset", "gan", "--name", "mine", "--budget", "90", "--data", "25gaussians"], "mine", "25gaussians", 90),
    ],
    ids=str,
)
def test_each_search_has_a_name_of_its_own(
    options: list[str],
    name: str,
    data: str,
    budget: int | None,
    asked: list[tuple[Options, Dataset, Structure]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, *options) == 0
    ((found, dataset, structure),) = asked
    assert (found.name, dataset.name, structure.sample_shape) == (name, data, (2,))
    assert budget is None or found.budget == budget


@pytest.mark.parametrize("data", ["9gaussians", "", "photos/"])
def test_other_data_is_refused_with_the_known_names(
    data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--data", data) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"8gaussians, 25gaussians, swissroll; given {data!r}: give --data 8gaussians" in line


@pytest.mark.parametrize("objective", ["modes_captured", "eval/high_quality", "kl_to_uniform"])
def test_a_diagnosis_is_no_objective(
    objective: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "--objective", objective, "--smoke", "--storage", str(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: an objective must be minimised, and order trials by itself; eval/")
    assert line.endswith(f"choose from: {W1_NAME}, {SLICED_NAME}")


@pytest.mark.slow
def test_a_smoke_sweep_scores_by_w1_and_shows_points(joined: Surroundings, tmp_path: Path) -> None:
    """The published point first; Optuna holds W1, each report all five metrics and a picture of points.

    In tf32, of which it is said once that it changes nothing where no GPU is used.
    """
    options = ("--data", "25gaussians", "--smoke", "--trials", 2, "--budget", 2)
    options += ("--gpus-per-trial", 0, "--precision", "tf32")
    ran = joined.run(SCRIPT, tmp_path, *options).succeeded()
    assert "25gaussians: 100000 to train, 10000 to validate" in ran.out
    assert ran.out.count("precision tf32 is of GPUs: trials are trained without one here, as in float32") == 1
    name = "gaussians-25gaussians-smoke-tf32"
    results = open_results(str(tmp_path), name, None)
    assert results.plan.objective == W1_NAME
    first, _ = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/{name}/study.db").get_trials()
    assert first.params == GAUSSIANS["blog"].space.presets[0]
    folder = Folder.at(tmp_path / name / "trials" / "0")
    spool = Spool(folder)
    steps = [segment for segment in map(spool.read, spool.segments()) if isinstance(segment, ReportRecord)]
    for step in steps:
        assert {W1_NAME, SLICED_NAME, MODES_NAME, HIGH_QUALITY_NAME, KL_NAME} <= set(step.metrics)
        assert step.metrics[W1_NAME] == first.intermediate_values[step.critic_updates]
        assert step.image is not None
        picture = np.asarray(Image.open(io.BytesIO((folder / "samples").read(step.image))))
        assert picture.shape == (SIDE, SIDE, 3)
    assert results.plan.floor < min(first.intermediate_values.values())
    kept = checkpoints.latest(folder / "checkpoints")
    assert kept is not None
    assert averaged_generator(kept)(torch.zeros(3, 2)).shape == (3, 2)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    run_id = results.best_as_json()["run_id"]
    assert client.list_artifacts(run_id, "images")
    assert client.get_metric_history(run_id, MODES_NAME)
    joined.command("sample", name, "--storage", tmp_path).refused("sweeps sample draws images", "sweeps export")
