"""The update against the textbook loop, and lanes against the same trials alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.cohorts import cohort_of, distance_from_alone, largest_difference, pixels
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.networks.network import initialise
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import OPTIMISERS
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.state import TrainingState

SHAPES = {"mlp": (1, 8, 8), "conv": (3, 8, 8)}
# A critic's bias whose unit is active on all samples has a gradient of exactly zero, of which rounding makes
# about 1e-18; Adam divides that by its eps of 1e-8. So rates here go no higher than where 1e-12 can hold.
HYPERS = [
    Hyper(10.0, 1e-3, 5e-4, 1, 0.5, 0.9),
    Hyper(0.1, 1e-4, 1e-4, 2, 0.0, 0.99),
    Hyper(100.0, 8e-4, 1e-3, 3, 0.9, 0.999),
    Hyper(1.0, 1e-5, 1e-3, 5, 0.1, 0.8),
    Hyper(0.0, 3e-4, 3e-4, 4, 0.5, 0.9),
]
TRIALS = [Trial(number, 1000 + number, hyper) for number, hyper in enumerate(HYPERS)]


def structure_of(networks: str, dtype: str) -> Structure:
    return Structure(networks, SHAPES[networks], latent_dim=6, batch_size=9, dtype=dtype)


@pytest.mark.parametrize("networks", ["mlp", "conv"])
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"n_critic={trial.hyper.n_critic}")
def test_every_update_equals_the_textbook(networks: str, trial: Trial) -> None:
    assert_updates_equal_the_textbook(structure_of(networks, "float64"), trial)


# Each game once, and each optimiser with a game of either kind.
GAMES = [(name, "adam") for name in LOSSES] + [
    (loss, optimiser) for loss in ("wgan-clip", "gan-r1") for optimiser in OPTIMISERS if optimiser != "adam"
]


@pytest.mark.parametrize(("loss", "optimiser"), GAMES)
def test_every_update_of_every_game_and_optimiser_equals_the_textbook(loss: str, optimiser: str) -> None:
    structure = replace(structure_of("mlp", "float64"), loss=loss, optimiser=optimiser)
    for decay_updates in (0, 5):
        hyper = replace(HYPERS[1], beta1=0.5, decay_updates=decay_updates)
        assert_updates_equal_the_textbook(structure, Trial(0, 7, hyper), 6)


def assert_updates_equal_the_textbook(structure: Structure, trial: Trial, updates: int = 12) -> None:
    """From the oracle's own state, update by update: over several, Adam's division by a small
    sqrt(v) makes of a rounding of 1e-16 as much as lr / eps times that."""
    oracle = textbook(structure, trial, initialise)
    batches = Drawn(structure, pixels(structure.sample_shape), [trial.seed])
    for update in range(updates):
        before = {name: tensor.clone() for name, tensor in {**oracle.tensors(), **oracle.moments()}.items()}
        average = {
            name.replace(".parameters.", ".average.").replace(".buffers.", ".average."): tensor
            for name, tensor in before.items()
            if name.startswith(("generator.parameters.", "generator.buffers."))
        }
        state = TrainingState.from_tensors({name: tensor[None] for name, tensor in {**before, **average}.items()})
        cohort = Cohort(structure, TrainingData(pixels(structure.sample_shape)), [update + 1])
        cohort.add(trial, state, update)
        (report,) = cohort.advance()
        oracle.run(batches, range(update, update + 1))
        ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
        expected = {**oracle.tensors(), **oracle.moments()}
        if structure.optimiser == "rmsprop":
            # Its velocity is divided by sqrt(v) + eps already, so of a zero gradient's rounding it has 1e-10; what
            # counts is the step that comes of it.
            for name in expected:
                if ".first." in name:
                    expected[name], ours[name] = (1e-3 * each for each in (expected[name], ours[name]))
        assert largest_difference(expected, {name: ours[name] for name in expected}) < 1e-12, f"update {update}"
        assert report.means == pytest.approx(oracle.history[-1], rel=1e-12, abs=1e-12), f"update {update}"


@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_a_run_follows_the_textbook(networks: str) -> None:
    structure, trial = structure_of(networks, "float64"), TRIALS[0]
    oracle = textbook(structure, trial, initialise)
    oracle.run(Drawn(structure, pixels(structure.sample_shape), [trial.seed]), range(40))
    cohort = cohort_of(structure, [trial], list(range(1, 41)))
    for quantities in oracle.history:
        (report,) = cohort.advance()
        assert report.means == pytest.approx(quantities, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_lanes_equal_the_same_trials_alone_in_double_precision(networks: str) -> None:
    assert distance_from_alone(structure_of(networks, "float64"), TRIALS, 20) < 1e-12


@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_lanes_follow_the_same_trials_alone_in_single_precision(networks: str) -> None:
    """Over three updates: Adam's first steps are nearly sign(g) * lr, so rounding grows with every one."""
    structure = structure_of(networks, "float32")
    gentle = [replace(trial, hyper=replace(trial.hyper, lr_critic=1e-4, lr_generator=1e-4)) for trial in TRIALS]
    reports = cohort_of(structure, gentle, [3]).advance()
    for report in reports:
        (single,) = cohort_of(structure, [report.trial], [3]).advance()
        assert report.means == pytest.approx(single.means, rel=2e-4, abs=2e-5), f"trial {report.trial.number}"


STRUCTURES = {
    "mlp": structure_of("mlp", "float32"),
    "conv": structure_of("conv", "float32"),
    # Sizes at which a product of one lane, or a convolution of a few, is computed another way than that of several.
    "mlp at 28x28": Structure("mlp", (1, 28, 28), batch_size=64),
    "conv at 3x32x32": Structure("conv", (3, 32, 32), batch_size=9),
}


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_neighbours_change_no_bit(structure: Structure) -> None:
    """Permuted, dropped and broken ones, those who all leave, and those who were never there."""
    grid = [3, 6]
    whole, dropped, broken, left = (cohort_of(structure, TRIALS, grid) for _ in range(4))
    permuted = cohort_of(structure, [TRIALS[index] for index in (3, 1, 4, 0, 2)], grid)
    for tensor in broken._ticks.state.critic.parameters.values():
        tensor[2] = float("nan")
    reports = {cohort: cohort.advance() for cohort in (whole, permuted, dropped, broken, left)}
    assert [len(each) for each in reports.values()] == [5] * 5
    assert [bool(report.problem) for report in reports[broken]] == [False, False, True, False, False]
    dropped.drop(2)
    for number in (0, 1, 2, 4):
        left.drop(number)
    continued = cohort_of(structure, [], grid, width=5)
    continued.add(TRIALS[3], whole.state_of(3), grid[0])
    for cohort in (*reports, continued):
        cohort.advance()
    for number in (0, 1, 3, 4):
        expected = whole.state_of(number).tensors()
        for cohort in (permuted, dropped, broken, *([left, continued] if number == 3 else [])):
            assert largest_difference(expected, cohort.state_of(number).tensors()) == 0.0, f"trial {number}"
    assert left.trials == continued.trials == [TRIALS[3]]


def plain(width: int, batch_norm: bool) -> Structure:
    """Two hidden layers of this width in each network."""
    hidden = {"widths": [width, width]}
    options = {"critic": hidden, "generator": {**hidden, "batch_norm": batch_norm}}
    return Structure("mlp", (3,), latent_dim=3, batch_size=9, network_options=options)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("width", [5, 50])
def test_neighbours_in_place_change_no_bit_at_any_width(width: int, batch_norm: bool) -> None:
    """Dropped and broken ones, at widths at which a lane's bits depend on its place."""
    grid = [3, 6]
    whole, dropped, broken = (cohort_of(plain(width, batch_norm), TRIALS, grid) for _ in range(3))
    for tensor in broken._ticks.state.critic.parameters.values():
        tensor[2] = float("nan")
    for cohort in (whole, dropped, broken):
        cohort.advance()
    dropped.drop(2)
    for cohort in (whole, dropped, broken):
        cohort.advance()
    for number in (0, 1, 3, 4):
        expected = whole.state_of(number).tensors()
        for cohort in (dropped, broken):
            assert largest_difference(expected, cohort.state_of(number).tensors()) == 0.0, f"trial {number}"


@pytest.mark.parametrize(("width", "batch_norm"), [(4, False), (36, False), (32, True), (64, True)])
def test_the_place_of_a_lane_changes_no_bit_at_the_promised_widths(width: int, batch_norm: bool) -> None:
    """The table of docs/how-it-works.md, at five lanes."""
    whole, moved = (cohort_of(plain(width, batch_norm), trials, [3]) for trials in (TRIALS, TRIALS[2:] + TRIALS[:2]))
    for cohort in (whole, moved):
        cohort.advance()
    for number in range(len(TRIALS)):
        assert largest_difference(whole.state_of(number).tensors(), moved.state_of(number).tensors()) == 0.0


@pytest.mark.parametrize("name", ["mlp at 28x28", "conv at 3x32x32"])
def test_a_lane_of_large_networks_has_the_very_bits_that_it_has_alone_on_a_cpu(name: str) -> None:
    """In single precision, whatever its neighbours; there lanes are computed one after another."""
    assert distance_from_alone(replace(STRUCTURES[name], batch_size=64), TRIALS[:3], 6) == 0.0


def test_a_cohort_holds_as_many_trials_as_it_has_lanes() -> None:
    cohort = cohort_of(structure_of("mlp", "float32"), TRIALS[:2], [4])
    with pytest.raises(ValueError, match=r"no lane is vacant: the 2 hold \[0, 1\]"):
        cohort.add(TRIALS[2])
    with pytest.raises(KeyError, match=r"no lane holds trial 4; the lanes hold \[0, 1\]"):
        cohort.drop(4)


@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_trials_go_on_when_their_cohort_shrinks_and_grows(networks: str) -> None:
    """From 5 lanes to 2, to 1 and to 3, saved amid: 25 updates later a trial is what it is alone, and its means."""
    structure, grid = structure_of(networks, "float64"), [7, 13, 20, 32]
    cohort = cohort_of(structure, TRIALS, grid)
    cohort.advance()
    for number in (0, 2, 4):
        cohort.drop(number)
    cohort.resize(2)
    cohort.advance(iter([False, False, True]).__next__)
    cohort.drop(1)
    cohort.resize(1)
    assert cohort.width == 1
    cohort.resize(3)
    means = [{report.critic_updates: report.means for report in cohort.advance()} for _ in grid[1:]]
    single = cohort_of(structure, [TRIALS[3]], grid)
    expected = [{report.critic_updates: report.means for report in single.advance()} for _ in grid][1:]
    for ours, theirs in zip(means, expected, strict=True):
        (step,) = theirs
        assert ours[step] == pytest.approx(theirs[step], rel=1e-9)
    assert largest_difference(single.state_of(3).tensors(), cohort.state_of(3).tensors()) < 1e-12


def test_a_cohort_does_not_shrink_below_its_trials() -> None:
    cohort = cohort_of(structure_of("mlp", "float32"), TRIALS[:3], [4])
    with pytest.raises(ValueError, match="3 trials need as many lanes; given 2"):
        cohort.resize(2)


def test_samples_come_from_the_average_in_evaluation_mode() -> None:
    structure = structure_of("mlp", "float64")
    trial = TRIALS[0]
    oracle = textbook(structure, trial, initialise)
    averages = {name: tensor.clone() for name, tensor in oracle.generator.state_dict().items()}
    count = 0

    def average() -> None:
        nonlocal count
        decay = min(structure.ema_decay, (1 + count) / (10 + count))
        count += 1
        for name, tensor in oracle.generator.state_dict().items():
            averages[name] = decay * averages[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor

    oracle.run(Drawn(structure, pixels(structure.sample_shape), [trial.seed]), range(6), average)
    oracle.generator.load_state_dict(averages)
    z = torch.randn(700, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = oracle.generator.eval()(z)
    cohort = cohort_of(structure, [trial], [6])
    cohort.advance()
    assert (cohort.samples(0, z) - expected).abs().max() < 1e-12
