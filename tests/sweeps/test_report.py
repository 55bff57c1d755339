"""The report: its figures against an independent reading, what a person wrote escaped, and a page for every sweep."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.cli import main
from sweeps.engine.charts import hyper, pairs, progress
from sweeps.engine.charts.equal import ends
from sweeps.engine.charts.facts import Facts, read_facts
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import FILE, Plan, on_test_split
from sweeps.engine.plan.presets import CLIPPED, PLAIN, WGAN_GP
from sweeps.engine.plan.space import Range, Space
from sweeps.engine.report.findings import findings
from sweeps.engine.report.ranks import ranks
from sweeps.engine.report.write import write_report
from sweeps.engine.results.confirmation import Confirmation, plan_confirmation
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.study.rows import Row
from tests.sweeps.made import IMAGES, Made, finished, studied
from wgan_core.config import Hyper, Structure, trial_seed
from wgan_core.data.folder import Folder

OBJECTIVE = "eval/a"
GRID = range(10, 100, 10)
EVIL = "</td><script>alert(1)</script>"
TRIALS = (
    Made({step: 20 - step / 10 for step in GRID}),
    Made({**{step: 30 - step / 10 for step in GRID}, 80: 5.0}, n_critic=1),
    Made({10: 100.0}, "PRUNED", "stopped early"),
    Made({10: 18.0, 20: 17.0, 30: 16.5}, "PRUNED", "stopped early", waiting=2),
    Made({}, "FAIL", EVIL, note={"missing": ["000000010.png"], "dropped": {"eval/a": 3}}),
    Made({10: 300.0}, "PRUNED", "stopped early"),
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, make_plan: Callable[..., Plan]) -> Path:
    """Of a sweep of six trials with its Optuna study, and its report."""
    folder = tmp_path_factory.mktemp("storage")
    studied(Folder.at(folder), make_plan(trials=6), TRIALS)
    write_report(open_results(str(folder), "sweep"))
    return folder


@pytest.fixture(scope="module")
def page(storage: Path) -> str:
    return (storage / "sweep" / "report" / "sweep.html").read_text()


@pytest.fixture(scope="module")
def facts(storage: Path) -> Facts:
    return read_facts(open_results(str(storage), "sweep"))


@pytest.fixture(scope="module")
def trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    """As Optuna itself reads them."""
    url = f"sqlite:///{storage}/sweep/study.db"
    return optuna.load_study(study_name="sweep-1d", storage=url).get_trials()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files without a wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def made(tmp_path: Path, make_plan: Callable[..., Plan], quick: None) -> Callable[..., Results]:
    """A sweep of these trials, with a plan of which any field may be given."""

    def make(trials: list[Made], /, **change: Any) -> Results:
        return finished(Folder.at(tmp_path), make_plan(**{"trials": max(len(trials), 1), **change}), trials)

    return make


def written(results: Results) -> str:
    folder = write_report(results)
    text = folder.read("sweep.html").decode()
    assert pq.read_table(f"{folder.path}/trials.parquet").num_rows == len(results.all_rows)
    assert figures(text)
    return text


def figures(text: str) -> dict[str, Any]:
    """The charts of a page, as a browser reads them."""
    found = re.search(r"^const figures = (\{.*\});$", text, re.MULTILINE)
    assert found is not None
    return json.loads(found[1], parse_constant=pytest.fail)


def section(text: str, key: str) -> str:
    found = re.search(rf'<section id="{key}">(.*?)</section>', text, re.DOTALL)
    assert found is not None
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found[1]))


def spooled(storage: Path, number: int) -> dict[int, dict[str, float]]:
    """Metrics by critic updates, read from the files themselves."""
    files = (storage / "sweep" / "trials" / str(number) / "spool").glob("?????????.json")
    steps = [json.loads(file.read_text()) for file in files]
    return {step["critic_updates"]: step["metrics"] for step in steps}


def test_the_headline_is_the_winner_of_the_study(page: str, trials: list[optuna.trial.FrozenTrial]) -> None:
    """Trial 1 has 5.0 at critic update 80, where no other is below 11."""
    best = min(trials, key=lambda trial: min(trial.intermediate_values.values(), default=math.inf))
    text = section(page, "best")
    assert best.number == 1
    assert f"The best: trial {best.number}" in text
    assert "score, a 5 floor, real against real 0.5 times the floor 10.0 at critic update 80" in text
    assert "/sweep/trials/1/checkpoints/000000080" in text
    assert f"λ {best.params['lambda_gp']:.3g} lr {best.params['lr']:.2e} n_critic {best.params['n_critic']}" in text
    assert f"seed {trial_seed(0, 1)}" in text
    assert 'torch.export.load("sweep-best/generator.pt2")' in text.replace("&#34;", '"')
    assert page.count("data:image/") > 9


def test_the_leaders_stand_in_order(page: str) -> None:
    found = re.findall(r"(\d+)\. trial (\d+)", section(page, "leaders"))
    assert found == [("1", "1"), ("2", "0"), ("3", "3"), ("4", "2"), ("5", "5")]


def test_the_table_of_all_trials_equals_study_and_spool(
    page: str, storage: Path, trials: list[optuna.trial.FrozenTrial]
) -> None:
    rows = {
        int(cells[0]): cells
        for row in re.findall(r"<tr>(.*?)</tr>", page[page.index('id="trials"') : page.index('id="failed"')], re.DOTALL)
        if (cells := [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)])
    }
    assert list(rows) == [1, 0, 3, 2, 5, 4]
    for trial in trials:
        cells, steps = rows[trial.number], spooled(storage, trial.number)
        assert cells[1] == trial.state.name
        if not trial.intermediate_values:
            assert cells[7:12] == ["–", "–", "–", "–", "0"]
            continue
        best = min(trial.intermediate_values.values())
        first = trial.intermediate_values[10]
        generated = steps[max(steps)]["train/generator_updates"]
        assert cells[7:9] == [f"{best:.4g}", f"{best / 0.5:.1f}"]
        assert cells[10:13] == [f"{first:.4g}", str(trial.last_step), f"{generated:.0f}"]


def test_the_curves_equal_the_spools(page: str, storage: Path) -> None:
    drawn = {trace["name"].split(" (")[0]: trace for trace in figures(page)["curves"]["data"]}
    for number in (0, 1, 2, 3, 5):
        metrics = spooled(storage, number)
        trace = drawn[f"trial {number}"]
        assert dict(zip(trace["x"], trace["y"], strict=True)) == {
            step: each["eval/a"] for step, each in metrics.items()
        }
    assert drawn["floor: real against real"]["y"] == [0.5, 0.5]


def test_the_parquet_equals_study_and_spool(storage: Path, trials: list[optuna.trial.FrozenTrial]) -> None:
    """By pandas; its types, by pyarrow."""
    file = storage / "sweep" / "report" / "trials.parquet"
    table = pd.read_parquet(file).set_index("trial")
    types = {field.name: str(field.type) for field in pq.read_schema(file)}
    assert types["n_critic"] == types["best_step"] == types["generator_updates"] == "int64"
    assert (types["lr"], types["lr_critic"], types["state"], types["best/eval/a"]) == (
        *("double",) * 2,
        "string",
        "double",
    )
    for trial in trials:
        row, steps = table.loc[str(trial.number)], spooled(storage, trial.number)
        assert {name: row[name] for name in trial.params} == pytest.approx(trial.params, rel=0, abs=0)
        assert (row["lr_generator"], row["beta2"]) == (trial.params["lr"], 1 - trial.params["one_minus_beta2"])
        assert (row["state"], row["reason"]) == (trial.state.name, trial.user_attrs["reason"])
        if not steps:
            assert pd.isna(row["best_score"])
            assert pd.isna(row["checkpoint"])
            continue
        best = min(steps, key=lambda step: steps[step]["eval/a"])
        assert (row["best_score"], row["best_step"], row["last_step"]) == (steps[best]["eval/a"], best, trial.last_step)
        assert row["seconds"] == trial.user_attrs["seconds"]
        assert row["floor"] == 0.5
        assert {name: row[f"last/{name}"] for name in steps[10]} == steps[max(steps)]
        assert {name: row[f"best/{name}"] for name in steps[10]} == steps[best]


def test_the_winner_can_be_trained_again(storage: Path, facts: Facts) -> None:
    kept = json.loads((storage / "sweep" / "report" / "best_config.json").read_text(), parse_constant=pytest.fail)
    plan, row = facts.plan, facts.rows[1]
    assert Hyper(**kept["hyper"]) == plan.space.hyper(row.params)
    assert Structure.from_json(kept["structure"]) == plan.structure
    assert kept["seed"] == trial_seed(plan.seed, 1)
    assert (kept["trial"], kept["score"], kept["best_step"], kept["budget"]) == ("1", 5.0, 80, 90)
    assert (kept["data"], kept["data_digest"], kept["objective"]) == ("data", "digest", OBJECTIVE)
    assert kept["protocol"] == {"sample_size": 1000}
    assert kept["checkpoint"].endswith("/sweep/trials/1/checkpoints/000000080")


def test_what_a_person_wrote_is_escaped(page: str) -> None:
    assert EVIL not in page
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_name_of_the_data_is_escaped(made: Callable[..., Results]) -> None:
    assert EVIL not in written(made([Made({10: 1.0})], data=EVIL, protocol={EVIL: EVIL}))


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    """Nothing is fetched, and nothing kept, which a sandboxed frame would refuse."""
    own = page[: page.index("<script>")] + page[page.index("const figures") :]
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#|data:)", own)
    assert not re.search(r"@import|url\(|fetch\(|localStorage|cookie", own)


def test_completeness_of_tracking(page: str) -> None:
    """Of 6 starts, 6 ends and 23 reports, two of trial 3 are waiting."""
    text = section(page, "tracking")
    assert "33 of 35 records of 6 trials are in MLflow" in text
    assert "3 run3 5 2: 000000030.json, end.json" in text
    assert "4 run4 2 0 000000010.png eval/a: 3 not finite" in text


def test_failed_trials_have_their_reasons(page: str) -> None:
    assert "4 0 &lt;/td&gt;&lt;script&gt;" in section(page, "failed")


def test_best_so_far_by_hand(facts: Facts) -> None:
    """Trials 0 and 1 begin together, 2 and 3 a second later, 4 and 5 two seconds later."""
    reports = progress.in_order(facts)
    assert [(report.number, report.critic_updates) for report in reports[:4]] == [(0, 10), (1, 10), (0, 20), (1, 20)]
    assert [report.spent for report in reports] == list(range(10, 10 * len(reports) + 1, 10))
    assert len(reports) == 9 + 9 + 1 + 3 + 1
    drawn = {trace.name: trace for trace in progress.best_so_far(facts).data}
    # Of trial 1 at 80 at its sixteenth place: 5; before it trial 0 was the lowest, from 19 at 10 to 12 at 80.
    line = dict(zip(drawn["best so far"].x, drawn["best so far"].y, strict=True))
    assert line == {10: 19, 30: 18, 50: 17, 70: 16, 90: 15, 110: 14, 130: 13, 150: 12, 160: 5, 230: 5}
    assert progress.best_so_far(facts).layout.yaxis.type == "log"


def test_the_equal_step_is_one_that_nearly_all_reached(facts: Facts) -> None:
    """All five that have a score have one at 10, and two of five at 40 and later."""
    assert facts.equal_step == 10
    assert facts.equal == {0: 19.0, 1: 29.0, 2: 100.0, 3: 18.0, 5: 300.0}
    values = {trial.number: trial.value for trial in facts.study.get_trials() if trial.value is not None}
    assert values == facts.equal


def test_few_trials_are_warned_of(page: str, made: Callable[..., Results]) -> None:
    """Ten for each of five hyper-parameters are wanted."""
    said = "Only 5 trials for 5 hyper-parameters: at least 50"
    assert said in section(page, "importance")
    many = [Made({10: 1.0 + number % 7}) for number in range(50)]
    assert read_facts(made(many)).caution == ""
    assert "Only 49 trials" in read_facts(made(many[:49], name="fewer")).caution


def test_what_is_searched_on_a_log_scale_is_shown_on_one(facts: Facts) -> None:
    lines = {axis.label: axis for axis in hyper.parallel_coordinates(facts).data[0].dimensions}
    rows = [facts.rows[number] for number in (0, 1, 2, 3, 5)]
    assert list(lines["λ"].values) == [math.log10(row.params["lambda_gp"]) for row in rows]
    assert dict(zip(lines["λ"].ticktext, lines["λ"].tickvals, strict=True)) == {"0.1": -1, "1": 0, "10": 1, "100": 2}
    assert list(lines["β1"].values) == [row.params["beta1"] for row in rows]
    assert list(lines["at 10"].values) == [math.log10(score) for score in (19, 29, 100, 18, 300)]
    assert list(lines["best"].values) == [math.log10(row.value) for row in rows]

    drawn = hyper.slices(facts)
    kinds = {axis.title.text: axis.type for axis in drawn.select_xaxes()}
    assert {name: kinds[name] for name in ("λ", "learning rate", "1 − β2")} == dict.fromkeys(
        ("λ", "learning rate", "1 − β2"), "log"
    )
    assert kinds["β1"] != "log"
    assert {axis.type for axis in drawn.select_yaxes()} == {"log"}

    plane = pairs.map_of_two(facts)
    assert (plane.layout.xaxis.title.text, plane.layout.yaxis.title.text) == ("λ", "learning rate")
    assert (plane.layout.xaxis.type, plane.layout.yaxis.type) == ("log", "log")
    assert progress.curves(facts).layout.yaxis.type == "log"


def test_scores_below_zero_are_on_a_linear_axis(made: Callable[..., Results]) -> None:
    facts = read_facts(made([Made({10: 0.02}), Made({10: -0.01})]))
    assert progress.curves(facts).layout.yaxis.type == "linear"
    assert progress.best_so_far(facts).layout.yaxis.type == "linear"


def test_the_important_hyper_parameter_is_found(made: Callable[..., Results]) -> None:
    """The score is the distance of the learning rate from 1e-3, in decades; the rest does nothing."""
    facts = read_facts(made([Made({10: 0.1 + abs(math.log10(point["lr"]) + 3)}, params=point) for point in spread(60)]))
    assert next(iter(facts.importances)) == "lr"
    assert facts.importances["lr"] > 0.9
    assert sum(facts.importances.values()) == pytest.approx(1)
    assert facts.forest is not None
    assert facts.forest.trust > 0.8


def test_ranks_at_equal_budgets_by_hand(made: Callable[..., Results]) -> None:
    """Trial 0 has the lowest score; trial 1 makes a generator update of each critic update, trial 2 is twice as quick.

    At 18 generator updates (90 / 5) trial 1 stands at critic update 10, with 9; the others have all of theirs. At 4.5
    seconds trials 0 and 1 stand at critic update 40, trial 2 at 90.
    """
    slow = {step: 9 - 0.08 * (step - 10) for step in GRID}
    facts = read_facts(
        made(
            [
                Made({**slow, 90: 2.0}),
                Made({step: value + 0.1 for step, value in slow.items()}, n_critic=1),
                Made({step: value + 0.2 for step, value in slow.items()}, seconds=0.5),
                Made({10: 1.0}, "PRUNED"),
            ]
        )
    )
    found = ranks(facts)
    assert [row.number for row in found.trials] == [0, 1, 2]
    critic, generator, seconds = found.measures
    assert (critic.budget, generator.budget, seconds.budget) == (90, 18, 4.5)
    assert critic.scores == {0: 2.0, 1: pytest.approx(2.7), 2: pytest.approx(2.8)}
    assert generator.scores == {0: 2.0, 1: pytest.approx(9.1), 2: pytest.approx(2.8)}
    assert seconds.scores == {0: pytest.approx(6.6), 1: pytest.approx(6.7), 2: pytest.approx(2.8)}
    assert (critic.ranks, generator.ranks) == ({0: 1, 1: 2, 2: 3}, {0: 1, 1: 3, 2: 2})
    assert seconds.ranks == {0: 2, 1: 3, 2: 1}
    said = "The order differs: trial 0 leads by critic updates and generator updates, trial 2 leads by seconds."
    assert found.statement == said
    assert said in section(written(Results(made([]).folder, facts.plan, list(facts.rows))), "ranks")


def test_ranks_that_agree(made: Callable[..., Results]) -> None:
    trials = [Made({step: 10.0 + number - step / 100 for step in GRID}) for number in range(3)]
    by = "critic updates, generator updates and seconds"
    assert ranks(read_facts(made(trials))).statement == f"Trial 0 leads by {by}, and the order behind it is the same."
    assert ranks(read_facts(made(trials[:1], name="alone"))).statement == "There are not yet two trials to compare."


def said(trials: list[Made], made: Callable[..., Results], /, **change: Any) -> str:
    """What speaks for and against the winner, in one line."""
    return " ".join(finding.text for finding in findings(read_facts(made(trials, **change))))


def test_what_speaks_for_the_winner_and_against(made: Callable[..., Results]) -> None:
    """A tie, an end of a range, a score that still falls, a preset that nothing beat: each is said where it is so."""
    middle = {"lambda_gp": 5.0, "lr": 1e-3, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.02}
    edge = {**middle, "lr": 9.9e-3}
    text = said(
        [Made({10: 4.0}), Made({10: 3.0, 20: 2.0}, params=middle), Made({10: 2.06}, params=middle)], made, name="a"
    )
    assert "3 of 3 trials ended: 3 trained for the whole budget, 0 stopped early." in text
    assert "The first preset, trial 0, reached 4 and ended at critic update 10." in text
    assert "Trial 2 is within 3.0% of it (2.06): call it a tie." in text
    assert "Trial 1's last report is its best" in text
    assert "3 trials are few for 5 hyper-parameters; 50 would say which of them matter." in text
    assert "range" not in text

    text = said([Made({10: 4.0}), Made({10: 2.0, 20: 3.0}, params=edge)], made, name="b", trials=9)
    assert "2 of 9 trials ended" in text
    assert "The sweep is not over" in text
    assert "The next best, trial 0, has 4, 100% more." in text
    assert "Trial 1's learning rate, 0.0099, lies at the upper end of the range" in text
    assert "Trial 1's best came at critic update 10 of 20; at the last report it had 3." in text

    text = said([Made({10: 0.4}), Made({10: 1.0}), Made({}, "FAIL")], made, name="c")
    assert "Nothing beat the first preset" in text
    assert "no worse than real samples" in text
    assert "1 of 3 trials failed" in text


def test_classes_that_the_objective_does_not_see_are_named(made: Callable[..., Results]) -> None:
    structure = replace(IMAGES, classes=3)
    unseen = {"structure": structure, "protocol": {"classes_not_scored": [1, 2]}}
    text = said([Made({10: 4.0}), Made({10: 2.0})], made, name="unseen", **unseen)
    assert "does not see all classes: 2 of 3 classes are left out" in text
    assert "held-out or generated samples: 1, 2. More samples of them would help." in text
    assert "does not see" not in said([Made({10: 4.0})], made, name="odd", protocol={"classes_not_scored": "1"})


def test_what_was_confirmed_is_shown(made: Callable[..., Results]) -> None:
    results = made([Made({10: 2.0})])
    assert "have not been trained again" in section(written(results), "confirmed")
    plan = plan_confirmation(results.plan, results.rows, ConfirmationSize(1, 2), None, {}, {})
    name = on_test_split(plan.objective)
    runs = [
        Row(0, "0a", "COMPLETE", results.rows[0].params, 2.5, 10, 10, 1.0, "", test={name: 3.5}),
        Row(1, "0b", "COMPLETE", results.rows[0].params, 2.25, 10, 10, 1.0, "", test={name: 3.25}),
    ]
    page = written(replace(results, confirmation=Confirmation(plan, runs, results.rows)))
    text = section(page, "confirmed")
    assert "0 2 2 of 2 2.375 0.7867 to 3.963 3.375 1.787 to 4.963 0a: 2.5, 3.5; 0b: 2.25, 3.25" in text
    best = section(page, "best")
    assert "The best: trial 0b" in best
    assert "The best run of the settings of trial 0, which were confirmed" in best
    assert "settings of trial 0 score 2.375 [0.7867, 3.963] on the validation split, 3.375" in best
    assert f"seed {trial_seed(plan.seed, 1)}" in best
    config = json.loads((results.folder / "report").read("best_config.json"))
    assert (config["trial"], config["confirms"], config["seed"]) == ("0b", "0", trial_seed(plan.seed, 1))
    table = pq.read_table(pa.BufferReader((results.folder / "report").read("trials.parquet"))).to_pylist()
    assert [(row["trial"], row["confirms"], row[name]) for row in table] == [
        ("0", None, None),
        ("0a", "0", 3.5),
        ("0b", "0", 3.25),
    ]


def test_machines_and_where_it_is_tracked(made: Callable[..., Results]) -> None:
    """As far as they are recorded; a password is not shown."""
    results = made([Made({10: 2.0})])
    described = json.loads(results.folder.read(FILE))
    described |= {"tracking_uri": "https://user:secret@host/mlflow"}
    results.folder.write(FILE, json.dumps(described).encode())
    text = written(results)
    assert "trained on 2 cores of an &lt;EPYC&gt;" in section(text, "asked")
    assert "@host/mlflow" in text or "//host/mlflow" in text
    assert "secret" not in text


def spread(count: int) -> list[dict[str, float]]:
    """Points all over the space, the same each time."""
    generator, points = np.random.default_rng(0), []
    for _ in range(count):
        point: dict[str, float] = {}
        for name, bounds in WGAN_GP.ranges.items():
            value = float(generator.uniform(*ends(bounds)))
            point[name] = round(value) if bounds.whole else 10**value if bounds.log else value
        points.append(point)
    return points


ONE = Space({"lr": Range(1e-5, 1e-2, log=True)}, {"lambda_gp": 10.0, "n_critic": 5, "beta1": 0.0, "beta2": 0.9})
FIXED = Space({**WGAN_GP.ranges, "lr": Range(1e-4, 1e-4)}, {}, WGAN_GP.presets[:1])
NONE = Space({}, {**ONE.fixed, "lr": 1e-4}, ({},))
FIVE = [Made({10: 5.0 - number}) for number in range(5)]
DEGENERATE: dict[str, tuple[list[Made], dict[str, Any]]] = {
    "no trial was asked": ([], {}),
    "none has a score": ([Made({}, "RUNNING"), Made({}, "WAITING")], {}),
    "one trial": ([Made({10: 2.0})], {}),
    "two trials": ([Made({10: 2.0}), Made({10: 3.0})], {}),
    "all failed": ([Made({}, "FAIL", "not finite"), Made({}, "FAIL", "killed")], {}),
    "a score that is NaN": ([Made({10: 2.0, 20: math.nan}, "FAIL", "nan"), Made({10: math.nan}, "FAIL")], {}),
    "an infinite score": ([Made({10: math.inf}, "FAIL"), Made({10: 1.0, 20: math.inf}, "FAIL"), *FIVE], {}),
    "a score of minus infinity": ([Made({10: -math.inf}), Made({10: 1.0})], {}),
    "a floor that is NaN": (FIVE, {"floors": {"eval/a": math.nan}}),
    "the same score throughout": ([Made({10: 1.0})] * 6, {}),
    "scores of zero": ([Made({10: 0.0})] * 6, {}),
    "no step that all reached": ([Made({10 * number: 1.0}) for number in range(1, 6)], {}),
    "one hyper-parameter": ([Made({10: 5.0 - n}, params={"lr": 10.0 ** -(n + 2)}) for n in range(4)], {"space": ONE}),
    "no hyper-parameter": (FIVE, {"space": NONE}),
    "a range of one value": (FIVE, {"space": FIXED}),
    "weight clipping": (FIVE, {"space": CLIPPED, "structure": Structure("mlp", (1, 8, 8), loss="wgan-clip")}),
    "the log loss": (FIVE, {"space": PLAIN, "structure": Structure("mlp", (1, 8, 8), loss="gan")}),
    "points in the plane": (FIVE, {"structure": Structure("mlp", (2,), latent_dim=2)}),
    "labels": (FIVE, {"structure": Structure("mlp", (1, 8, 8), classes=10)}),
    "a part of its parameters": ([*FIVE, Made({}, "RUNNING", params={"lr": 1e-3}), Made({}, "WAITING", params={})], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
def test_every_sweep_has_a_page(case: str, made: Callable[..., Results]) -> None:
    trials, change = DEGENERATE[case]
    results = made(trials, **change)
    text = written(results)
    known = [row.value for row in results.rows if math.isfinite(row.value)]
    assert ("No trial has a score yet" in text) == (not known)
    assert (results.folder / "report").exists("best_config.json") == bool(known)
    if known:
        kept = json.loads((results.folder / "report").read("best_config.json"), parse_constant=pytest.fail)
        assert kept["score"] == min(known)
        assert f"The best: trial {kept['trial']}" in section(text, "best")


def test_pictures_and_notes_that_are_not_there_or_damaged(made: Callable[..., Results]) -> None:
    results = made([Made({10: 2.0, 20: 1.0}), Made({10: 3.0})])
    (results.folder / "trials" / "0" / "samples").write("000000020.png", b"no picture")
    (results.folder / "trials" / "1" / "samples").delete("000000010.png")
    for number in (0, 1):
        (results.folder / "trials" / str(number)).delete("mlflow.json")
    text = written(results)
    assert "no picture" in section(text, "best")
    assert "0 of 7 records of 2 trials are in MLflow" in section(text, "tracking")


def test_a_page_of_500_trials_is_below_8_mb(made: Callable[..., Results]) -> None:
    """Of which Plotly is 4.8; each trial with nine reports."""
    rates = [10 ** (-5 + 3 * number / 499) for number in range(500)]
    points = [
        {**WGAN_GP.presets[0], "lr": rate, "beta1": 0.9 * (number % 10) / 10} for number, rate in enumerate(rates)
    ]
    trials = [
        Made({step: 1 + abs(math.log10(point["lr"]) + 3) + 1 / step for step in GRID}, params=point) for point in points
    ]
    text = written(made(trials))
    assert len(text.encode()) < 8e6
    assert "5,500 of 5,500 records of 500 trials are in MLflow" in section(text, "tracking")


def test_the_command(storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes below the sweep, or the page alone to a file, over a report of the same sweep and over nothing else."""
    given = ["report", "sweep", "--storage", str(storage)]
    assert main(given) == 0
    assert capsys.readouterr().out == f"{storage}/sweep/report/sweep.html\n"
    out = tmp_path / "page.html"
    for _ in range(2):
        assert main([*given, "--out", str(out)]) == 0
        assert "The best: trial 1" in out.read_text()
    capsys.readouterr()

    out.write_text(out.read_text().replace("report of sweep 1d", "report of sweep 2e"))
    for refused, reason in ((out, "is something else"), (tmp_path, "Is a directory")):
        assert main([*given, "--out", str(refused)]) == 2
        assert reason in capsys.readouterr().err
    assert "report of sweep 2e" in out.read_text()
    (tmp_path / "file").write_text("")
    assert main([*given, "--out", str(tmp_path / "file" / "page.html")]) == 2
    assert capsys.readouterr().err.startswith("error: --out must ")


def test_records_that_cannot_be_read(made: Callable[..., Results]) -> None:
    results = made([Made({10: 2.0})])
    (results.folder / "trials" / "0" / "spool").write("000000020.json", b"{")
    with pytest.raises(Exception, match="the records of a sweep must be files that can be read"):
        write_report(results)
