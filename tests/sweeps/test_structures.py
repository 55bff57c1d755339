"""Trials of several structures in one sweep: which of them share a cohort, and that each trains as it does alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.hyper import importance, parallel_coordinates, slices
from sweeps.engine.charts.pairs import interactions, map_of_two
from sweeps.engine.cluster.placement import Placement
from sweeps.engine.driver.lanes import hypers
from sweeps.engine.driver.memory import largest
from sweeps.engine.plan.changes import SEARCH, Changes
from sweeps.engine.plan.plan import Plan, read_plan, settle, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range, Space, check_range
from sweeps.engine.plan.structures import MOST_STRUCTURES, structures
from sweeps.engine.results.leaderboard import cells, header, shared
from sweeps.engine.results.results import Results
from sweeps.engine.storage.history import read_histories
from sweeps.engine.storage.layout import CHECKPOINTS, trial_folder
from sweeps.engine.storage.spool import Spool, StartRecord
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.study import Study
from sweeps.engine.tracking.texts import run_params
from sweeps.engine.tracking.view import searched, view
from sweeps.engine.worker import runner
from sweeps.engine.worker.holder import Holder
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.rank_group import RankGroup
from sweeps.engine.worker.runner import Runner
from sweeps.engine.worker.scorer import Scorer
from tests.sweeps.made import png
from wgan_core.backend.ranks import ALONE
from wgan_core.config import Structure
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.metrics.metric import MetricSpec
from wgan_core.metrics.objective import resolve_objective
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData

BASE = Structure("mlp", (2,), latent_dim=4, batch_size=8)
WORDS = ("batch_size=4,8", "critic.widths=8,16-8", "loss=wgan-gp,hinge", "lr=1e-4..1e-3")
BUDGET, LANES = 9, 2
OBJECTIVE = "eval/a"


def space_of(*words: str, structure: Structure = BASE) -> Space:
    """The default space after the words of `--search`."""
    return Changes.read((), words).space(WGAN_GP, structure)[0]


def plan_of(space: Space, trials: int) -> Plan:
    floors = {OBJECTIVE: 0.5}
    return Plan("1d", "sweep", trials, BUDGET, 0, OBJECTIVE, BASE, space, "data", "digest", {}, floors, pruning=False)


@pytest.fixture
def plan() -> Plan:
    return plan_of(space_of(*WORDS), 16)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def settings_of(plan: Plan, claims: Sequence[Claim]) -> list[dict[str, float | str]]:
    return [plan.space.settings(claim.params) for claim in claims]


def test_a_holder_has_trials_of_one_structure(plan: Plan, url: str) -> None:
    """Trials of other structures wait for another holder, and few are drawn ahead; all are trained in the end."""
    study, held, ended = Study(plan, url, "one"), dict[str, dict[int, Claim]](a={}, b={}), Counter[int]()
    rounds = 0
    while not study.is_done():
        rounds += 1
        holder = "ab"[rounds % 2]
        mine = held[holder]
        claims = study.claim(holder, 4 - len(mine), 1)
        mine |= {claim.trial.number: claim for claim in claims}
        assert all(each == settings_of(plan, [*mine.values()])[0] for each in settings_of(plan, [*mine.values()]))
        waiting = [row for row in study.rows() if row.state == "RUNNING" and not row.session]
        assert len(waiting) <= 4 + 4
        if mine:
            number = next(iter(mine))
            del mine[number]
            study.report(holder, {number: (BUDGET, 1.0)}, {number: 1.0})
            study.finish(holder, number, "COMPLETE", "said")
            ended[number] += 1
        assert rounds < 200
    assert sorted(ended) == list(range(16))


def test_trials_that_wait_come_first_and_decide_the_structure(plan: Plan, url: str) -> None:
    study = Study(plan, url, "one")
    first = study.claim("a", 6)
    drawn = [row for row in study.rows() if row.number not in {claim.trial.number for claim in first}]
    (claim,) = study.claim("b", 1)
    assert claim.trial.number == drawn[0].number
    study = Study(plan, url, "two")  # all wait again, with the points that they have
    again = study.claim("c", 6)
    assert [each.params for each in again][: len(first)] == [each.params for each in first]


def test_lanes_are_narrowed_for_one_structure(plan: Plan, url: str) -> None:
    """Others may have as many as before."""
    study = Study(plan, url, "one")
    study.claim("a", 4)
    (wide,) = study.claim("b", 1)
    study.narrow("b", 1, "two do not fit")
    assert study.lanes(4, plan.space.settings(wide.params)) == 1
    assert study.lanes(4, {"batch_size": 9}) == 4
    assert study.said() == ["two do not fit"]


class _InProcess(Holder):
    """The study in this process, without Ray."""

    def __init__(self, study: Study, name: str) -> None:
        self._here, self._name = study, name

    def check(self, numbers: Sequence[int], within_s: float | None = None) -> None:
        self._here.check(self._name, numbers)

    def lanes(self, most: int, settings: Mapping[str, float | str]) -> int:
        return self._here.lanes(most, settings)

    def _call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._here, method)(self._name, *arguments)


class _Checkpoints:
    """A scorer that saves each report's checkpoint, with a score of 1."""

    def report(
        self, cohort: Cohort, reports: Sequence[Report], seconds: Mapping[int, float], kept: Mapping[int, TrialStore]
    ) -> dict[int, Mapping[str, float]]:
        found = {}
        for each in reports:
            state = cohort.state_of(each.trial.number)
            saved = Checkpoint(each.trial, cohort.structure, each.critic_updates, state, {OBJECTIVE: 1.0}, 0.0)
            found[each.trial.number] = kept[each.trial.number].report(saved, {OBJECTIVE: 1.0}, png(0, 8))
        return found

    def beside(self, scores: Mapping[str, float]) -> dict[str, float]:
        return {}

    def test_scores(self, kept: TrialStore) -> dict[str, float]:
        return {}


class _Alone(RankGroup):
    """A group without further ranks, which asks Ray for nothing."""

    def doing(self, method: str, *arguments: Any) -> AbstractContextManager[None]:
        return nullcontext()


DATA = TrainingData(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))


def train(plan: Plan, folder: Path) -> Results:
    """Train a plan in one worker with two lanes."""
    job = Job(plan, Folder.at(folder), Placement(1.0, 0.0), {}, lanes=LANES)
    study = Study(plan, f"sqlite:///{folder}/study.db", "one")
    holder = _InProcess(study, "a")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner.tune, "report", lambda metrics: None)
        patched.setattr(runner, "width_for", lambda trials, most: most)  # another width may change last bits
        work = Runner(job, holder, DATA, cast("Scorer", _Checkpoints()), _Alone(ALONE, [], print))
        work.run(holder.claim(LANES), lambda: False)
    assert study.is_done()
    write_plan(job.folder, plan)
    return Results(job.folder, plan, study.rows())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    words = ("batch_size=4,8", "critic.widths=8,16-8", "lr=1e-4..1e-3")
    return train(plan_of(space_of(*words), 7), tmp_path_factory.mktemp("mixed"))


def test_each_trial_of_mixed_structures_trains_as_alone(results: Results) -> None:
    """Bit for bit, with as many lanes; the checkpoint has the trial's structure."""
    found = [checkpoints.latest(trial_folder(results.folder, row.label) / CHECKPOINTS) for row in results.rows]
    assert len({str(kept.structure) for kept in found if kept is not None}) > 2
    for kept, row in zip(found, results.rows, strict=True):
        assert kept is not None
        assert kept.structure == results.structure_of(row)
        alone = Cohort(kept.structure, DATA, results.plan.grid, LANES)
        alone.add(kept.trial)
        for _ in results.plan.grid:
            alone.advance()
        ours, theirs = kept.state.tensors(), alone.state_of(kept.trial.number).tensors()
        assert kept.critic_updates == BUDGET
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_structure_that_cannot_be_built_fails_its_own_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more structures than are checked before a sweep."""
    monkeypatch.setattr("sweeps.engine.plan.structures.MOST_STRUCTURES", 1)
    settings = {"generator.batch_norm": Range.of([True]), "batch_size": Range.of([1, 8], whole=True)}
    rows = train(plan_of(Space({**WGAN_GP.ranges, **settings}, WGAN_GP.fixed), 4), tmp_path).rows
    unfit = {row.number for row in rows if row.params["batch_size"] == 1}
    assert 0 < len(unfit) < 4
    assert {row.number for row in rows if row.state == "FAIL"} == unfit
    assert all("batch_size must be at least 2" in row.reason for row in rows if row.number in unfit)


def test_all_combinations_are_checked_up_to_a_bound() -> None:
    assert len(structures(space_of(*WORDS), BASE)) == 8
    assert structures(WGAN_GP, BASE) == [BASE]
    sizes = ",".join(map(str, range(1, MOST_STRUCTURES)))
    many = structures(space_of(f"batch_size={sizes}", "loss=wgan-gp,hinge", "critic.widths=8,512-512"), BASE)
    assert len(many) == MOST_STRUCTURES - 1 + 2 + 2 + 1
    largest_of_each = many[-1]  # by this one, the memory of all is checked
    assert largest_of_each.batch_size == MOST_STRUCTURES - 1
    assert largest_of_each.network_options == {"critic": {"widths": [512, 512]}}
    ends = structures(space_of("batch_size=4..512:log", "ema_decay=.9..0.999"), BASE)
    assert [(each.batch_size, each.ema_decay) for each in ends] == [(4, 0.9), (4, 0.999), (512, 0.9), (512, 0.999)]


@pytest.mark.parametrize("name", ["critic.<b>x</b>", "critic.a b", "critic.", "critic.x\x1b"])
def test_names_that_no_option_can_have(name: str) -> None:
    """Somebody else may have written the space, and charts show its names."""
    with pytest.raises(UserError, match="a space names hyper-parameters"):
        Space.from_json({"ranges": {name: {"low": 0, "high": 1, "among": ["a", "b"]}}, "fixed": {}, "presets": []})


@pytest.mark.parametrize("value", ["<b>x</b>", "a\x1b", "x" * 201])
def test_values_that_charts_cannot_show(value: str) -> None:
    with pytest.raises(UserError, match="printable characters"):
        check_range("critic.activation", Range(0, 1, among=tuple(sorted(("relu", value)))))


def test_one_layer_is_as_wide_as_a_number() -> None:
    one = replace(BASE, network_options={"critic": {"widths": [128]}})
    starts = space_of("critic.widths=64,128", structure=one).presets
    assert {point["critic.widths"] for point in starts} == {128}


def test_the_largest_structure_is_measured(plan: Plan) -> None:
    found = largest(plan)
    assert (found.batch_size, found.network_options) == (8, {"critic": {"widths": [16, 8]}})
    assert len(hypers(plan.space, 5)) == 5


def test_presets_begin_with_the_settings_of_the_script() -> None:
    """Moved into the lists; other networks begin without options."""
    structure = Structure("mlp", (2,), network_options={"critic": {"widths": [16, 8]}})
    words = ("batch_size=32,128", "critic.widths=8,16-8", "loss=wgan-lp,hinge", "spectral_norm=true,false")
    space, said = Changes.read((), words).space(WGAN_GP, structure)
    assert {str({**point, "lr": 0}) for point in space.presets}
    for point in space.presets:
        assert space.settings(point) == {
            "batch_size": 32,
            "critic.widths": "16-8",
            "loss": "hinge",
            "spectral_norm": "false",
        }
    assert "preset 0: batch_size 64 is not in 32,128:linear; 32 is tried" in said
    assert "preset 0: loss wgan-gp is not in hinge,wgan-lp; hinge is tried" in said
    conv = space_of("networks=mlp,residual").structure(structure, {"networks": "residual"})
    assert (conv.networks, conv.network_options) == ("residual", {})


def test_a_penalty_is_searched_while_one_loss_has_it() -> None:
    assert "lambda_gp" in space_of("loss=wgan-gp,hinge").ranges
    assert "lambda_gp" not in space_of("loss=gan,hinge").ranges


def test_a_notebook_and_a_file_give_the_same_lists(tmp_path: Path) -> None:
    found = Changes.read((), ("critic.widths=256-256,512-256", "batch_size=32,64", "spectral_norm=false,true"))
    lists = {"critic.widths": [[256, 256], [512, 256]], "batch_size": [32, 64], "spectral_norm": [True, False]}
    assert Changes.given({}, lists, None) == found
    (tmp_path / "space.toml").write_text(
        "[search]\ncritic.widths = [[256, 256], [512, 256]]\nbatch_size = [32, 64]\nspectral_norm = [true, false]\n"
    )
    assert Changes.read((), (), str(tmp_path / "space.toml")) == found
    assert Changes.read((), found.arguments()[1:]) == found
    assert found.arguments()[0] == SEARCH


def test_the_file_of_a_sweep_keeps_what_is_searched(plan: Plan, tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    write_plan(folder, plan)
    assert read_plan(folder) == plan
    assert settle(folder, plan) == plan
    fewer = space_of("batch_size=4", *WORDS[1:])
    with pytest.raises(UserError, match=r"different now: .*batch_size"):
        settle(folder, Plan(**{**vars(plan), "space": fewer}))


def test_networks_of_a_user_are_read_where_they_are_not_known(tmp_path: Path) -> None:
    """As by `sweeps best`, which does not run the script that registers them."""
    ranges = {**WGAN_GP.ranges, "networks": Range.of(["mine", "mlp"]), "critic.depth": Range.of([2, 3], whole=True)}
    write_plan(Folder.at(tmp_path), plan_of(Space(ranges, WGAN_GP.fixed), 4))
    found = read_plan(Folder.at(tmp_path))
    assert found is not None
    structure = found.structure_of({"networks": "mine", "critic.depth": 3})
    assert (structure.networks, structure.network_options) == ("mine", {"critic": {"depth": 3}})
    with pytest.raises(UserError, match=r"critic\.NAME must name an option of the critic of 'mlp'"):
        found.structure_of({"networks": "mlp", "critic.depth": 3})


def test_an_objective_must_not_depend_on_what_can_be_searched() -> None:
    specs = [
        MetricSpec(f"eval/{name}", "said", "minimize", frozenset({"held-out split", name}), "nobody")
        for name in ("batch_size", "latent_dim", "loss", "ema_decay", "networks", "optimiser", "spectral_norm")
    ]
    for spec in specs:
        with pytest.raises(UserError, match="must be comparable across trials"):
            resolve_objective(spec.name, specs)


def test_results_show_the_structure_of_each_trial(results: Results) -> None:
    """In the table, `best --json`, MLflow's params, the report's charts, and the exported program's inputs."""
    plan, row = results.plan, results.rows[0]
    shown = dict(zip(header(plan), cells(plan, row), strict=True))
    assert {name: shown[name] for name in plan.space.settings(row.params)} == {
        name: str(value) for name, value in plan.space.settings(row.params).items()
    }
    assert "batch_size" not in shared(plan)
    assert "latent_dim=4" in shared(plan)
    described = results.as_json(row)["structure"]
    assert described["batch_size"] == row.params["batch_size"]
    start = Spool(trial_folder(results.folder, row.label)).read("000000000-start.json")
    assert isinstance(start, StartRecord)
    assert run_params(start)["critic.widths"] == row.params["critic.widths"]
    assert searched(plan.space)[-2:] == ["batch_size", "critic.widths"]
    assert view(plan, ())


def test_charts_show_texts(results: Results) -> None:
    facts = Facts(results.plan, results.rows, read_histories(results.folder, results.rows))
    found = parallel_coordinates(facts)
    (axis,) = [each for each in found.data[0].dimensions if each.label == "critic.widths"]
    assert list(axis.ticktext) == ["16-8", "8"]
    assert set(axis.values) == {0, 1}
    for chart in (importance, slices, interactions, map_of_two):
        assert chart(facts).to_json()
