"""How many trials a process trains side by side: chosen from what was measured, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sweeps.engine.cluster.growth import Growth, NodeType
from sweeps.engine.cluster.placement import Placement
from sweeps.engine.driver.lane_probe import settle_lanes
from sweeps.engine.driver.lanes import GAIN, SIZES, choose, climb, hypers, most_lanes, sizes, unmeasured
from sweeps.engine.driver.memory import check_memory
from sweeps.engine.plan.options import chosen, parse
from sweeps.engine.plan.plan import RANDOM_TRIALS, Plan, SweepStart, read_started, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.study.study import Study
from sweeps.engine.worker.job import Job
from wgan_core.config import Structure
from wgan_core.data import Split
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.training.preflight import check_fit
from wgan_core.training.probe import Measurement

GIB = 2**30
TOO_LITTLE = "from more at once the search would learn too little"
GPU, CPU = Placement(1.0, 1.0), Placement(1.0, 0.0)


def table(*speeds: float | None, gib: Sequence[float] = ()) -> list[Measurement]:
    """As measured at 1, 4, 16, ... lanes."""
    peaks = [int(each * GIB) for each in gib] or [None] * len(speeds)
    return [Measurement(*row) for row in zip(SIZES, speeds, peaks, strict=False)]


@pytest.mark.parametrize(
    ("found", "capacity", "most", "lanes", "line"),
    [
        (
            table(520, 2080, 8300, 31_400, 31_900, gib=(0.6, 0.6, 0.8, 1.9, 6)),
            79 * GIB,
            400,
            64,
            "lanes: 64 a process: 31,400 critic updates/s against 520 at 1 and 31,900 at 256; 1.9 of 79 GiB",
        ),
        (
            table(5.25, 20.4, None, gib=(4, 15, 0)),
            24 * GIB,
            400,
            4,
            "lanes: 4 a process: 20.4 critic updates/s against 5.25 at 1; 15 of 24 GiB; 16 do not fit in the memory",
        ),
        # What fills more than nine tenths is left alone, though it was faster.
        (
            table(100, 400, gib=(4, 23)),
            24 * GIB,
            400,
            1,
            "lanes: 1 a process: 100 critic updates/s against 400 at 4; 4 of 24 GiB; 4 do not fit in the memory",
        ),
        (
            table(100, 400, gib=(22, 23)),
            24 * GIB,
            400,
            1,
            "lanes: 1 a process: 100 critic updates/s against 400 at 4; 22 of 24 GiB; 4 do not fit in the memory",
        ),
        (table(100, 90), None, 400, 1, "lanes: 1 a process: 100 critic updates/s against 90 at 4"),
        (table(100, gib=(23.9,)), 24 * GIB, 400, 1, "lanes: 1 a process: 100 critic updates/s; 23.9 of 24 GiB"),
        (
            [Measurement(1, 99.0), Measurement(4, 300.0), Measurement(14, 900.0)],
            None,
            14,
            14,
            f"lanes: 14 a process: 900 critic updates/s against 99 at 1; {TOO_LITTLE}",
        ),
    ],
)
def test_the_choice_and_why(found: list[Measurement], capacity: int | None, most: int, lanes: int, line: str) -> None:
    choice = choose(found, capacity, most)
    assert (choice.lanes, choice.line) == (lanes, line)


def test_not_even_one_fits() -> None:
    with pytest.raises(UserError, match=r"on a device, 6 GiB; it does not: give a larger --gpus-per-trial"):
        choose([Measurement(1)], 6 * GIB, 16)


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.integers(1, 100)), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(20, 100),
)
def test_the_least_that_is_nearly_the_best_of_what_fits(
    measured: list[tuple[float, int]], fit: int, capacity: int
) -> None:
    """Whatever was measured: it fits, little is lost by it, and no smaller one would do."""
    rows = zip(SIZES, measured, strict=False)
    found = [
        Measurement(lanes, speed, peak) if at < fit else Measurement(lanes)
        for at, (lanes, (speed, peak)) in enumerate(rows)
    ]
    roomy = {
        each.lanes: each.updates_per_s
        for each in found
        if each.updates_per_s is not None
        and each.peak_bytes is not None
        and (each.lanes == 1 or each.peak_bytes <= 0.9 * capacity)
    }
    lanes = choose(found, capacity, 1000).lanes
    best = max(roomy.values())
    assert roomy[lanes] >= (1 - GAIN) * best
    assert all(speed < (1 - GAIN) * best for other, speed in roomy.items() if other < lanes)


@pytest.mark.parametrize(
    ("speeds", "tried"),
    [
        ([100.0, 400.0, 1600.0, 6000.0, 9000.0], [1, 4, 16, 64, 256]),
        ([100.0, 400.0, 419.0, 6000.0, 9000.0], [1, 4, 16]),
        ([100.0, 90.0, 419.0, 6000.0, 9000.0], [1, 4]),
        ([100.0, 400.0, None, None, None], [1, 4, 16]),
        ([None] * 5, [1]),
    ],
)
def test_no_more_is_measured_than_helps(speeds: list[float | None], tried: list[int]) -> None:
    """Not beyond what does not fit, nor beyond what brings less than 5 % more."""
    of = dict(zip(SIZES, speeds, strict=True))
    assert [each.lanes for each in climb(SIZES, lambda lanes: Measurement(lanes, of[lanes]))] == tried


@pytest.mark.parametrize(
    ("trials", "presets", "processes", "most"),
    [
        (12, 3, 1, 8),  # the presets and five random points
        (40, 3, 1, 14),
        (40, 3, 4, 3),
        (500, 3, 2, 83),
        (5000, 3, 1, 1667),
        (4, 3, 1, 4),
        (40, 3, 64, 1),
    ],
)
def test_the_search_learns_from_most_trials(trials: int, presets: int, processes: int, most: int) -> None:
    assert most_lanes(trials, presets, processes) == most


@given(st.integers(1, 2000), st.integers(0, 8), st.integers(1, 64))
def test_no_more_than_a_third_is_asked_for_blindly(trials: int, presets: int, processes: int) -> None:
    """Or what the presets and random points are, which are the same however many are asked for at once."""
    most = most_lanes(trials, presets, processes)
    assert most == 1 or most * processes <= max(presets + RANDOM_TRIALS, (trials + 2) // 3)
    assert most <= trials
    tried = sizes(most)
    assert tried[-1] == min(most, SIZES[-1])
    assert list(tried) == sorted(set(tried))


def test_presets_and_random_points_lose_nothing_at_once(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    """The bound of a small sweep: its points are those of a search that asks for one after another."""
    plan = make_plan()
    count = most_lanes(plan.trials, len(plan.space.presets), 1)
    url = f"sqlite:///{tmp_path}/study.db"
    at_once = Study(plan, url, "s").claim("a", count)
    assert len(at_once) == count == 8
    study = Study(replace(plan, id="2d"), url, "s")
    for expected in at_once:
        (claim,) = study.claim("a", 1)
        assert claim.params == expected.params
        study.report("a", {claim.trial.number: (90, float(claim.trial.number))}, {})
        study.finish("a", claim.trial.number, "COMPLETE", "")


def test_what_is_measured_lies_along_the_whole_space() -> None:
    """One lane is the middle of all ranges, several reach over them; whole numbers stay whole."""
    space = WGAN_GP
    (middle,) = hypers(space, 1)
    bounds = space.ranges["n_critic"]
    assert bounds.whole
    assert middle.n_critic == round((bounds.low + bounds.high) / 2)
    assert middle.lambda_gp == pytest.approx((space.ranges["lambda_gp"].low * space.ranges["lambda_gp"].high) ** 0.5)
    many = {hyper.n_critic for hyper in hypers(space, 64)}
    assert many == set(range(int(bounds.low), int(bounds.high) + 1))


@pytest.mark.parametrize(
    ("kept", "places", "most", "said"),
    [
        (None, CPU, 100, "lanes: 1 a process, as on a CPU"),
        (None, Placement(1.0, 2.0), 100, "lanes: 1 a process, as each trial takes several GPUs"),
        (64, Placement(1.0, 2.0), 100, "lanes: 1 a process, as each trial takes several GPUs"),
        (64, GPU, 100, "lanes: 64 a process, as before"),
        (
            64,
            CPU,
            1,
            "lanes: 64 a process, as before: another number changes last bits; if that was measured on a GPU",
        ),
        (1, CPU, 1, "lanes: 1 a process, as before"),
        (None, GPU, 1, "lanes: 1 a process; from more at once"),
    ],
)
def test_nothing_is_measured(kept: int | None, places: Placement, most: int, said: str) -> None:
    """Where nothing is to be gained, or where it would change what there is."""
    choice = unmeasured(kept, places, most)
    assert choice is not None
    assert choice.line.startswith(said)
    assert f"lanes: {choice.lanes} a process" in choice.line


class ByValue(nn.Module):
    """A layer that one trial can have, and trials side by side cannot: it decides by a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.isfinite().all().item() else 0 * x


def test_networks_that_cannot_be_trained_side_by_side_are_trained_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured, so this needs no Ray, and nothing is refused."""
    critic = lambda structure: nn.Sequential(nn.Linear(2, 4), ByValue(), nn.Linear(4, 1), nn.Flatten(0))  # noqa: E731
    monkeypatch.setitem(PAIRS, "by value", Pair(critic, lambda structure: nn.Linear(structure.latent_dim, 2)))
    structure = Structure("by value", (2,), latent_dim=3, batch_size=4)
    check_fit(structure, 1)
    plan = Plan("1d", "a", 100, 90, 0, "a", structure, WGAN_GP, "", "", {}, {"a": 1.0})
    said: list[str] = []
    train = Split(np.zeros((8, 2), np.float32), None)
    job = Job(plan, Folder.at("/nowhere"), GPU, {})
    assert settle_lanes(job, None, train, 10, [{"CPU": 1.0, "GPU": 1.0}], said.append) == 1
    (line,) = said
    assert line.startswith("lanes: 1 a process, as an update of two trials side by side fails: RuntimeError: ")


@pytest.mark.parametrize(
    ("lanes", "trials", "places", "fits"),
    [
        (1, 500, CPU, True),
        (250, 500, CPU, False),  # as a folder from a stranger says
        (250, 8, CPU, True),  # no more than these train at once
        (1, 500, Placement(0.05, 0.0), False),
        (1, 500, Placement(0.05, 0.0, max_concurrent=2), True),
        (250, 500, GPU, True),  # the GPU's own memory decides
        (1, 500, Placement(0.1, 0.025), False),
        (1, 500, Placement(1.0, 0.0, growth=Growth((NodeType({"CPU": 64.0, "memory": 2.0 * GIB}, 1),))), False),
    ],
)
def test_what_trains_at_once_fits_into_half_of_the_memory(
    lanes: int, trials: int, places: Placement, fits: bool
) -> None:
    """An MLP for 28 x 28 has 37 MiB of weights, gradients and moments, and 2 MiB of outputs: 26 trials fit."""
    plan = Plan("1d", "a", 1, 90, 0, "a", Structure("mlp", (1, 28, 28)), WGAN_GP, "", "", {}, {"a": 1.0})
    job = Job(plan, Folder.at("/nowhere"), places, {}, lanes=lanes)
    nodes = [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0, "memory": 2.0 * GIB}]
    if fits:
        check_memory(job, trials, nodes)
        return
    with pytest.raises(UserError, match=r"half of its memory for processes, 1 GiB; .* take at least .*give --lanes 1"):
        check_memory(job, trials, nodes)


@pytest.mark.parametrize("gpus", [1.0, 0.25])
def test_a_gpu_is_measured_by_a_new_sweep(gpus: float) -> None:
    assert unmeasured(None, Placement(1.0, gpus), 2) is None


def test_the_choice_is_kept_beside_the_plan(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    folder = Folder.at(tmp_path)
    write_plan(folder, make_plan(), SweepStart(lanes=64))
    assert read_started(folder).lanes == 64


def test_several_gpus_a_trial_leave_no_room_for_lanes() -> None:
    with pytest.raises(UserError, match=r"given --lanes 8 and --gpus-per-trial 2: give --lanes 1"):
        parse("mnist", "", 12, 4500, ["--lanes", "8", "--gpus-per-trial", "2"])


@pytest.mark.parametrize(("given", "execution"), [((), "captured"), (("--no-capture",), "eager")])
def test_how_a_gpu_carries_out_updates(given: tuple[str, ...], execution: str) -> None:
    assert parse("mnist", "", 12, 4500, given).execution == execution
    assert chosen("mnist", 12, 4500, {"execution": execution}).execution == execution
    with pytest.raises(UserError, match="execution must be one of eager, captured; given 'fast'"):
        chosen("mnist", 12, 4500, {"execution": "fast"})
