"""The example of a registered feature extractor in docs/extending.md, run as a script."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sweeps.engine.plan.options import chosen, parse
from sweeps.engine.results.results import open_results
from sweeps.engine.storage.spool import ReportRecord, Spool
from tests.sweeps.processes import ROOT, Surroundings, copy_tables
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

NAME = "mnist-smoke"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in a folder of its own, with one layer of a class from a module beside it."""
    documentation = (ROOT / "docs" / "extending.md").read_text()
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", documentation, re.DOTALL) if "register_f" in text]
    path = tmp_path_factory.mktemp("mine") / "my_images.py"
    assert example.count("nn.ReLU()") == 1
    path.write_text("import beside\n" + example.replace("nn.ReLU()", "beside.Positive()"))
    (path.parent / "beside.py").write_text("from torch import nn\n\n\nclass Positive(nn.ReLU):\n    pass\n")
    return path


@pytest.fixture(scope="module")
def storage(joined: Surroundings, script: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = {"layers.0.weight": torch.randn(16, 1, 3, 3), "layers.0.bias": torch.zeros(16)}
    save_file(weights, script.with_name("network.safetensors"))
    folder = tmp_path_factory.mktemp("features")
    copy_tables(folder)
    asked = ("--data", small_data, "--features", "mine", "--smoke", "--trials", "1", "--budget", "2")
    joined.start(sys.executable, script, *asked, "--storage", folder).succeeded()
    return folder


@pytest.mark.slow
def test_trials_are_scored_on_the_features_and_reading_them_needs_no_network(storage: Path) -> None:
    results = open_results(str(storage), NAME)
    objective = results.plan.objective
    assert re.fullmatch(r"eval/fid_mine_[0-9a-f]{8}", objective)
    stated = results.plan.protocol["metrics"][objective]
    assert objective.endswith(stated["network_sha256"][:8])
    assert {row.state for row in results.rows} <= {"COMPLETE", "PRUNED"}
    assert results.best.value > 0
    spool = Spool(Folder.at(storage / NAME / "trials" / "0"))
    steps = [segment for segment in map(spool.read, spool.segments()) if isinstance(segment, ReportRecord)]
    assert steps
    assert all({objective, objective.replace("fid", "kid")} <= set(step.metrics) for step in steps)


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_same_network_only(
    storage: Path, script: Path, surroundings: Surroundings, small_data: Path
) -> None:
    edited = script.parent / "edited.py"
    edited.write_text(script.read_text().replace("return self.layers(images)", "return self.layers(images) / 2"))
    asked = ("--data", small_data, "--smoke", "--trials", "1", "--budget", "2", "--storage", storage)
    surroundings.start(sys.executable, edited, *asked, "--features", "mine").refused(
        "a sweep continues only as it began", "objective was", "give another --name"
    )


def test_a_name_is_checked_before_anything_else() -> None:
    for name, said in (
        ("mine", "'mine': name one"),
        ("f.pt2", "the file 'f.pt2', and exported programs are no"),
    ):
        with pytest.raises(UserError, match=f"^--features must be one of inception; given {said}"):
            parse("mnist", "", trials=1, budget=1, arguments=["--features", name])
        with pytest.raises(UserError, match=f"^--features must be one of inception; given {said}"):
            chosen("mnist", 1, 1, {"features": name})
    assert parse("mnist", "", trials=1, budget=1, arguments=["--features", "inception"]).features == "inception"
