"""A sweep of conditional GANs through the script, and a chosen class taken from it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeps.engine.results.results import open_results
from sweeps.engine.storage.spool import ReportRecord, Spool
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.data.folder import Folder
from wgan_core.metrics.by_class import AS_ASKED_NAME, ByClass
from wgan_core.metrics.on_features import Fid

pytestmark = pytest.mark.slow
NAME = "conditional-smoke"
INTRA_FID = ByClass(Fid()).specs[0].name


@pytest.fixture(scope="module")
def storage(joined: Surroundings, _mnist: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a sweep of two lanes a process."""
    folder = tmp_path_factory.mktemp("conditional")
    script = ROOT / "sweeps" / "conditional.py"
    options = ("--smoke", "--trials", 2, "--budget", 2, "--lanes", 2, "--preset", "embedded", "--name", NAME)
    joined.run(script, folder, *options).succeeded()
    return folder


def test_trials_are_scored_class_by_class(storage: Path) -> None:
    assert open_results(str(storage), NAME).plan.objective == INTRA_FID
    spool = Spool(Folder.at(storage / NAME / "trials" / "0"))
    steps = [segment for segment in map(spool.read, spool.segments()) if isinstance(segment, ReportRecord)]
    for step in steps:
        by_class = [step.metrics[f"class/{digit}/fid"] for digit in range(10)]
        assert step.metrics[INTRA_FID] == pytest.approx(np.mean(by_class))
        assert 0 <= step.metrics["class/7/as_asked"] <= 1
        assert 0 <= step.metrics[AS_ASKED_NAME] <= 1


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file.read_bytes())))


def test_sample_grids_have_a_row_a_class(storage: Path) -> None:
    for picture in sorted(storage.glob(f"{NAME}/trials/*/samples/*.png")):
        assert pixels(picture).shape == (10 * 28 + 9 * 2, 8 * 28 + 7 * 2)


def test_a_chosen_class(storage: Path, joined: Surroundings, tmp_path: Path) -> None:
    """Sevens differ from threes of the same noise; a class that there is not is refused."""
    drawn = {}
    for label in (3, 7):
        out = tmp_path / f"{label}.png"
        asked = ("--storage", storage, "--n", 16, "--label", label, "--out", out)
        said = joined.command("sample", NAME, *asked).succeeded()
        assert "16 samples" in said.out
        drawn[label] = pixels(out)
    assert drawn[3].shape == (4 * 28 + 3 * 2, 4 * 28 + 3 * 2)
    assert (drawn[3] != drawn[7]).any()
    joined.command("sample", NAME, "--storage", storage, "--label", 10).refused("0 to 9; given 10", "name one")


def test_all_classes(storage: Path, joined: Surroundings, tmp_path: Path) -> None:
    out = tmp_path / "all.png"
    joined.command("sample", NAME, "--storage", storage, "--n", 30, "--out", out).succeeded()
    assert pixels(out).shape == (10 * 28 + 9 * 2, 3 * 28 + 2 * 2)


def test_images_without_labels_are_refused(joined: Surroundings, small_data: Path, tmp_path: Path) -> None:
    script = ROOT / "sweeps" / "conditional.py"
    joined.run(script, tmp_path, "--data", small_data).refused("has no column 'label'", "add one")
