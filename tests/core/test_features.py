"""Feature extractors: FID and KID on them are the formulas', and a network that would mislead is refused."""

import contextlib
import json
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from tests.core.scored import objectives, values
from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.data.mnist import load_mnist
from wgan_core.errors import UserError
from wgan_core.metrics import features
from wgan_core.metrics.evaluator import REFERENCE_SEED, Evaluator, draw
from wgan_core.metrics.features import load_features, network_digest
from wgan_core.metrics.objective import resolve_objective
from wgan_core.metrics.on_features import Fid, Kid
from wgan_core.metrics.register import FACTORIES, check_features, register_features
from wgan_core.metrics.registry import known_metrics
from wgan_core.metrics.wasserstein import SLICED_NAME, SlicedWasserstein

SHAPE = (3, 8, 8)
# More than one batch of 250, and one image over the second.
SIZE = 501
FID, KID = Fid().spec.name, Kid().spec.name


class Tiny(nn.Module):
    """Images (N, C, 8, 8) to features (N, 12), with layers that differ in training mode."""

    def __init__(self, channels: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Dropout(), nn.Linear(32, 12),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.layers(x)


class Given(nn.Module):
    """A network written as a function of the images."""

    def __init__(self, forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.given = forward

    def forward(self, x: Tensor) -> Any:
        return self.given(x)


def of(forward: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Given(forward)


@contextlib.contextmanager
def registered(factory: Callable[[], Any], name: str = "mine") -> Iterator[str]:
    register_features(name, factory)
    try:
        yield name
    finally:
        del FACTORIES[name]


@pytest.fixture(scope="module")
def colour() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (3 * SIZE, *SHAPE), np.uint8)
    pixels[:SIZE] //= 2
    return Dataset.of("images:t", *(Split(part, None) for part in np.split(pixels, 3)))


@pytest.fixture(scope="module")
def images(colour: Dataset) -> Tensor:
    """Images that no reference holds."""
    return to_model(torch.from_numpy(colour.test.values // 3), torch.float32)


@pytest.fixture(scope="module")
def evaluator(colour: Dataset) -> Evaluator:
    with registered(Tiny) as name:
        return Evaluator.build(colour, sample_size=SIZE, features=name)


def tiny() -> nn.Module:
    """The network that a sweep makes of `Tiny`."""
    with torch.random.fork_rng():
        torch.manual_seed(features.SEED)
        return Tiny().eval().requires_grad_(False)


# What is measured


def test_the_metrics_are_named_after_the_network_and_its_digest_and_fid_is_the_objective(evaluator: Evaluator) -> None:
    label = f"mine_{network_digest(tiny(), Tiny)[:8]}"
    assert objectives(evaluator) == (
        *(f"eval/{short}_{label}" for short in ("fid", "kid", "fid_infinity")),
        SLICED_NAME,
    )
    assert evaluator.objective_default == f"eval/fid_{label}"
    assert values(evaluator.floors) == set(evaluator.names)
    assert json.loads(json.dumps(evaluator.protocol)) == evaluator.protocol
    for name in evaluator.names[:2]:
        assert evaluator.protocol["metrics"][name]["network_sha256"] == network_digest(tiny(), Tiny)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_scores_are_torchmetrics_on_the_networks_features(
    colour: Dataset, evaluator: Evaluator, images: Tensor
) -> None:
    network = tiny()
    real, fake = network(draw(colour.validation, SIZE, REFERENCE_SEED).values), network(images)
    extractor = nn.Identity()
    extractor.num_features = 12  # type: ignore[assignment]
    frechet = FrechetInceptionDistance(feature=extractor)
    kernel = KernelInceptionDistance(feature=extractor, subsets=1, subset_size=SIZE)
    for metric in (frechet, kernel):
        metric.update(real.double(), real=True)
        metric.update(fake.double(), real=False)
    scores = evaluator.scores(images)
    fid, kid, *_ = objectives(evaluator)
    assert scores[fid] == pytest.approx(float(frechet.compute()), rel=1e-4)
    assert scores[kid] == pytest.approx(float(kernel.compute()[0]), rel=1e-4)
    assert scores[SLICED_NAME] == Evaluator.build(colour, sample_size=SIZE).scores(images)[SLICED_NAME]


def test_a_pickled_evaluator_gives_the_same_scores_from_several_threads(evaluator: Evaluator, images: Tensor) -> None:
    expected = evaluator.scores(images)
    again = pickle.loads(pickle.dumps(evaluator))
    assert again.protocol == evaluator.protocol
    barrier = threading.Barrier(2)

    def score(samples: Tensor) -> dict[str, float]:
        barrier.wait()
        return again.scores(samples)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(score, [images, images])) == [expected, expected]
    assert len(repr(again.fitted[0])) < 50_000  # neither network nor weights are printed


def test_on_digits_they_stand_beside_the_digit_features_which_keep_their_names_and_scores() -> None:
    mnist = load_mnist()
    alone = Evaluator.build(mnist, sample_size=250)
    with registered(lambda: Tiny(1)) as name:
        both = Evaluator.build(mnist, sample_size=250, features=name)
        named = Evaluator.build(mnist, metrics=["kid", FID], sample_size=250, features=name)
    assert objectives(both)[3:] == objectives(alone)
    assert objectives(alone)[:2] == (FID, KID)
    assert both.objective_default == both.names[0] == both.resolve("fid") != FID
    assert both.resolve(FID) == FID
    assert {name: both.floors[name] for name in objectives(alone)} == {
        name: alone.floors[name] for name in objectives(alone)
    }
    for name in objectives(alone):
        assert both.protocol["metrics"][name] == alone.protocol["metrics"][name]
    assert named.names == (both.names[1], FID)


def test_short_names_mean_the_named_features_and_all_are_declared(evaluator: Evaluator) -> None:
    """Names alone are needed for it: no network is registered here."""
    fid, kid, *_ = objectives(evaluator)
    for given, full in (("fid", fid), ("eval/fid", fid), ("kid", kid), (kid.removeprefix("eval/"), kid), (fid, fid)):
        assert resolve_objective(given, evaluator.specs) == full
    for name in objectives(evaluator):
        spec = known_metrics(evaluator.specs)[name]
        assert (spec.name, spec.direction, spec.comparable) == (name, "minimize", True)
    assert fid not in known_metrics()
    assert resolve_objective("fid", Fid("inception_6726825d").specs) == "eval/fid_inception_6726825d"
    with pytest.raises(UserError, match=rf"measured on the data of the sweep; {kid} is not; choose from: {fid}$"):
        resolve_objective("kid", evaluator.specs[:1])
    with pytest.raises(UserError, match=r"choose from: eval/sliced_wasserstein; .* --features"):
        resolve_objective("kid", SlicedWasserstein().specs)


def test_samples_whose_features_are_not_finite_score_nan_on_them(colour: Dataset) -> None:
    with registered(of(lambda x: x.flatten(1)[:, :4] / x.flatten(1).std(1, keepdim=True))) as name:
        evaluator = Evaluator.build(colour, sample_size=SIZE, features=name)
    scores = evaluator.scores(torch.zeros(SIZE, *SHAPE))
    assert all(math.isnan(scores[name]) for name in evaluator.names[:2])
    assert math.isfinite(scores[SLICED_NAME])


def test_scoring_leaves_the_samples_alone_though_the_network_works_in_place(colour: Dataset) -> None:
    with registered(of(lambda x: x.mul_(2).flatten(1)[:, :4])) as name:
        evaluator = Evaluator.build(colour, sample_size=SIZE, features=name)
    assert evaluator.floors[SLICED_NAME] == Evaluator.build(colour, sample_size=SIZE).floors[SLICED_NAME]


# The network that is made


def test_a_network_is_made_once_in_evaluation_mode_and_leaves_torchs_generator_alone(images: Tensor) -> None:
    made: list[nn.Module] = []

    def factory() -> nn.Module:
        made.append(Tiny().train())
        return made[-1]

    before = torch.get_rng_state()
    with registered(factory) as name:
        first, again = load_features(name, images), load_features(name, images)
    assert torch.equal(before, torch.get_rng_state())
    assert len(made) == 1
    assert first is again
    assert not any(module.training for module in first.network.modules())
    assert not any(parameter.requires_grad for parameter in first.network.parameters())
    assert made[0].training  # the script's own network stays as it is
    torch.testing.assert_close(first.features(images), tiny()(images))


def test_the_digest_tells_weights_attributes_and_texts_apart() -> None:
    def other() -> nn.Module:
        return Tiny()

    class Tinier(Tiny):
        pass

    def weighted(weight: float) -> nn.Module:
        network = tiny()
        next(network.parameters()).view(-1)[0] = weight
        return network

    digests = [
        network_digest(tiny(), Tiny),
        network_digest(tiny(), other),
        network_digest(Tinier(), Tiny),
        network_digest(weighted(0.5), Tiny),
        network_digest(weighted(0.25), Tiny),
    ]
    changed = tiny()
    changed.gain = 2.0  # type: ignore[assignment]
    digests.append(network_digest(changed, Tiny))
    assert len(set(digests)) == len(digests)
    assert network_digest(pickle.loads(pickle.dumps(tiny())), Tiny) == digests[0]


# What is refused


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["", "Mine", "1st", "my-net", "a" * 21, "name\n", "特徴"])
def test_a_bad_name_is_refused(name: str) -> None:
    assert "20 lower-case letters" in message_of(lambda: register_features(name, Tiny))


def test_a_name_is_registered_once() -> None:
    for name in ("inception", "digits"):
        assert f"'{name}', which is taken" in message_of(lambda name=name: register_features(name, Tiny))
    with registered(Tiny) as name:
        register_features(name, Tiny)
        assert "'mine', which is taken" in message_of(lambda: register_features("mine", lambda: Tiny()))


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with registered(Tiny), registered(Tiny, "another"):
        check_features("mine")
        check_features("inception")
        for given in ("other", "digits", ""):
            message = message_of(lambda given=given: check_features(given))
            assert f"one of another, mine, inception; given {given!r}" in message
            assert "register_features(name, factory)" in message
    message = message_of(lambda: check_features("/data/features.pt2"))
    assert "'/data/features.pt2', and exported programs are no longer read: register its network" in message


class Counting(nn.Module):
    """A network that counts its calls, so that threads disturb each other."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.flatten(1)


def fails() -> nn.Module:
    raise OSError("no such file: weights.safetensors")


def locked() -> nn.Module:
    network = Tiny()
    network.lock = threading.Lock()  # type: ignore[assignment]
    return network


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        (fails, "fails: OSError: no such file: weights.safetensors"),
        (lambda: torch.zeros, "returns builtin_function_or_method"),
        (lambda: nn.LazyLinear(3), "has lazy layers"),
        (locked, "'mine' cannot be: TypeError: cannot pickle"),
        (lambda: Tiny(1), r"fails on them: RuntimeError"),
        (lambda: Tiny().double(), r"float32 (250, 3, 8, 8); 'mine' fails on them: RuntimeError"),
        (of(lambda x: x[:, :, :2, 0]), "gives torch.float32 (250, 3, 2) for 250 images"),
        (of(lambda x: x.flatten(1).sum(1)), "(N, D)"),
        (of(lambda x: (x * 9).long().flatten(1)), "gives torch.int64"),
        (of(lambda x: (x.flatten(1), x)), "gives tuple"),
        (of(lambda x: x.flatten(1)[:, :0]), "gives 0:"),
        (of(lambda x: x.flatten(1).repeat(1, 22)), f"1 to 4096 features; 'mine' gives {22 * 192}:"),
        (of(lambda x: x.flatten(1).log()), "finite"),
        (of(lambda x: x.flatten(1) - x.flatten(1).mean(0)), "its own features"),
        (of(lambda x: F.dropout(x.flatten(1))), "its own features"),
        (Counting, "must not change in forward"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(factory: Callable[[], Any], found: str, colour: Dataset) -> None:
    with registered(factory) as name:
        assert found in message_of(lambda: Evaluator.build(colour, features=name))


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_which_cannot_be_pickled_is_refused(colour: Dataset) -> None:
    with registered(lambda: torch.jit.trace(Tiny().eval(), torch.zeros(2, *SHAPE))) as name:
        assert "has TorchScript layers" in message_of(lambda: Evaluator.build(colour, features=name))


def test_features_of_a_training_image_that_are_not_finite_are_refused(colour: Dataset) -> None:
    darkest = float(colour.train.values.reshape(SIZE, -1).mean(1).max()) / 127.5 - 1
    with registered(of(lambda x: x.flatten(1)[:, :4] + (x.flatten(1).mean(1, keepdim=True) - darkest - 0.1).log())):
        assert "finite" in message_of(lambda: Evaluator.build(colour, features="mine"))


def test_features_are_of_images_only() -> None:
    table = np.zeros((30, 7), np.float32)
    rows = Dataset.of("t", *(Split(part, None) for part in np.split(table, 3)))
    with registered(Tiny) as name:
        assert "--features is for images" in message_of(lambda: Evaluator.build(rows, features=name))
