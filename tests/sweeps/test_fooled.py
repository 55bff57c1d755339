"""Trials that copy the training data or collapse: how a real sweep ends them, and what is shown of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.quality import quality
from sweeps.engine.plan.plan import Plan
from sweeps.engine.report.findings import findings
from sweeps.engine.results.leaderboard import leaderboard, ties
from sweeps.engine.results.results import open_results
from sweeps.engine.storage.history import History
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.spool import ReportRecord
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.rows import Row, best_row, scored_rows, sort_rows
from sweeps.engine.study.study import Study
from sweeps.engine.worker.held_trials import HeldTrials
from tests.sweeps.made import Made, finish
from tests.sweeps.processes import Surroundings
from tests.sweeps.test_leaderboard import cells, row
from wgan_core.config import Trial
from wgan_core.data.folder import Folder
from wgan_core.metrics.names import MOST_COPIED
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

# Each trial's generator draws from its seed whether it replays training points, or returns z and later one point.
SCRIPT = """
import sys

import torch
from torch import nn

from sweeps import parse, run_script, run_sweep
from sweeps.engine.plan.presets import WGAN_GP
from wgan_core.config import Structure
from wgan_core.data.toy import load_toy
from wgan_core.networks.pairs import Pair, register

POINTS = torch.from_numpy(load_toy("8gaussians").train.values[:1000])


class Fooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("replays", torch.rand(1))
        self.register_buffer("points", POINTS.clone())
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))

    def forward(self, z):
        at = (torch.special.ndtr(z[:, 0]) * len(POINTS)).long().clamp(0, len(POINTS) - 1)
        if self.training:
            self.calls += 1
        later = torch.where(self.calls > 5, torch.ones(2), z)
        return torch.where(self.replays < 0.5, self.points[at], later) + 0 * self.layer(z)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x).squeeze(1)


def main():
    options = parse("fooling", "", trials=4, budget=18, data=None)
    register("fooling", Pair(lambda structure: Critic(), lambda structure: Fooling()))
    dataset = load_toy("8gaussians")
    run_sweep(options, dataset, Structure("fooling", (2,), latent_dim=2), WGAN_GP)


sys.exit(run_script(main))
"""


@pytest.mark.slow
def test_a_sweep_ends_trials_that_copy_or_collapse_and_says_why(joined: Surroundings, tmp_path: Path) -> None:
    script = tmp_path / "fooling.py"
    script.write_text(SCRIPT)
    ran = joined.run(script, tmp_path, "--max-concurrent", 1).succeeded()
    rows = open_results(str(tmp_path), "fooling").rows
    copying = [each for each in rows if each.copies]
    collapsed = [each for each in rows if each.reason.startswith("collapsed")]
    assert copying
    assert collapsed
    for each in copying:
        assert (each.state, each.step) == ("FAIL", 0)
        assert f"trial {each.label} failed: copies: " in ran.out
    for each in collapsed:
        assert (each.state, each.step > 4) == ("PRUNED", True)
    # A trial may also be stopped at a rung before it has collapsed.
    assert len(copying) + sum(each.state == "PRUNED" for each in rows) == len(rows)
    kept = joined.run(script, tmp_path, "--max-concurrent", 1, "--allow-copies", "--no-pruning").succeeded()
    allowed = open_results(str(tmp_path), "fooling-unpruned-copies").rows
    assert {each.state for each in allowed} == {"COMPLETE"}
    assert {each.beside["copied"] > MOST_COPIED for each in allowed} == {False, True}
    assert "best checkpoint" in kept.out


def measured(number: int, value: float, error: float, **beside: float) -> Row:
    return replace(row(number, value), beside={"error": error, **beside})


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    floors = {"eval/a": 0.5, "error/a": 0.01, "eval/precision": 0.9, "eval/recall_x": 0.9, "eval/copied": 1.0}
    return make_plan(floors=floors)


def test_the_leaderboard_has_errors_precision_recall_and_copies_and_marks_ties(plan: Plan) -> None:
    rows = [
        measured(0, 1.0, 0.1, precision=0.7, recall=0.6, copied=0.004),
        measured(1, 1.2, 0.1),
        measured(2, 1.4, 0.1),
        row(3, 1.1),
    ]
    header, _, *lines = leaderboard(plan, rows).splitlines()
    shown = [dict(zip(cells(header), cells(line), strict=True)) for line in lines[:4]]
    assert {key: shown[0][key] for key in ("score", "±", "precision", "recall", "copied")} == {
        "score": "1",
        "±": "0.1",
        "precision": "0.700",
        "recall": "0.600",
        "copied": "0.004",
    }
    # 1.96 standard errors of a difference are .28 here; a score without an error is told apart.
    assert [each["±"] for each in shown] == ["0.1", "-", "0.1 ≈", "0.1"]
    assert ties(rows) == {1}
    assert lines[4].startswith("≈ cannot be told from the best")


def test_a_trial_that_copies_is_not_best(plan: Plan) -> None:
    rows = [row(0, 1.0, "FAIL", "copies: 30 % of its samples"), row(1, 2.0), row(2, 0.5, "FAIL", "not finite")]
    assert [each.number for each in sort_rows(rows)] == [2, 1, 0]
    assert [each.number for each in scored_rows(rows)] == [2, 1]
    assert best_row(rows[:2]) == rows[1]
    assert "copies" in cells(leaderboard(plan, rows).splitlines()[4])


def facts(plan: Plan, rows: list[Row], by_class: dict[int, float]) -> Facts:
    metrics = {"eval/a": 1.0, **{f"class/{label}/coverage": share for label, share in by_class.items()}}
    record = ReportRecord(50, 0, metrics, "")
    return Facts(plan, rows, {each.number: History(each.number, each.label, steps=(record,)) for each in rows})


def texts(found: Any) -> str:
    return " ".join(each.text for each in found)


def test_the_report_names_a_lost_class_ties_and_copying_trials(plan: Plan) -> None:
    rows = [measured(0, 1.0, 0.1, coverage=0.8), measured(1, 1.1, 0.1), row(2, 0.4, "FAIL", "copies: 9 % of them")]
    read = facts(plan, rows, {0: 0.9, 1: 0.8, 4: 0.02})
    said = texts(findings(read))
    for part in ("trial 0 lack class 4", "1 other trial cannot be told from trial 0", "trial 2 copies the training"):
        assert part in said
    shown = quality(read)
    assert {bar.name for bar in shown.data if bar.name} == {"coverage"}
    assert list(shown.data[-1].x) == ["0", "1", "4"]
    whole = texts(findings(facts(plan, [measured(0, 1.0, 0.1), measured(1, 2.0, 0.1)], {0: 0.9, 1: 0.8})))
    assert "lack class" not in whole
    assert "cannot be told" not in whole


def test_a_sweep_of_an_earlier_version_has_neither_errors_nor_a_panel(make_plan: Callable[..., Plan]) -> None:
    header = cells(leaderboard(make_plan(), [row(0, 1.0)]).splitlines()[0])
    assert not {"±", "precision", "recall", "copied"}.intersection(header)
    assert not quality(facts(make_plan(), [row(0, 1.0)], {})).data


def test_mlflow_shows_a_trial_that_copies_last_and_without_a_model(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    copies = Made({10: 0.9, 20: 0.5}, "FAIL", "copies: 40 % of its samples")
    sweep = finish(tmp_path, make_plan(trials=2, budget=20), trials=(copies, Made({10: 4.0, 20: 1.0})))
    client, objective = sweep.client(), sweep.plan.objective.removeprefix("eval/")
    (experiment,) = [each for each in client.search_experiments() if each.name == sweep.plan.name]
    order = [f"metrics.`best/{objective}` ASC"]
    runs = client.search_runs([experiment.experiment_id], "tags.`sweep.role` = 'trial'", order_by=order)
    assert [run.data.tags["trial.number"] for run in runs] == ["1", "0"]
    assert "best.checkpoint" in runs[0].data.tags
    assert "best.checkpoint" not in runs[1].data.tags
    assert "No score" in runs[1].data.tags["mlflow.note.content"]
    assert open_results(str(tmp_path), sweep.plan.name).best.label == "1"


def test_the_pruner_does_not_count_trials_that_copy(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    study = Study(make_plan(trials=4, budget=90), f"sqlite:///{tmp_path}/study.db", "s")
    claims = study.claim("a", 4)
    numbers = [claim.trial.number for claim in claims]
    for number in numbers[:3]:
        study.report("a", {number: (10, 0.1)}, {}, {number: {"error": 0.01, "score": 9.0}})
        study.finish("a", number, "FAIL", "copies: 40 % of its samples")
    assert not study.report("a", {numbers[3]: (10, 5.0)}, {})[numbers[3]]
    assert [dict(each.beside) for each in study.rows()] == [{"error": 0.01}] * 3 + [{}]


@pytest.mark.parametrize("name", ["spread", "coverage"])
@pytest.mark.parametrize(
    ("values", "ends_at"),
    [([0.5, 0.01, 0.01], 30), ([0.01, 0.02, 0.03], None), ([0.5, 0.01, 0.5, 0.01], None), ([0.01, 0.5, 0.01], None)],
)
def test_a_collapse_is_a_spread_or_a_coverage_that_was_there_and_fell_at_two_reports(
    name: str, values: list[float], ends_at: int | None
) -> None:
    held = HeldTrials(None, None, None, "")  # type: ignore[arg-type]
    others = {"spread": 1.0, "coverage": 0.9}
    reports = zip((10, 20, 30, 40), values, strict=False)
    found = [step for step, value in reports if held._collapsed(0, step, others | {name: value})]
    assert found == ([] if ends_at is None else [ends_at])
    # The same report again, after the lanes were halved, is no second report.
    held.forget()
    assert not held._collapsed(0, 50, {name: 0.01})


def test_a_restarted_process_knows_that_the_samples_varied(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, folder = make_plan(), Folder.at(tmp_path)
    params = dict(plan.space.presets[0])
    claim = Claim(Trial(0, 1, plan.space.hyper(params)), params, False, 20)
    store = TrialStore(trial_folder(folder, plan.label(0)), plan.objective)
    store.start(claim, "")
    for step, spread in ((10, 0.5), (20, 0.01)):
        scores = {plan.objective: 1.0, "eval/spread": spread}
        state = TrainingState.initial(plan.structure, step, torch.device("cpu"))
        store.report(Checkpoint(claim.trial, plan.structure, step, state, scores), scores, b"")
    job = SimpleNamespace(plan=plan, folder=folder, lanes=1)
    scorer = SimpleNamespace(beside=lambda metrics: {"spread": metrics["eval/spread"]})
    held = HeldTrials(job, None, scorer, "")  # type: ignore[arg-type]
    found = held._open(claim)
    assert found is not None
    assert found.critic_updates == 20
    assert not held._collapsed(0, 20, {"spread": 0.01})
    assert held._collapsed(0, 30, {"spread": 0.01})


def test_a_coverage_that_was_never_high_is_no_collapse() -> None:
    held = HeldTrials(None, None, None, "")  # type: ignore[arg-type]
    assert not any(held._collapsed(0, step, {"coverage": 0.1 / step}) for step in range(1, 20))
