"""Every pair: shapes, lanes against the same trials alone, and what is kept of batch normalisation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pyarrow import fs
from torch import Tensor

from tests.core.cohorts import cohort_of
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.networks.network import Network, build, initialise
from wgan_core.networks.pairs import PAIRS
from wgan_core.rules import losses
from wgan_core.training import checkpoint
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.data import TrainingData
from wgan_core.training.state import NetworkState

SIDES = (28, 32, 64)
IMAGES = [(channels, side, side) for side in SIDES for channels in (1, 3)]
SIZES: dict[str, list[tuple[int, ...]]] = {
    "mlp": [(1,), (258,), (3, 10), *IMAGES],
    "ffpred": [(1,), (258,), (3, 10), (1, 28, 28)],
    "conv": [(1, 4, 8), *IMAGES],
    "dcgan": IMAGES,
    "residual": IMAGES,
    "projection": IMAGES,
    "sequence": [(1, 4), (2, 7), (3, 64), (2, 100)],
}
UNBOUNDED = ("ffpred", "sequence")


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in SIZES for shape in SIZES[name]], ids=str)
def test_a_pair_maps_z_to_samples_and_samples_to_scores(name: str, shape: tuple[int, ...]) -> None:
    critic, generator = initialise(Structure(name, shape, latent_dim=10), 0)
    with torch.no_grad():
        samples = generator(torch.randn(2, 10))
        scores = critic(samples)
    assert samples.shape == (2, *shape)
    assert scores.shape == (2,)
    assert samples.isfinite().all()
    if name not in UNBOUNDED:
        assert samples.abs().max() <= 1


def test_every_pair_is_tested() -> None:
    assert SIZES.keys() == PAIRS.keys()


def small(name: str, shape: tuple[int, ...], critic: object = None, generator: object = None) -> Structure:
    """A structure of few weights; its options go through JSON, as those of a file do."""
    size = {"widths": [6, 5, 4]} if name == "mlp" else {"width": 3}
    options = json.loads(json.dumps({"critic": {**size, **(critic or {})}, "generator": {**size, **(generator or {})}}))
    return Structure(name, shape, latent_dim=5, batch_size=6, dtype="float64", network_options=options)


# Each pair at each of its sides, and with each option that changes the arithmetic.
CASES = {
    "mlp": small("mlp", (2, 3)),
    "mlp normalised": small("mlp", (4,), {"layer_norm": True}, {"batch_norm": True, "output": "linear"}),
    "mlp relu": small("mlp", (2,), {"activation": "relu"}, {"activation": "relu", "batch_norm": False}),
    **{
        f"mlp {name}": small("mlp", (2,), {"activation": name}, {"activation": name})
        for name in ("tanh", "elu", "selu", "gelu", "silu", "softplus")
    },
    "ffpred": small("ffpred", (7,)),
    "ffpred wide draws": small("ffpred", (7,), {"initial_sd": None}, {"initial_sd": 0.5}),
    "conv": small("conv", (3, 8, 8)),
    **{f"dcgan {side}": small("dcgan", (1, side, side)) for side in SIDES},
    "dcgan normalised": small("dcgan", (3, 28, 28), {"layer_norm": True, "initial_sd": None}, {"initial_sd": None}),
    **{f"residual {side}": small("residual", (1, side, side)) for side in SIDES},
    **{f"projection {side}": small("projection", (1, side, side)) for side in SIDES},
    "residual normalised": small("residual", (3, 28, 28), {"layer_norm": True}),
    "sequence": small("sequence", (2, 12)),
    "sequence bounded": small("sequence", (2, 12), None, {"output": "tanh"}),
    "sequence hidden": small("sequence", (2, 11), {"hidden": 5}, {"hidden": 5}),
    "sequence whole": small("sequence", (2, 13), {"hidden": 5}, {"hidden": 5, "batch_norm": False}),
}
every_case = pytest.mark.parametrize("structure", CASES.values(), ids=CASES)

# A generator update after each critic update. At low rates: of a gradient that is zero, as that of a bias whose unit is
# active on all samples, rounding makes 1e-17, and Adam's division by its eps of 1e-8 a step of 1e-9 times the rate.
TRIALS = [
    Trial(number, 70 + number, Hyper(lambda_gp, 1e-5 * (1 + number), 2e-5, 1, 0.5, 0.9))
    for number, lambda_gp in enumerate((10.0, 0.1, 1.0))
]


def samples_of(structure: Structure) -> Tensor:
    shape = (20, *structure.sample_shape)
    return torch.rand(shape, dtype=structure.torch_dtype, generator=torch.Generator().manual_seed(3)) * 2 - 1


def data_of(structure: Structure) -> TrainingData:
    return TrainingData(samples_of(structure))


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Relative to a tensor's largest entry where that is above 1: second moments reach 1e3."""
    found = []
    for name, tensor in first.items():
        difference = (tensor.double() - second[name].double()).abs().max()
        found.append(float(difference / tensor.double().abs().max().clamp(min=1)))
    return max(found)


@every_case
def test_an_update_of_both_equals_the_textbook(structure: Structure) -> None:
    trial = TRIALS[0]
    oracle = textbook(structure, trial, initialise)
    oracle.run(Drawn(structure, samples_of(structure), [trial.seed]), range(1))
    cohort = cohort_of(structure, [trial], [1], data=data_of(structure))
    (report,) = cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(0).tensors().items()}
    assert largest_difference({**oracle.tensors(), **oracle.moments()}, ours) < 1e-12
    assert report.means == pytest.approx(oracle.history[-1], rel=1e-12, abs=1e-12)


@every_case
def test_lanes_equal_the_same_trials_alone(structure: Structure) -> None:
    """A critic update with the penalty's double backward and a generator update, moments and statistics included."""
    cohort = cohort_of(structure, TRIALS, [1], data=data_of(structure))
    cohort.advance()
    for trial in TRIALS:
        alone = cohort_of(structure, [trial], [1], data=data_of(structure))
        alone.advance()
        expected = alone.state_of(trial.number).tensors()
        assert largest_difference(expected, cohort.state_of(trial.number).tensors()) < 1e-12, f"trial {trial.number}"


def single_precision(structure: Structure) -> Structure:
    return Structure.from_json({**structure.as_json(), "dtype": "float32"})


@every_case
def test_a_dropped_and_a_broken_neighbour_change_no_bit(structure: Structure) -> None:
    structure = single_precision(structure)
    whole, dropped, broken = (cohort_of(structure, TRIALS, [1, 2], data=data_of(structure)) for _ in range(3))
    for tensor in broken._ticks.state.critic.parameters.values():
        tensor[1] = float("nan")
    for cohort in (whole, dropped, broken):
        cohort.advance()
        if cohort is dropped:
            dropped.drop(1)
        cohort.advance()
    for number in (0, 2):
        expected = whole.state_of(number).tensors()
        for cohort in (dropped, broken):
            assert largest_difference(expected, cohort.state_of(number).tensors()) == 0.0, f"trial {number}"


@every_case
def test_a_critics_gradient_at_a_sample_does_not_depend_on_its_neighbours(structure: Structure) -> None:
    critic, _ = initialise(structure, 0)
    tensors, network = NetworkState.of(critic), Network(critic)

    def score(points: Tensor) -> Tensor:
        return network(tensors.parameters, tensors.buffers, points)[0]

    points = samples_of(structure)[None, :4]
    together = losses.gradient_norms(score, points)
    alone = torch.cat([losses.gradient_norms(score, points[:, n : n + 1]) for n in range(4)], dim=1)
    assert torch.allclose(alone, together, rtol=1e-9)
    assert together.any()


@every_case
def test_running_statistics_are_kept_in_the_state_and_in_a_checkpoint(structure: Structure, tmp_path: Path) -> None:
    cohort = cohort_of(structure, TRIALS[:2], [1], data=data_of(structure))
    started = {trial.number: cohort.state_of(trial.number).generator.buffers for trial in TRIALS[:2]}
    folder = Folder(fs.LocalFileSystem(), str(tmp_path))
    for report in cohort.advance():
        state = cohort.state_of(report.trial.number)
        statistics = [name for name in state.generator.buffers if "running" in name]
        for name in statistics:
            assert not torch.equal(state.generator.buffers[name], started[report.trial.number][name]), name
        written = checkpoint.write(
            folder / str(report.trial.number), Checkpoint(report.trial, structure, report.critic_updates, state, {})
        )
        kept = checkpoint.read(written)
        assert kept.structure == structure
        tensors = kept.state.tensors()
        assert {f"generator.{part}.{name}" for part in ("buffers", "average") for name in statistics} <= tensors.keys()
        assert tensors.keys() == state.tensors().keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in state.tensors().items())
        assert not state.critic.buffers


@every_case
def test_a_pair_on_the_meta_device_draws_nothing(structure: Structure) -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        build(structure)
    assert torch.equal(torch.get_rng_state(), before)


@every_case
def test_no_generator_has_a_bias_whose_gradient_is_zero(structure: Structure) -> None:
    """Of rounding Adam would make steps: so there is no bias that a normalisation takes out again."""
    _, generator = initialise(structure, 0)
    z = torch.randn(6, structure.latent_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = samples_of(structure)[:6]
    names, parameters = zip(*generator.named_parameters(), strict=True)
    gradients = torch.autograd.grad((generator(z) * weights).sum(), parameters)
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient.abs().max() > 1e-12 * weights.numel(), name
