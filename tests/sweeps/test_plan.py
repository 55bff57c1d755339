"""The plan of a sweep: kept, continued, extended, and refused with what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.plan.plan import FILE, Plan, check_name, read_plan, settle, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from sweeps.engine.study.halving import rungs
from wgan_core.config import Structure
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path / "sweep")


def test_kept_and_read_again(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    """As it was, with the versions beside it; nothing where there is no sweep."""
    assert read_plan(folder) is None
    plan = make_plan()
    write_plan(folder, plan)
    assert read_plan(folder) == plan
    versions = json.loads(folder.read(FILE))["versions"]
    assert {"torch", "ray", "optuna", "mlflow"} <= set(versions)


def test_the_same_again_is_the_same(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    assert settle(folder, plan) == plan
    write_plan(folder, plan)
    assert settle(folder, plan) == plan
    assert settle(folder, replace(plan, trials=20)).trials == 20


def test_fewer_trials_take_none_away(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    write_plan(folder, make_plan(trials=12))
    assert settle(folder, make_plan(trials=4)).trials == 12


def test_a_floor_that_another_machine_rounds_is_no_difference(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    """Its last digit depends on the number of threads; the one that was found first stays."""
    first = make_plan(floors={"eval/a": 3.8033864494015006})
    write_plan(folder, first)
    assert settle(folder, make_plan(floors={"eval/a": 3.8033864494016143})) == first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": 91}, "budget was 90 and is 91"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"objective": "eval/b"}, "objective was eval/a and is eval/b"),
        ({"data_digest": "other"}, "data_digest was digest and is other"),
        ({"structure": Structure("mlp", (1, 8, 8), latent_dim=7)}, "structure.latent_dim was 100 and is 7"),
        ({"structure": Structure("conv", (1, 8, 8))}, "structure.networks was mlp and is conv"),
        ({"structure": Structure("mlp", (1, 8, 8), precision="tf32")}, "structure.precision was float32 and is tf32"),
        ({"protocol": {"sample_size": 500}}, "protocol.sample_size was 1000 and is 500"),
        (
            {"space": replace(WGAN_GP, ranges={**WGAN_GP.ranges, "lambda_gp": Range(0.1, 50.0, log=True)})},
            "space.ranges.lambda_gp.high was 100.0 and is 50.0",
        ),
        ({"space": replace(WGAN_GP, presets=())}, "space.presets was "),
    ],
)
def test_what_differs_is_refused_and_named(
    folder: Folder, make_plan: Callable[..., Plan], change: dict[str, Any], said: str
) -> None:
    before = make_plan()
    write_plan(folder, before)
    kept = folder.read(FILE)
    with pytest.raises(UserError, match="give another --name") as refused:
        settle(folder, replace(before, **change, trials=99))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert folder.read(FILE) == kept


def test_a_plan_of_a_newer_version_is_refused(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    write_plan(folder, make_plan())
    described = json.loads(folder.read(FILE))
    folder.write(FILE, json.dumps({**described, "format": described["format"] + 1}).encode())
    with pytest.raises(UserError, match="must have format 4 or less; given 5"):
        read_plan(folder)


def test_a_sweep_of_format_1_continues(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    """Format 1 calls the loss `objective`."""
    plan = make_plan(structure=Structure("mlp", (1, 8, 8), loss="wgan-lp"))
    write_plan(folder, plan)
    described = json.loads(folder.read(FILE))
    structure = described["plan"]["structure"]
    structure["objective"] = structure.pop("loss")
    del described["format"]
    folder.write(FILE, json.dumps(described).encode())
    assert read_plan(folder) == plan
    assert settle(folder, plan) == plan


def test_several_differences_are_named_at_once(folder: Folder, make_plan: Callable[..., Plan]) -> None:
    write_plan(folder, make_plan())
    with pytest.raises(UserError, match=r"budget was 90 and is 91; seed was 0 and is 3"):
        settle(folder, make_plan(budget=91, seed=3))


@given(st.integers(1, 200_000))
def test_the_grid_ends_at_the_budget(budget: int) -> None:
    """At most 81 reports, ascending, the last at the budget, and all of them are whole steps of training."""
    grid = Plan(
        "1d", "n", 1, budget, 0, "eval/a", Structure("mlp", (1, 8, 8)), WGAN_GP, "data", "digest", {}, {"eval/a": 1.0}
    ).grid
    assert grid[-1] == budget
    assert grid[0] >= 1
    assert list(grid) == sorted(set(grid))
    assert len(grid) <= 81
    if budget >= 9:
        assert len(grid) in (9, 27, 81)
        assert rungs(grid, 3)[0] == grid[0]


def test_a_plan_that_cannot_be_read(folder: Folder) -> None:
    """Of storage the remedy is another --storage; of a plan that is damaged, or of another version, another name."""
    (Path(folder.path) / FILE).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"{FILE} must be a file that can be read; .*: check --storage$"):
        read_plan(folder)
    (Path(folder.path) / FILE).rmdir()
    folder.write(FILE, b"{}")
    with pytest.raises(UserError, match=r"must say what was asked of the sweep.*: give another --name$"):
        read_plan(folder)


@pytest.mark.parametrize("name", ["mnist", "a", "mnist-long_2.1", "9", "n" * 100])
def test_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "/a", ".", "..", "-a", ".a", "a b", "a\n", "é", "a\\b", "n" * 101])
def test_names_that_could_not_be_folders(name: str) -> None:
    with pytest.raises(UserError, match="--name must be") as refused:
        check_name(name)
    proposed = str(refused.value).rpartition(": give --name ")[2].removesuffix(", for example")
    check_name(proposed)
