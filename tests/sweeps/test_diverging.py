"""A trial whose numbers overflow ends FAIL, with its reason, and the sweep goes on."""

from __future__ import annotations

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
    options = parse("diverging", "", trials=2, budget=18)
    dataset = load_images(options.data)
    run_sweep(options, dataset, Structure("mlp", dataset.sample_shape), SPACE)


sys.exit(run_script(main))
"""


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_trial_that_is_not_finite_at_its_first_report(
    lanes: int, joined: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    script = tmp_path / "diverging.py"
    script.write_text(SCRIPT)
    options = ("--data", small_data, "--lanes", lanes, "--max-concurrent", 1)
    ran = joined.run(script, tmp_path, *options).succeeded()
    url = f"sqlite:///{tmp_path}/diverging/study.db"
    diverged, sound = optuna.load_study(study_name=None, storage=url).get_trials()
    assert (diverged.state.name, sound.state.name) == ("FAIL", "COMPLETE")
    assert diverged.user_attrs["reason"].startswith("not finite at critic update 2: ")
    assert f"trial 0 failed: {diverged.user_attrs['reason']}" in ran.out
    assert "best checkpoint" in ran.out
