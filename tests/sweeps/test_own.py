"""The example of networks, data and a metric of one's own, in bfloat16: two lanes a process, and what that leaves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from sweeps.engine.results.results import open_results
from sweeps.engine.storage.spool import ReportRecord, Spool
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.data.folder import Folder
from wgan_core.metrics.wasserstein import SLICED_NAME, W1_NAME
from wgan_core.training import checkpoint as checkpoints

pytestmark = pytest.mark.slow
METRIC, NAME, OWN = "eval/energy_distance", "own-smoke-bfloat16", "trefoil"
ASKED = ("--smoke", "--trials", 3, "--budget", 3, "--lanes", 2, "--precision", "bfloat16", "--max-concurrent", 1)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's copy, in a folder where nothing else is: no worker can import it."""
    return Path(shutil.copy(ROOT / "sweeps" / "own.py", tmp_path_factory.mktemp("mine") / "my_sweep.py"))


@pytest.fixture(scope="module")
def storage(joined: Surroundings, script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    ran = joined.run(script, folder, *ASKED).succeeded()
    assert ran.out.count("precision bfloat16 pays on GPUs: on CPUs, training took 1.75 times as long") == 1
    return folder


def test_every_trial_is_scored_by_the_metric_beside_those_that_suit_the_data(storage: Path) -> None:
    results = open_results(str(storage), NAME)
    assert results.plan.objective == METRIC
    assert {row.state for row in results.rows} <= {"COMPLETE", "PRUNED"}
    for number in range(3):
        spool = Spool(Folder.at(storage / NAME / "trials" / str(number)))
        steps = [segment for segment in map(spool.read, spool.segments()) if isinstance(segment, ReportRecord)]
        assert steps
        assert all({METRIC, W1_NAME, SLICED_NAME} <= set(step.metrics) for step in steps)


def test_checkpoints_hold_the_networks(storage: Path) -> None:
    kept = checkpoints.latest(Folder.at(storage / NAME / "trials" / "0" / "checkpoints"))
    assert kept is not None
    assert (kept.structure.networks, kept.structure.precision) == ("trefoil", "bfloat16")
    assert {tensor.dtype for tensor in kept.state.tensors().values() if tensor.is_floating_point()} == {torch.float32}
    assert "body.1.linear.weight" in kept.state.critic.parameters


def test_the_best_needs_no_script_and_the_generator_does(
    storage: Path, script: Path, surroundings: Surroundings, tmp_path: Path
) -> None:
    best = surroundings.command("best", NAME, "--storage", storage, "--json").succeeded()
    assert json.loads(best.out)["objective"] == METRIC
    export = ("export", NAME, "--storage", storage, "--out", tmp_path / "out")
    surroundings.command(*export).refused("given 'trefoil'", "--script FILE")
    surroundings.sweeps(*export, "--script", script).succeeded()
    check = f"import torch; print(torch.export.load('{tmp_path}/out/generator.pt2').module()(torch.zeros(5, 8)).shape)"
    said = surroundings.start(sys.executable, "-c", check, cwd=tmp_path).succeeded()
    assert "torch.Size([5, 2])" in said.out


def test_a_script_that_is_not_there_or_fails_is_refused(
    storage: Path, surroundings: Surroundings, tmp_path: Path
) -> None:
    export = ("export", NAME, "--storage", storage, "--out", tmp_path / "out", "--script")
    surroundings.command(*export, tmp_path / "none.py").refused("--script must be a Python file", "none.py")
    (tmp_path / "bad.py").write_text("import no_such_module\n")
    surroundings.command(*export, tmp_path / "bad.py").refused("--script", "no_such_module")


def test_a_script_may_import_its_neighbours(storage: Path, script: Path, surroundings: Surroundings) -> None:
    """As it may when Python runs it; from another folder too."""
    text = script.read_text()
    (script.parent / "neighbour.py").write_text("WIDTH = 64\n")
    (script.parent / "importing.py").write_text(text.replace("import sys\n", "import sys\nimport neighbour\n", 1))
    export = ("export", NAME, "--storage", storage, "--out", script.parent / "out", "--script")
    surroundings.sweeps(*export, script.parent / "importing.py").succeeded()


def test_other_networks_of_the_same_name_are_refused(
    storage: Path, script: Path, surroundings: Surroundings, tmp_path: Path
) -> None:
    edited = tmp_path / "edited.py"
    edited.write_text(script.read_text().replace("width: int = 64", "width: int = 32"))
    export = ("export", NAME, "--storage", storage, "--out", tmp_path / "out", "--script", edited)
    surroundings.command(*export).refused("weights do not fit", "give the script that trained it")
    surroundings.run(edited, storage, *ASKED).refused("networks_digest was", "give another --name")
