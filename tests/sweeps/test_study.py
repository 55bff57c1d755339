"""The study on a real SQLite storage: what is asked, who holds it, what is told, and that a restart changes nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from sweeps.engine.plan.plan import RANDOM_TRIALS, Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range, Space
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.deaths import MAX_FAULTS, MAX_LOSSES
from sweeps.engine.study.pruner import HalvingPruner
from sweeps.engine.study.releases import Released
from sweeps.engine.study.reports import Verdict
from sweeps.engine.study.rows import Row, read_rows
from sweeps.engine.study.storage import make_study, open_study
from sweeps.engine.study.study import Study
from sweeps.engine.study.trials import Trials
from wgan_core.config import Trial, trial_seed
from wgan_core.errors import UserError

GRID = (10, 20, 30, 40, 50, 60, 70, 80, 90)
PRESETS = [dict(preset) for preset in WGAN_GP.presets]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def opened(url: str, make_plan: Callable[..., Plan]) -> Callable[..., Study]:
    """A study on the storage of this test, for a session."""

    def made(session: str = "one", **plan: object) -> Study:
        return Study(make_plan(**plan), url, session)

    return made


def test_a_study_that_was_made_is_the_one_that_is_opened(url: str) -> None:
    make_study("sweep", url, 3)
    made = open_study("sweep", url, optuna.pruners.NopPruner())
    make_study("sweep", url, 3)
    assert [made.study_name] == optuna.get_all_study_names(url)
    with pytest.raises(UserError, match="check --study-storage"):
        make_study("sweep", "sqlite:////proc/none/study.db", 3)


def train(study: Study, claim: Claim, holder: str = "a", steps: tuple[int, ...] = GRID) -> None:
    """Report and end a trial as a worker does; its values follow from its parameters alone."""
    number = claim.trial.number
    for step in steps:
        stopped = study.report(holder, {number: (step, value(claim, step))}, {number: 1.0})[number]
        if stopped or step == GRID[-1]:
            study.finish(holder, number, "PRUNED" if stopped else "COMPLETE", "said")
            return


def value(claim: Claim, step: int) -> float:
    return abs(math.log10(claim.params["lr"]) + 3) + abs(math.log10(claim.params["lambda_gp"])) + 1 / step


def one(study: Study, holder: str = "a") -> Claim:
    (claim,) = study.claim(holder, 1)
    return claim


def asked_by(study: Study, count: int) -> list[dict[str, float]]:
    """The parameters of so many trials, each trained, with one report, before the next is asked."""
    found = []
    for _ in range(count):
        claim = one(study)
        found.append(claim.params)
        train(study, claim, steps=GRID[-1:])
    return found


def test_presets_come_first(opened: Callable[..., Study]) -> None:
    """In their order, with the seeds and the hyper-parameters that follow from number and point."""
    claims = opened().claim("a", 3)
    assert [claim.params for claim in claims] == PRESETS
    for number, claim in enumerate(claims):
        assert claim.trial == Trial(number, trial_seed(0, number), WGAN_GP.hyper(PRESETS[number]))
        assert not claim.alone


def test_at_most_five_random_trials_then_the_model(
    opened: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which sampler draws each trial that is no preset."""
    drawn: list[str] = []
    for sampler, method in (
        (optuna.samplers.RandomSampler, "sample_independent"),
        (optuna.samplers.TPESampler, "sample_relative"),
    ):
        original = getattr(sampler, method)

        def noted(self, study, trial, *rest, _original=original, _name=sampler.__name__):  # type: ignore[no-untyped-def]
            result = _original(self, study, trial, *rest)
            # A sampler is asked whenever Optuna looks at a trial again; a draw is for one that has no value yet.
            if not trial.params and result != {}:
                drawn.append(f"{trial.number} {_name}")
            return result

        monkeypatch.setattr(sampler, method, noted)
    asked_by(opened(), 12)
    first_model = len(PRESETS) + RANDOM_TRIALS
    random = [f"{number} RandomSampler" for number in range(len(PRESETS), first_model)]
    assert list(dict.fromkeys(each for each in drawn if "Random" in each)) == random
    assert {each for each in drawn if "TPE" in each} == {f"{number} TPESampler" for number in range(first_model, 12)}


def test_the_model_learns(opened: Callable[..., Study]) -> None:
    """On a smooth score what it chooses is better than what chance gave."""
    study = opened(trials=32)
    asked_by(study, 32)
    rows = study.rows()
    scores = [value(Claim(Trial(0, 0, WGAN_GP.hyper(row.params)), row.params, False), 90) for row in rows]
    random, chosen = scores[3:8], scores[20:]
    assert sorted(chosen)[len(chosen) // 2] < sorted(random)[len(random) // 2]


def test_a_restarted_search_goes_on_as_one_that_was_not(
    opened: Callable[..., Study], tmp_path: Path, make_plan: Callable[..., Plan]
) -> None:
    """A new object for every trial asks what a single one asks, and no two trials are the same."""
    unbroken = asked_by(Study(make_plan(), f"sqlite:///{tmp_path}/unbroken.db", "s"), 12)
    restarted = [asked_by(opened(session=f"session {number}"), 1)[0] for number in range(12)]
    assert restarted == unbroken
    assert len({tuple(params.values()) for params in unbroken}) == 12


def test_another_seed_asks_something_else(
    opened: Callable[..., Study], tmp_path: Path, make_plan: Callable[..., Plan]
) -> None:
    other = Study(make_plan(seed=1), f"sqlite:///{tmp_path}/other.db", "s")
    assert asked_by(opened(), 5)[3:] != asked_by(other, 5)[3:]


def test_all_parameters_lie_in_their_ranges(opened: Callable[..., Study]) -> None:
    for params in asked_by(opened(trials=20), 20):
        assert all(bounds.holds(params[name]) for name, bounds in WGAN_GP.ranges.items())


def test_as_many_as_planned_and_no_more(opened: Callable[..., Study]) -> None:
    study = opened(trials=4)
    claims = study.claim("a", 3) + study.claim("b", 3)
    assert [claim.trial.number for claim in claims] == [0, 1, 2, 3]
    assert study.claim("c", 1) == []
    assert not study.is_done()
    for claim in claims[:3]:
        train(study, claim, "a")
    assert not study.is_done()
    train(study, claims[3], "b")
    assert study.is_done()
    assert not opened(trials=5).is_done()


def test_held_is_what_the_holder_claimed_and_has_not_finished(opened: Callable[..., Study]) -> None:
    study = opened()
    first, second = study.claim("a", 2)
    third = one(study, "b")
    assert study.held("a") == [first, second]
    assert study.held("b") == [third]
    assert study.held("nobody") == []
    train(study, first)
    assert study.held("a") == [second]


def test_a_trial_is_written_by_its_holder_alone(opened: Callable[..., Study]) -> None:
    """Neither another holder, nor one of an earlier session, nor one whose trial has ended can write."""
    study = opened()
    claim = one(study)
    number = claim.trial.number
    with pytest.raises(PermissionError, match=f"trial {number} is no longer held by b"):
        study.report("b", {number: (10, 1.0)}, {})
    with pytest.raises(PermissionError):
        study.finish("b", number, "COMPLETE", "")
    study.check("a", [number])
    with pytest.raises(PermissionError):
        study.check("b", [number])
    later = opened("two")
    with pytest.raises(PermissionError):
        later.report("a", {number: (10, 1.0)}, {})
    later.claim("a", 1)
    with pytest.raises(PermissionError):
        study.report("a", {number: (10, 1.0)}, {})
    train(later, claim)
    for act in (
        lambda: later.report("a", {number: (10, 1.0)}, {}),
        lambda: later.finish("a", number, "FAIL", ""),
    ):
        with pytest.raises(PermissionError):
            act()
    assert later.rows()[number].state == "COMPLETE"


def test_one_trial_that_is_fenced_off_keeps_all_from_being_recorded(opened: Callable[..., Study]) -> None:
    study = opened()
    mine, others = one(study, "a").trial.number, one(study, "b").trial.number
    with pytest.raises(PermissionError):
        study.report("a", {mine: (10, 1.0), others: (10, 1.0)}, {})
    assert [row.step for row in study.rows()] == [0, 0]


def test_what_an_earlier_session_held_comes_first(opened: Callable[..., Study]) -> None:
    """Without counting as a fault, in one cohort or several, and before any new trial is asked."""
    before = opened("one").claim("a", 3)
    study = opened("two")
    assert study.held("a") == []
    assert study.claim("a", 2) == before[:2]
    assert [claim.trial.number for claim in study.claim("b", 2)] == [2, 3]


def test_a_trial_that_died_alone_waits_again_and_comes_alone(opened: Callable[..., Study]) -> None:
    """Before any other, up to its next report; a holder that has others does not get it."""
    study = opened()
    first = one(study)
    second = one(study, "b")
    assert [(trial.number, trial.has_failed) for trial in study.release("a", died=True)] == [(0, False)]
    assert study.held("a") == []
    assert [claim.trial.number for claim in study.claim("b", 2)] == [2, 3]
    (again,) = study.claim("c", 3)
    assert (again.trial, again.alone) == (first.trial, True)
    study.report("c", {0: (10, 1.0)}, {})
    study.hand_back("c", [0])
    study.release("b", died=False)
    assert [(claim.trial.number, claim.alone) for claim in study.claim("d", 2)] == [(0, False), (1, False)]
    assert second.trial.number == 1


def test_a_session_whose_time_is_up_pauses_trials_at_their_reports(url: str, make_plan: Callable[..., Plan]) -> None:
    """It hands out none, not even one that waits for its process; ends stay ends; the next session goes on."""
    plan, until = make_plan(), time.monotonic() + 3600
    with pytest.MonkeyPatch.context() as patch:
        study = Study(plan, url, "one", until)
        ends, goes_on, begins = (claim.trial.number for claim in study.claim("a", 2) + study.claim("b", 1))
        assert study.report("a", {goes_on: (10, 1.0)}, {}) == {goes_on: Verdict.GO_ON}
        patch.setattr("sweeps.engine.study.study.time.monotonic", lambda: until)
        assert study.is_over()
        assert not study.is_done()
        assert study.claim("c", 1) == []
        assert study.began("b", "node") == []
        verdicts = study.report("a", {ends: (10, 2.0), goes_on: (20, 0.5)}, {})
        assert verdicts == {ends: Verdict.STOP, goes_on: Verdict.PAUSE}
        study.finish("a", ends, "PRUNED", "said")
        study.hand_back("a", [goes_on])
        assert [(row.state, row.session) for row in study.rows()] == [("PRUNED", "one"), *[("RUNNING", "")] * 2]
    again = Study(plan, url, "two")
    assert [(claim.trial.number, claim.step) for claim in again.claim("a", 2)] == [(goes_on, 20), (begins, 0)]
    assert again.report("a", {goes_on: (20, 0.5)}, {}) == {goes_on: Verdict.GO_ON}


def test_a_holder_that_ends_in_order_is_no_fault(opened: Callable[..., Study]) -> None:
    """As when the sweep is interrupted: however often, the trial waits again."""
    study = opened()
    for _ in range(2 * MAX_FAULTS):
        assert not one(study).alone
        assert not any(trial.has_failed for trial in study.release("a", died=False))
    assert study.rows()[0].state == "RUNNING"


def test_the_third_death_fails_it_with_its_reason(opened: Callable[..., Study]) -> None:
    study = opened(trials=1)
    for _ in range(MAX_FAULTS - 1):
        one(study)
        assert not any(trial.has_failed for trial in study.release("a", died=True))
    one(study)
    study.note("a", "ValueError: no memory")
    text = "its process died 3 times, the last time: ValueError: no memory"
    assert study.release("a", died=True) == [Released(0, 0, text, has_failed=True)]
    assert (study.rows()[0].state, study.rows()[0].reason) == ("FAIL", text)
    assert study.is_done()
    assert study.claim("a", 1) == []


def test_deaths_are_counted_over_sessions(opened: Callable[..., Study]) -> None:
    for number in range(MAX_FAULTS):
        study = opened(f"session {number}", trials=1)
        one(study)
        ended = study.release("a", died=True)
    text = "its process died 3 times, the last time: killed, or out of memory"
    assert ended == [Released(0, 0, text, has_failed=True)]


def numbers(claims: list[Claim]) -> list[int]:
    return [claim.trial.number for claim in claims]


def faults(url: str) -> list[int]:
    trials = optuna.load_study(study_name="sweep-1d", storage=url).get_trials()
    return [trial.user_attrs.get("death", {}).get("faults", 0) for trial in trials]


def test_a_shared_death_is_no_fault_and_they_go_on_together(opened: Callable[..., Study], url: str) -> None:
    """However often, as long as they get to a further report in between."""
    study = opened()
    for step in GRID[: MAX_FAULTS + 1]:
        holder = f"at {step}"
        claims = study.claim(holder, 4)
        assert numbers(claims) == [0, 1, 2, 3]
        assert not any(claim.alone for claim in claims)
        study.report(holder, dict.fromkeys(range(4), (step, 1.0)), {})
        told = "a process of 4 trials died: killed, or out of memory"
        assert study.release(holder, died=True) == [Released(n, step, told, has_failed=False) for n in range(4)]
    assert faults(url) == [0, 0, 0, 0]


def test_those_that_got_further_are_not_suspected(opened: Callable[..., Study]) -> None:
    """Of a cohort that died a second time: they may have company at once, the others are tried one by one."""
    study = opened(pruning=False)
    study.claim("a", 3)
    study.release("a", died=True)
    assert numbers(study.claim("b", 4)) == [0, 1, 2, 3]
    study.report("b", {1: (10, 1.0)}, {})
    told = [trial.reason for trial in study.release("b", died=True)]
    assert ["each is now trained alone" in reason for reason in told] == [True, False, True, False]
    assert [numbers(study.claim(holder, 4)) for holder in "cd"] == [[0], [2]]
    assert numbers(study.claim("e", 4)) == [1, 3, 4, 5]


def serve(study: Study, holder: str, culprit: int, place: int, alone: list[int]) -> bool:
    """A process of four lanes, as a worker has them, which dies if the culprit is to get beyond a report.

    Whether it died; those that it has trained alone from one report to the next are added.
    """
    while True:
        held = study.held(holder)
        if not (held and held[0].alone):
            study.claim(holder, 4 - len(held))
            held = study.held(holder)
        if not held:
            return False
        if held[0].alone:
            assert len(held) == 1
            alone += numbers(held)
        steps = {row.number: row.step for row in study.rows()}
        if culprit in numbers(held) and steps[culprit] == place:
            study.release(holder, died=True)
            return True
        for number in numbers(held):
            step = next(each for each in GRID if each > steps[number])
            study.report(holder, {number: (step, 1.0)}, {})
            if step == GRID[-1]:
                study.finish(holder, number, "COMPLETE", "said")
        if held[0].alone:
            study.hand_back(holder, numbers(held))


@pytest.mark.parametrize("culprit", [0, 2])
def test_only_the_culprit_of_a_cohort_fails(opened: Callable[..., Study], url: str, culprit: int) -> None:
    """After two deaths in company and three alone, each known to a new driver only from the storage; every other trial
    costs one interval alone, and is then trained with company again."""
    alone: list[int] = []
    deaths = 0
    while serve(opened(f"session {deaths}", trials=6, pruning=False), "a", culprit, 40, alone):
        deaths += 1
    assert deaths == 2 + MAX_FAULTS
    assert faults(url) == [MAX_FAULTS if number == culprit else 0 for number in range(6)]
    rows = opened(trials=6).rows()
    assert [row.state for row in rows] == ["FAIL" if number == culprit else "COMPLETE" for number in range(6)]
    assert rows[culprit].reason.startswith(f"its process died {MAX_FAULTS} times, the last time: ")
    assert sorted(alone) == sorted([0, 1, 2, 3] + [culprit] * (MAX_FAULTS - 1))


@pytest.fixture
def dies_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Have the process of the study end once it has written an attribute so often."""

    def set_up(attribute: str, times: int) -> None:
        written: list[str] = []
        original = Trials.set

        def dying(self: Trials, frozen: optuna.trial.FrozenTrial, key: str, value: object) -> None:
            original(self, frozen, key, value)
            written.append(key)
            if written.count(attribute) == times:
                monkeypatch.setattr(Trials, "set", original)
                raise SystemExit

        monkeypatch.setattr(Trials, "set", dying)

    return set_up


@pytest.mark.parametrize("attribute", ["death", "holder"])
def test_a_shared_death_of_which_the_study_died_too_counts_once(
    opened: Callable[..., Study], url: str, dies_after: Callable[[str, int], None], attribute: str
) -> None:
    """The actor ends amid its answer, with two of three trials done, and another one is asked again."""
    study = opened()
    assert numbers(study.claim("a", 3)) == [0, 1, 2]
    dies_after(attribute, 2)
    with pytest.raises(SystemExit):
        study.release("a", died=True)
    opened().release("a", died=True)
    claims = opened().claim("b", 3)
    assert numbers(claims) == [0, 1, 2]
    assert not any(claim.alone for claim in claims)
    assert faults(url) == [0, 0, 0]


@pytest.mark.parametrize("attribute", ["death", "holder"])
def test_a_death_alone_of_which_the_study_died_too_counts_once(
    opened: Callable[..., Study], url: str, dies_after: Callable[[str, int], None], attribute: str
) -> None:
    study = opened()
    one(study)
    dies_after(attribute, 1)
    with pytest.raises(SystemExit):
        study.release("a", died=True)
    opened().release("a", died=True)
    assert faults(url) == [1]
    assert one(opened(), "b").alone


def test_what_is_handed_back_waits_without_a_fault(opened: Callable[..., Study], url: str) -> None:
    """And only what the holder still holds: done again, or by another, it changes nothing."""
    study = opened()
    study.claim("a", 3)
    for holder in "ab":
        study.hand_back(holder, [1, 2, 7])
    assert numbers(study.held("a")) == [0]
    assert numbers(study.claim("b", 2)) == [1, 2]
    study.hand_back("a", [1])
    assert numbers(study.held("b")) == [1, 2]
    assert faults(url) == [0, 0, 0]


def test_new_cohorts_of_a_session_have_no_more_lanes_than_fitted(opened: Callable[..., Study]) -> None:
    """Those that are beyond wait again; it is said once, and forgotten by the next session."""
    study = opened()
    study.claim("a", 8)
    for _ in range(2):
        assert numbers(study.narrow("a", 4, "8 do not fit")) == [0, 1, 2, 3]
    assert (study.lanes(8), study.lanes(1), study.said()) == (4, 1, ["8 do not fit"])
    assert numbers(study.claim("b", 8)) == [4, 5, 6, 7]
    study.narrow("b", 2, "nor do 4")
    restarted = opened()
    assert (restarted.lanes(8), restarted.said()) == (2, ["8 do not fit", "nor do 4"])
    # One that has trials already knows its own lanes.
    assert numbers(restarted.claim("a", 2)) == [6, 7]
    later = opened("two")
    assert (later.lanes(8), later.said()) == (8, [])
    assert len(later.claim("a", 8)) == 8


def test_a_cohort_that_is_always_killed_when_full_gets_narrower(opened: Callable[..., Study]) -> None:
    """As by the system for want of memory: four lanes die, and each of their trials alone does not; known from the
    storage alone, and forgotten by the next session."""
    alone: list[int] = []
    for _ in range(2):
        opened().claim("first", 4)
        opened().release("first", died=True)
    for holder in "abcd":
        (claim,) = opened().claim(holder, 4)
        assert claim.alone
        alone += numbers([claim])
        assert opened(pruning=False).report(holder, {claim.trial.number: (10, 1.0)}, {}) == {claim.trial.number: False}
        opened().hand_back(holder, numbers([claim]))
    assert alone == [0, 1, 2, 3]
    assert numbers(opened().claim("full", 4)) == alone
    assert (opened().lanes(4), opened().said()) == (4, [])
    opened().release("full", died=True)
    said = "a process of 4 trials died again, and each trial alone did not: 2 lanes from now on"
    assert (opened().lanes(4), opened().said()) == (2, [said])
    assert numbers(opened().claim("half", 4)) == [0, 1]
    assert opened("two").lanes(4) == 4


def test_a_death_of_fewer_lanes_makes_none_narrower(opened: Callable[..., Study]) -> None:
    """Nor one whose suspects have not all got past their places."""
    study = opened(pruning=False)
    for holder in "ab":
        study.claim(holder, 4)
        study.release(holder, died=True)
    for number, holder in enumerate("cdef"):
        assert numbers(study.claim(holder, 4)) == [number]
        if number < 3:
            study.report(holder, {number: (10, 1.0)}, {})
            study.hand_back(holder, [number])
    assert numbers(study.claim("g", 4)) == [0, 1, 2, 4]
    study.release("g", died=True)
    assert study.said() == []
    study.report("f", {3: (10, 1.0)}, {})
    assert numbers(study.claim("h", 2)) == [0, 1]
    study.release("h", died=True)
    assert study.said() == []


@pytest.mark.parametrize("attribute", ["death", "reason"])
def test_the_last_death_of_which_the_study_died_too_is_the_last(
    opened: Callable[..., Study], dies_after: Callable[[str, int], None], attribute: str
) -> None:
    """It is not handed out a fourth time, and whoever asks again is told that it has ended."""
    for _ in range(MAX_FAULTS - 1):
        one(opened())
        opened().release("a", died=True)
    one(opened())
    dies_after(attribute, 1)
    with pytest.raises(SystemExit):
        opened().release("a", died=True)
    assert not {0} & set(numbers(opened().claim("b", 1)))
    for _ in range(2):
        assert [(each.number, each.has_failed) for each in opened().release("a", died=True)] == [(0, True)]
    assert opened().rows()[0].state == "FAIL"


def test_first_claims_share_the_trials_that_are_left(opened: Callable[..., Study]) -> None:
    """Each of two processes of eight lanes gets six of twelve; lanes that are freed take what there is."""
    study = opened(pruning=False)
    assert numbers(study.claim("a", 8, 2)) == [0, 1, 2, 3, 4, 5]
    assert numbers(study.claim("b", 8, 1)) == [6, 7, 8, 9, 10, 11]
    study.release("b", died=False)
    assert numbers(study.claim("c", 8, 2)) == [6, 7, 8]
    assert numbers(study.claim("a", 2)) == [9, 10]
    assert numbers(study.claim("d", 8, 3)) == [11]
    assert study.claim("e", 8, 2) == []


def test_the_lane_that_is_freed_does_not_choose(make_plan: Callable[..., Plan]) -> None:
    """Eight lanes whose trials last as long as n_critic says, refilled by TPE when they are free, are handed the trials
    in order, with the parameters that those have which, in the same order of events, each get a new process."""
    space = Space({"n_critic": Range(1, 5, whole=True), "lr": Range(1e-5, 1e-2, log=True)}, dict(PRESETS[0]), ())
    plan = make_plan(trials=40, budget=1, space=space)
    study, apart = Study(plan, "sqlite://", "s"), Study(plan, "sqlite://", "s")
    handed_out: list[Claim] = []
    handed_out_apart: list[Claim] = []
    lanes: list[tuple[float, int]] = []
    now = 0.0
    while claims := study.claim("a", 8 - len(lanes)):
        handed_out += claims
        handed_out_apart += [one(apart, f"for {claim.trial.number}") for claim in claims]
        lanes = sorted(lanes + [(now + 10.0**-claim.trial.hyper.n_critic, claim.trial.number) for claim in claims])
        now, number = lanes.pop(0)
        params = handed_out[number].params
        score = abs(math.log10(params["lr"]) + 3) + params["n_critic"]
        for each, holder in ((study, "a"), (apart, f"for {number}")):
            each.report(holder, {number: (1, score)}, {})
            each.finish(holder, number, "COMPLETE", "")
    assert numbers(handed_out) == list(range(40))
    assert [claim.params for claim in handed_out] == [claim.params for claim in handed_out_apart]
    assert len({claim.params["n_critic"] for claim in handed_out}) == 5


def test_a_value_once_reported_stays(opened: Callable[..., Study]) -> None:
    """The same step again, after a resume, changes neither the value nor the seconds."""
    study = opened()
    number = one(study).trial.number
    assert study.report("a", {number: (20, 1.0)}, {number: 2.0}) == {number: False}
    study.report("a", {number: (20, 7.0)}, {number: 2.0})
    study.report("a", {number: (40, 3.0)}, {number: 0.5})
    row = study.rows()[number]
    assert (row.value, row.best_step, row.step, row.seconds) == (1.0, 20, 40, 2.5)


def test_all_of_a_cohort_are_recorded_before_any_is_judged(opened: Callable[..., Study]) -> None:
    """So it does not matter who stands on which lane: the third that is best goes on."""
    for session, values in (("one", (1.0, 2.0, 3.0)), ("two", (3.0, 2.0, 1.0))):
        study = opened(session)
        claims = study.claim("a", 3)
        numbers = [claim.trial.number for claim in claims]
        verdict = study.report("a", {n: (10, v) for n, v in zip(numbers, values, strict=True)}, {})
        best = numbers[values.index(1.0)]
        assert verdict == {number: number != best for number in numbers} or session == "two"
        if session == "one":
            assert verdict == {0: False, 1: True, 2: True}
            for number in numbers:
                study.finish("a", number, "PRUNED", "")


def test_a_trial_whose_node_leaves_waits_without_a_fault(opened: Callable[..., Study]) -> None:
    """However often; and it may have company afterwards."""
    study = opened()
    for _ in range(MAX_FAULTS + 1):
        one(study)
        study.note("a", "its node is leaving the cluster", leaves=True)
        assert study.release("a", died=True) == [Released(0, 0, "its node is leaving the cluster", False)]
    assert not one(study).alone


def test_a_lost_node_is_no_fault_of_its_trials(opened: Callable[..., Study]) -> None:
    """Counted apart, so that a spell of bad luck fails no trial, and one that takes its node down with it ends."""
    study = opened()
    for times in range(1, MAX_LOSSES + 1):
        one(study)
        (claim,) = study.began("a", "gone")
        assert not claim.alone
        expected = Released(0, 0, f"its node was lost ({times} so far)", times == MAX_LOSSES)
        assert study.release("a", died=True, lost={"gone"}) == [expected]
    assert [row.state for row in study.rows()] == ["FAIL"]
    one(study, "c")
    study.began("c", "head")
    (released,) = study.release("c", died=True, lost={"gone"})
    assert released.reason == "its process died 1 times, the last time: killed, or out of memory"
    one(study, "b")  # its process had not begun
    (released,) = study.release("b", died=True, lost={"gone"})
    assert released.reason == "its node was lost (1 so far)"


def test_nobody_is_stopped_without_pruning(opened: Callable[..., Study]) -> None:
    """Not even those that are last at every rung."""
    for pruning, ends in ((True, {"COMPLETE", "PRUNED"}), (False, {"COMPLETE"})):
        study = opened(pruning=pruning, id=str(pruning), trials=6)
        for claim in study.claim("a", 6):
            train(study, claim)
        assert {row.state for row in study.rows()} == ends


def test_nobody_is_stopped_at_the_end_of_the_budget(opened: Callable[..., Study]) -> None:
    study = opened(budget=1)
    claims = study.claim("a", 3)
    assert not any(study.report("a", {c.trial.number: (1, float(c.trial.number)) for c in claims}, {}).values())


def test_how_each_end_is_told_to_optuna(opened: Callable[..., Study], url: str, make_plan: Callable[..., Plan]) -> None:
    """COMPLETE with the lowest value, wherever it was; PRUNED as PRUNED; FAIL as FAIL; each with its reason."""
    study = opened()
    for _ in range(3):
        one(study)
    study.report("a", {0: (10, 3.0)}, {})
    study.report("a", {0: (20, 1.0)}, {})
    study.report("a", {0: (90, 2.0)}, {})
    study.report("a", {1: (10, 9.0)}, {})
    study.finish("a", 0, "COMPLETE", "all of it")
    study.finish("a", 1, "PRUNED", "too slow")
    study.finish("a", 2, "FAIL", "not finite")
    told = optuna.load_study(study_name="sweep-1d", storage=url).get_trials()
    assert [trial.state.name for trial in told] == ["COMPLETE", "PRUNED", "FAIL"]
    assert told[0].value == 1.0
    assert [trial.user_attrs["reason"] for trial in told] == ["all of it", "too slow", "not finite"]
    assert read_rows(make_plan(), url) == study.rows()
    assert [(row.value, row.best_step, row.state) for row in study.rows()[:2]] == [
        (1.0, 20, "COMPLETE"),
        (9.0, 10, "PRUNED"),
    ]
    assert math.isnan(study.rows()[2].value)


def test_a_value_that_is_nan_is_no_best(opened: Callable[..., Study]) -> None:
    study = opened()
    one(study)
    study.report("a", {0: (20, math.nan)}, {})
    study.report("a", {0: (40, 3.0)}, {})
    study.report("a", {0: (50, math.nan)}, {})
    row = study.rows()[0]
    assert (row.value, row.best_step) == (3.0, 40)


def test_a_trial_that_was_being_asked_when_all_ended(
    opened: Callable[..., Study], url: str, make_plan: Callable[..., Plan]
) -> None:
    """Optuna had its number and some of its parameters: it gets the others, and the search goes on."""
    study = opened()
    for _ in range(4):
        train(study, one(study))
    half = open_study("sweep-1d", url, HalvingPruner(GRID, 3)).ask()
    half.suggest_float("lambda_gp", 0.1, 100.0, log=True)
    later = opened("two")
    claim = one(later)
    assert claim.trial.number == 4
    assert set(claim.params) == set(WGAN_GP.ranges)
    assert claim.params["lambda_gp"] == half.params["lambda_gp"]


def test_enqueued_and_not_yet_asked(opened: Callable[..., Study], url: str) -> None:
    """The session ended between the two steps of asking for a preset: it is asked once."""
    open_study("sweep-1d", url, HalvingPruner(GRID, 3)).enqueue_trial(PRESETS[0])
    claims = opened().claim("a", 3)
    assert [(claim.trial.number, claim.params) for claim in claims] == list(enumerate(PRESETS))


def test_a_storage_that_does_not_open(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    """The line names the option and shows no password."""
    url = f"sqlite:///{tmp_path}/no/such/folder/study.db"
    with pytest.raises(UserError, match="check --study-storage"):
        Study(make_plan(), url, "s")
    with pytest.raises(UserError) as refused:
        read_rows(make_plan(), "nonsense://me:secret@host/db")
    assert "secret" not in str(refused.value)
    with pytest.raises(UserError):
        read_rows(make_plan(), f"sqlite:///{tmp_path}/study.db")


def test_rows_before_the_first_report(opened: Callable[..., Study]) -> None:
    study = opened()
    assert study.rows() == []
    claim = one(study)
    (row,) = study.rows()
    assert row == Row(0, "0", "RUNNING", claim.params, row.value, 0, 0, 0.0, "", row.session)
    assert math.isnan(row.value)


def test_rows_name_the_session_that_holds_them(opened: Callable[..., Study]) -> None:
    """Until it gives them back."""
    study = opened(session="first")
    study.claim("a", 1)
    assert [row.session for row in study.rows()] == ["first"]
    study.release("a", died=False)
    assert [row.session for row in study.rows()] == [""]
