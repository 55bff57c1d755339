"""The space: how a point becomes hyper-parameters, the published presets, and the way to JSON and back."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.plan.presets import MNIST, WGAN_GP
from sweeps.engine.plan.presets_tabular import TABULAR
from sweeps.engine.plan.space import Range, Space, check_budget, check_space, penalty_notice
from wgan_core.config import Hyper
from wgan_core.errors import UserError


def test_the_ranges_are_those_promised() -> None:
    assert WGAN_GP.ranges == {
        "lambda_gp": Range(0.1, 100.0, log=True),
        "lr": Range(1e-5, 1e-2, log=True),
        "n_critic": Range(1, 5, whole=True),
        "beta1": Range(0.0, 0.9),
        "one_minus_beta2": Range(0.001, 0.2, log=True),
    }
    assert WGAN_GP.fixed == {}


def test_the_presets_are_those_published() -> None:
    """Gulrajani et al. 2017, Algorithm 1, and Miyato et al. 2018, settings D and C."""
    assert [WGAN_GP.hyper(preset) for preset in WGAN_GP.presets] == [
        Hyper(10.0, 1e-4, 1e-4, 5, 0.0, 0.9),
        Hyper(10.0, 1e-3, 1e-3, 5, 0.5, 0.9),
        Hyper(10.0, 2e-4, 2e-4, 1, 0.5, 0.999),
    ]


@given(st.data())
def test_every_point_has_hyper_parameters(data: st.DataObject) -> None:
    """Anywhere in the ranges, ends included, and they are the point's own."""
    point: dict[str, float] = {}
    for name, bounds in WGAN_GP.ranges.items():
        values = st.integers(int(bounds.low), int(bounds.high)) if bounds.whole else st.floats(bounds.low, bounds.high)
        point[name] = data.draw(values)
    hyper = WGAN_GP.hyper(point)
    assert hyper.lambda_gp == point["lambda_gp"]
    assert hyper.lr_critic == hyper.lr_generator == point["lr"]
    assert hyper.n_critic == point["n_critic"]
    assert hyper.beta1 == point["beta1"]
    assert hyper.beta2 == 1 - point["one_minus_beta2"]


def test_fixed_values_and_rates_of_their_own() -> None:
    """What is not searched is fixed, and each network may have its own learning rate."""
    space = Space(
        {"lr_critic": Range(1e-5, 1e-2, log=True)},
        {"lr_generator": 1e-4, "lambda_gp": 1.0, "n_critic": 2, "beta1": 0.5, "beta2": 0.99},
    )
    assert space.hyper({"lr_critic": 3e-4}) == Hyper(1.0, 3e-4, 1e-4, 2, 0.5, 0.99)


def test_json_and_back() -> None:
    assert Space.from_json(json.loads(json.dumps(WGAN_GP.as_json()))) == WGAN_GP


WHOLE = Range(1, 5, whole=True)
REST = {"lr": 1e-4, "lambda_gp": 1.0, "beta1": 0.5, "beta2": 0.99}


@pytest.mark.parametrize(
    ("n_critic", "said"),
    [
        (Range(1, 5), "the range of n_critic must be of whole numbers; given Range(low=1, high=5"),
        (Range(1.5, 4.5, whole=True), "the range of n_critic must begin and end with a whole number"),
        (2.5, "n_critic must be a whole number >= 1; given 2.5: set n_critic to 5"),
        (float("nan"), "n_critic must be a whole number >= 1; given nan"),
    ],
)
def test_an_n_critic_that_is_no_whole_number(n_critic: Range | float, said: str) -> None:
    """It is never rounded down in silence."""
    searched = isinstance(n_critic, Range)
    with pytest.raises(UserError, match=re.escape(said)):
        Space({"n_critic": n_critic} if searched else {}, REST if searched else {**REST, "n_critic": n_critic})


def test_a_point_or_preset_with_half_a_critic_update() -> None:
    space = Space({"n_critic": WHOLE}, REST)
    with pytest.raises(UserError, match=r"n_critic must be a whole number >= 1; given 2\.5"):
        space.hyper({"n_critic": 2.5})
    with pytest.raises(UserError, match=r"its n_critic is 2\.5, and that range is of whole numbers: set it to 2"):
        replace(space, presets=({"n_critic": 2.5},))


def test_an_n_critic_may_be_written_as_a_float() -> None:
    space = Space({"n_critic": Range(1.0, 5.0, whole=True)}, REST, ({"n_critic": 3.0},))
    hyper = space.hyper({"n_critic": 3.0})
    assert hyper.n_critic == 3
    assert isinstance(hyper.n_critic, int)
    assert Space({}, {**REST, "n_critic": 5.0}).hyper({}).n_critic == 5


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ({"lambda_gp": 1000.0}, "its lambda_gp is 1000.0, outside 0.1 to 100.0: widen the range"),
        ({"lr": None}, "preset 0 must give lambda_gp, lr, n_critic, beta1, one_minus_beta2"),
    ],
)
def test_presets_lie_in_the_ranges(preset: dict[str, float | None], said: str) -> None:
    given = {name: value for name, value in {**WGAN_GP.presets[0], **preset}.items() if value is not None}
    with pytest.raises(UserError, match=said):
        replace(WGAN_GP, presets=(given,))


@pytest.mark.parametrize(("loss", "name"), [("wgan-gp", "lambda_gp"), ("gan-r1", "lambda_gp"), ("wgan-clip", "clip")])
def test_a_loss_with_a_penalty_or_clipping_needs_its_weight(loss: str, name: str) -> None:
    space = MNIST["gan"].space
    with pytest.raises(UserError, match=rf"loss '{loss}' must give {name}; .* add a range or a fixed value"):
        check_space(space, loss)
    check_space(replace(space, fixed={**space.fixed, name: 0.1}), loss)
    check_space(space, "gan")


def test_an_n_critic_above_the_budget_is_refused() -> None:
    """The generator of such a trial would be scored as it was drawn."""
    with pytest.raises(UserError, match=r"given n_critic up to 5 and a budget of 4: give --budget 5 or more, or a"):
        check_budget(WGAN_GP, 4)
    check_budget(WGAN_GP, 5)
    fixed = Space({}, {**REST, "n_critic": 3})
    with pytest.raises(UserError, match="given n_critic up to 3 and a budget of 2"):
        check_budget(fixed, 2)
    check_budget(fixed, 3)


def test_a_two_sided_penalty_on_one_axis_is_warned_of() -> None:
    """A critic can settle at the wrong slope there; not with a one-sided penalty, and not on two axes."""
    notice = penalty_notice("wgan-gp", (1, 1))
    assert "a slope of the wrong sign; prefer the one-sided penalty of the loss wgan-lp" in notice
    assert penalty_notice("wgan-lp", (1,)) == penalty_notice("wgan-gp", (2,)) == penalty_notice("gan", (1,)) == ""
    assert TABULAR["wgan-lp"].structure_for((1,), None).loss == "wgan-lp"


def test_rates_fall_to_zero_over_the_updates_that_are_asked_for() -> None:
    falling = WGAN_GP.decaying(800).hyper(WGAN_GP.presets[0])
    assert falling.decay_updates == 800
    with pytest.raises(UserError, match="--decay sets decay_updates, which the space of this script gives itself"):
        WGAN_GP.decaying(800).decaying(800)
