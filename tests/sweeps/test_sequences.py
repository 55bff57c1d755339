"""The script for sequences: its presets, the names of its sweeps, what it refuses, and a sweep that it runs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

import sweeps.sequences
from sweeps import run_script
from sweeps.engine.plan.options import Options
from sweeps.engine.plan.plan import Plan, settle, write_plan
from sweeps.engine.plan.presets import Preset
from sweeps.engine.plan.presets_sequences import SEQUENCES
from sweeps.engine.results.results import open_results
from sweeps.engine.storage.spool import ReportRecord, Spool
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.config import Hyper, Structure
from wgan_core.data.coding import Coding, Column
from wgan_core.data.dataset import Dataset
from wgan_core.data.folder import Folder
from wgan_core.data.sequences import load_sequences
from wgan_core.errors import UserError
from wgan_core.metrics.two_sample import TWO_SAMPLE_NAMES
from wgan_core.metrics.wasserstein import SLICED_NAME
from wgan_core.networks.network import build
from wgan_core.sampling.generator import averaged_generator
from wgan_core.training import checkpoint as checkpoints

SCRIPT = ROOT / "sweeps" / "sequences.py"
STEPS = 30


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of 200 sequences of 30 steps, with the channels a and b, and a column c that is another's."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (200, 1))
    wave = np.sin(phase + np.arange(STEPS) / 3)
    path = tmp_path_factory.mktemp("data") / "waves.parquet"
    pq.write_table(pa.table({"a": list(wave), "b": list(10 + 3 * wave), "c": list(wave**2)}), path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Options, Dataset, Structure]]:
    """What the script asks for, without a sweep being run."""
    calls: list[tuple[Options, Dataset, Structure]] = []
    monkeypatch.setattr(
        sweeps.sequences, "run_sweep", lambda options, data, structure, space: calls.append((options, data, structure))
    )
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *options: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["sequences.py", *map(str, options)])
    return run_script(sweeps.sequences.main)


@pytest.mark.parametrize("preset", SEQUENCES.values(), ids=SEQUENCES)
def test_each_preset_builds_for_sequences_of_any_length(preset: Preset) -> None:
    for shape in ((1, 64), (4, 30)):
        critic, generator = build(preset.structure_for(shape, None))
        samples = generator(torch.zeros(3, 16))
        assert samples.shape == (3, *shape)
        assert critic(samples).shape == (3,)
    for point in preset.space.presets:
        preset.space.hyper(point)


def test_the_published_points_and_critic() -> None:
    penalty, clip = SEQUENCES["mlp"], SEQUENCES["wgan-clip"]
    assert penalty.space.hyper(penalty.space.presets[1]) == Hyper(10.0, 1e-4, 1e-4, 5, 0.0, 0.9)
    assert clip.space.hyper(clip.space.presets[0]) == Hyper(0.0, 5e-5, 5e-5, 5, 0.0, 0.99, clip=0.01)
    structures = [preset.structure_for((2, 64), None) for preset in (penalty, clip)]
    assert [(each.loss, each.optimiser) for each in structures] == [("wgan-gp", "adam"), ("wgan-clip", "rmsprop")]
    for structure in structures:
        critic, _ = build(structure)
        assert [tuple(each.shape) for each in critic.parameters()] == [(256, 128), (256,), (1, 256), (1,)]


def test_each_search_has_a_name_of_its_own(
    asked: list[tuple[Options, Dataset, Structure]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ((), ("--data", "membrane", "--smoke"), ("--data", "membrane", "--preset", "mlp", "--name", "mine")):
        assert run(monkeypatch, *options) == 0
    found = [(options.name, dataset.name, structure.networks) for options, dataset, structure in asked]
    assert found == [
        ("sequences", "sines", "sequence"),
        ("sequences-membrane-smoke", "membrane", "sequence"),
        ("mine", "membrane", "mlp"),
    ]
    for _, dataset, structure in asked:
        assert structure.coding == dataset.coding is not None


def test_columns_are_channels(
    asked: list[tuple[Options, Dataset, Structure]], monkeypatch: pytest.MonkeyPatch, waves: Path
) -> None:
    assert run(monkeypatch, "--data", waves, "--columns", "c, a") == 0
    assert run(monkeypatch, "--data", waves) == 0
    (_, two, structure), (_, three, _) = asked
    assert two.coding is not None
    assert [column.name for column in two.coding.columns] == ["c", "a"]
    assert structure.sample_shape == (2, STEPS)
    assert three.sample_shape == (3, STEPS)


def test_what_cannot_be_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], waves: Path
) -> None:
    for options, said in (
        (("--data", "sines", "--columns", "x"), "--columns is for files; sines has none: leave it out"),
        (("--data", waves, "--columns", "d"), "given 'd', and the columns of"),
        (("--data", "cosines"), "cosines does not exist"),
    ):
        assert run(monkeypatch, *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line


def test_a_sweep_of_coded_data_continues_as_it_began(
    waves: Path, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    dataset = load_sequences(waves)
    structure = SEQUENCES["wgan-gp"].structure_for(dataset.sample_shape, None, coding=dataset.coding)
    plan, folder = make_plan(structure=structure), Folder.at(tmp_path / "sweep")
    write_plan(folder, plan)
    assert settle(folder, plan) == plan
    with pytest.raises(UserError, match=r"different now: structure.coding"):
        settle(folder, make_plan(structure=replace(structure, coding=Coding((Column("a"), Column("b"), Column("d"))))))


@pytest.mark.slow
def test_a_sweep_of_sequences_is_scored_and_drawn(joined: Surroundings, waves: Path, tmp_path: Path) -> None:
    """Two channels of 30 steps; each report has the scores of coded data and a picture of lines, which MLflow shows."""
    options = ("--data", waves, "--columns", "a,b", "--smoke", "--trials", 2, "--budget", 3)
    ran = joined.run(SCRIPT, tmp_path, *options).succeeded()
    assert "sequences:waves: 160 to train, 20 to validate" in ran.out
    results = open_results(str(tmp_path), "sequences-smoke", None)
    assert results.plan.objective in {SLICED_NAME, TWO_SAMPLE_NAMES[0]}
    folder = Folder.at(tmp_path / "sequences-smoke" / "trials" / results.best.label)
    spool = Spool(folder)
    steps = [segment for segment in map(spool.read, spool.segments()) if isinstance(segment, ReportRecord)]
    assert steps
    for step in steps:
        assert {SLICED_NAME, *TWO_SAMPLE_NAMES} <= set(step.metrics)
        assert step.image is not None
        picture = np.asarray(Image.open(io.BytesIO((folder / "samples").read(step.image)))).astype(int)
        assert picture.ndim == 3
        blue = picture[..., 2] - picture[..., 0] > 100
        assert blue[:, : picture.shape[1] // 2].sum() > 1000
        assert not blue[:, picture.shape[1] // 2 :].any()
    kept = checkpoints.latest(folder / "checkpoints")
    assert kept is not None
    samples = averaged_generator(kept)(torch.zeros(3, 16))
    assert samples.shape == (3, 2, STEPS)
    assert kept.structure.coding is not None
    decoded = kept.structure.coding.decode(samples)
    assert list(decoded) == ["a", "b"]
    assert np.array(decoded["b"]).shape == (3, STEPS)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    run_id = results.best_as_json()["run_id"]
    assert client.list_artifacts(run_id, "images")
    assert client.get_metric_history(run_id, TWO_SAMPLE_NAMES[0])
