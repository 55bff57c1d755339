"""A trial whose numbers overflow ends FAIL, with its reason, and the sweep goes on; a stale cluster is no harm."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest

from tests.sweeps.processes import Surroundings

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

from sweeps.engine.plan.options import parse
from sweeps import run_script, run_sweep
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from wgan_core.config import Structure
from wgan_core.data.images import load_images

SOUND = {"lambda_gp": 10.0, "lr": 1e-4, "n_critic": 2, "beta1": 0.0, "one_minus_beta2": 0.1}
SPACE = replace(
    WGAN_GP, ranges={**WGAN_GP.ranges, "lr": Range(1e-5, 1e38, log=True)}, presets=({**SOUND, "lr": 1e38}, SOUND)
)


def main():
    options = parse("diverging", "", trials=2, budget=45)
    dataset = load_images(options.data)
    run_sweep(options, dataset, Structure("mlp", dataset.sample_shape), SPACE)


sys.exit(run_script(main))
"""


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_trial_that_is_not_finite_at_its_first_report(
    surroundings: Surroundings, small_data: Path, tmp_path: Path, lanes: int
) -> None:
    script = tmp_path / "diverging.py"
    script.write_text(SCRIPT)
    noted = Path(surroundings.env["RAY_TMPDIR"]) / "ray" / "ray_current_cluster"
    noted.parent.mkdir(exist_ok=True)
    noted.write_text("127.0.0.1:9")  # where a cluster was that has been killed
    options = ("--storage", tmp_path, "--data", small_data, "--lanes", str(lanes), "--max-concurrent", "1")
    ran = surroundings.start(sys.executable, script, *options).succeeded()
    url = f"sqlite:///{tmp_path}/diverging/study.db"
    diverged, sound = optuna.load_study(study_name=None, storage=url).get_trials()
    assert (diverged.state.name, sound.state.name) == ("FAIL", "COMPLETE")
    assert diverged.user_attrs["reason"].startswith("not finite at critic update 5: ")
    assert f"trial 0 failed: {diverged.user_attrs['reason']}" in ran.out
    assert "best checkpoint" in ran.out
