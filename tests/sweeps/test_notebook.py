"""A sweep from Python, as in a notebook: run, and looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import plotly.graph_objects as go
import pytest
import torch

from sweeps.engine.plan.options import CHOICES, Options
from sweeps.engine.plan.presets import MNIST
from sweeps.engine.results.status import TrialStatus, read_status
from sweeps.notebook import Finished, Plots, Sweep
from tests.sweeps.processes import Surroundings
from wgan_core.data.images import load_images
from wgan_core.errors import UserError
from wgan_core.sampling.generator import averaged_generator
from wgan_core.training import checkpoint as checkpoints

CELL = """
import sys
from sweeps.engine.plan.presets import MNIST
from sweeps.engine.results.status import TrialStatus, read_status
from sweeps.notebook import Sweep
from wgan_core.data.images import load_images

_, storage, data = sys.argv[1:]
sweep = Sweep(
    load_images(data), MNIST["wgan-gp"], name="mine", trials=3, budget=5, storage=storage, confirm="1x2", seed=4
)
print(len(sweep.run().results()))
"""


@pytest.fixture(scope="module")
def finished(joined: Surroundings, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three trials, the best of them confirmed."""
    storage = tmp_path_factory.mktemp("storage")
    cell = storage / "cell.py"
    cell.write_text(CELL)
    ran = joined.run(cell, storage, small_data).succeeded()
    assert ran.out.count("best checkpoint") == 1
    assert ran.out.splitlines()[-1] == "5"
    return Sweep.open("mine", str(storage))


@pytest.mark.slow
def test_results_are_those_of_the_study(finished: Finished) -> None:
    frame = finished.results()
    url = f"sqlite:///{finished.found.folder.path}/study.db"
    trials = optuna.load_study(study_name=finished.found.plan.study_name, storage=url).get_trials()
    assert list(frame["trial"][:3]) == ["0", "1", "2"]
    assert list(frame["state"][:3]) == [trial.state.name for trial in trials]
    assert list(frame["lr"][:3]) == [trial.params["lr"] for trial in trials]
    assert list(frame["best_score"][:3]) == [min(trial.intermediate_values.values()) for trial in trials]
    leader = frame["trial"][frame["best_score"][:3].idxmin()]
    assert list(frame["trial"][3:]) == [f"{leader}a", f"{leader}b"]
    assert frame["best_score"].dtype == np.float64
    assert frame["n_critic"].dtype == np.int64
    assert finished.found.plan.seed == 4


@pytest.mark.slow
def test_the_best_generator_is_loaded(finished: Finished) -> None:
    best = finished.best()
    frame = finished.results().set_index("trial")
    assert best.trial in frame.index[3:]
    assert best.score == frame["best_score"][best.trial] == frame["best_score"][3:].min()
    assert str(best.checkpoint) == frame["checkpoint"][best.trial]
    assert best.test is not None
    assert best.test.count == 2
    z = torch.randn(3, 100)
    made = best.load()(z)
    assert made.shape == (3, 1, 12, 12)
    assert torch.equal(made, averaged_generator(checkpoints.read(best.checkpoint))(z))
    assert torch.equal(best.sample(4, seed=1), best.sample(4, seed=1))
    assert not torch.equal(best.sample(4, seed=1), best.sample(4, seed=2))


@pytest.mark.slow
def test_plots_are_figures(finished: Finished) -> None:
    names = [name for name, kind in vars(Plots).items() if callable(kind) and not name.startswith("_")]
    assert len(names) == 9
    for name in names:
        figure = getattr(finished.plots, name)()
        assert isinstance(figure, go.Figure)
        # Of three trials some charts can but say that they are too few.
        assert figure.data or "trials" in figure.layout.annotations[0].text, name
    shown = finished.plots.best_so_far().data[0]
    reports = [len(finished.found.plan.grid[: trial.critic_updates]) for trial in statuses(finished)[:3]]
    assert len(shown.x) == sum(reports)


def statuses(finished: Finished) -> list[TrialStatus]:
    return read_status(finished.found).trials


def test_what_cannot_be_is_refused_at_once(small_data: Path, tmp_path: Path) -> None:
    data, preset = load_images(str(small_data)), MNIST["wgan-gp"]
    with pytest.raises(TypeError, match=r"an option is one of seed, .*; given 'lambda_gp'"):
        Sweep(data, preset, name="mine", lambda_gp=3)
    with pytest.raises(UserError, match=r"--cpus-per-trial must be a finite number >= 0\.05; given 0"):
        Sweep(data, preset, name="mine", cpus_per_trial=0)
    with pytest.raises(UserError, match=r"--confirm must be .*; given '3'"):
        Sweep(data, preset, name="mine", confirm="3")
    with pytest.raises(UserError, match="no sweep named 'mine'"):
        Sweep.open("mine", str(tmp_path))
    assert set(CHOICES) <= set(Options.__dataclass_fields__)
