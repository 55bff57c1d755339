"""What the pairs are by default and as published, what their options change, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.networks.layers import ACTIVATIONS, LeakyReLU, Reshape
from wgan_core.networks.network import build, initialise
from wgan_core.networks.pairs.ffpred import FFPredCritic


def pair(
    name: str,
    shape: tuple[int, ...],
    critic: Mapping[str, Any] | None = None,
    generator: Mapping[str, Any] | None = None,
    latent_dim: int = 100,
) -> tuple[nn.Module, nn.Module]:
    """A critic and a generator on the meta device, which draws nothing."""
    options = {"critic": critic or {}, "generator": generator or {}}
    with torch.device("meta"):
        return build(Structure(name, shape, latent_dim=latent_dim, network_options=options))


def weights(module: nn.Module) -> list[tuple[int, ...]]:
    """The shapes of all weights that multiply, in order."""
    return [tuple(tensor.shape) for tensor in module.parameters() if tensor.dim() > 1]


def kinds(module: nn.Module, *of: type[nn.Module]) -> list[nn.Module]:
    return [each for each in module.modules() if isinstance(each, of)]


def test_the_mlp_pair_is_by_default_what_its_checkpoints_have() -> None:
    """The names of the tensors and the initial draws, against the pair written out."""

    def written_out() -> tuple[nn.Module, nn.Module]:
        critic = nn.Sequential(
            Reshape(784),
            *(nn.Linear(784, 512), LeakyReLU()),
            *(nn.Linear(512, 256), LeakyReLU()),
            nn.Linear(256, 1),
        )
        generator = nn.Sequential(
            *(nn.Linear(100, 128), LeakyReLU()),
            *(nn.Linear(128, 256, bias=False), nn.BatchNorm1d(256), LeakyReLU()),
            *(nn.Linear(256, 512, bias=False), nn.BatchNorm1d(512), LeakyReLU()),
            *(nn.Linear(512, 1024), LeakyReLU()),
            *(nn.Linear(1024, 784), nn.Tanh()),
        )
        return critic, generator

    torch.manual_seed(5)
    expected = written_out()
    for module, other in zip(initialise(Structure("mlp", (1, 28, 28)), 5), expected, strict=True):
        ours, theirs = module.state_dict(), other.state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_the_mlp_pair_of_any_widths() -> None:
    options = {"widths": [400, 400, 400], "activation": "relu"}
    critic, generator = pair("mlp", (2,), options, {**options, "output": "linear", "batch_norm": False}, latent_dim=2)
    assert weights(critic) == [(400, 2), (400, 400), (400, 400), (1, 400)]
    assert weights(generator) == [(400, 2), (400, 400), (400, 400), (2, 400)]
    assert not kinds(generator, nn.BatchNorm1d, nn.Tanh)
    rectifiers = [each for module in (critic, generator) for each in kinds(module, LeakyReLU)]
    assert [each.slope for each in rectifiers] == [0.0] * 6


@pytest.mark.parametrize(("batch_norm", "positions"), [(None, [1, 2]), (True, [0, 1, 2, 3]), (False, [])])
def test_where_the_mlp_generator_normalises(batch_norm: bool | None, positions: list[int]) -> None:
    _, generator = pair("mlp", (2,), generator={"batch_norm": batch_norm})
    linear = kinds(generator, nn.Linear)[:-1]
    assert [number for number, layer in enumerate(linear) if layer.bias is None] == positions
    widths = [(128, 256, 512, 1024)[position] for position in positions]
    assert [layer.num_features for layer in kinds(generator, nn.BatchNorm1d)] == widths


def test_initial_weights_of_the_toy_script() -> None:
    """Uniform, of variance 2 / I in hidden layers and 2 / (I + O) in the last one; biases zero."""
    hidden = {"widths": [512] * 3, "initial": "he"}
    options = {"critic": hidden, "generator": {**hidden, "batch_norm": False}}
    for module in initialise(Structure("mlp", (2,), latent_dim=2, network_options=options), 0):
        *inner, last = kinds(module, nn.Linear)
        for layer in (*inner, last):
            fans = layer.in_features if layer is not last else layer.in_features + layer.out_features
            bound = (6 / fans) ** 0.5
            assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.bias.detach().any()


def test_layer_normalisation_in_critics_is_an_option() -> None:
    for name, kind, count in (("mlp", nn.LayerNorm, 2), ("dcgan", nn.GroupNorm, 2), ("residual", nn.GroupNorm, 6)):
        assert not kinds(pair(name, (1, 28, 28))[0], kind)
        critic, _ = pair(name, (1, 28, 28), {"layer_norm": True})
        assert len(kinds(critic, kind)) == count, name
        for layer in kinds(critic, nn.GroupNorm):
            assert layer.num_groups == 1


def test_the_ffpred_pair_is_the_published_one() -> None:
    """258-512-512-512-258 (ReLU, ReLU, tanh, linear) and 258-86-86-86-1, drawn from N(0, .02^2), biases zero."""
    critic, generator = initialise(Structure("ffpred", (258,), latent_dim=258), 0)
    assert weights(generator) == [(512, 258), (512, 512), (512, 512), (258, 512)]
    assert weights(critic) == [(86, 258), (86, 86), (86, 86), (1, 86)]
    layers = [type(each) for each in generator.children()]
    assert layers[:7] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear, nn.Tanh, nn.Linear]
    assert [each.slope for each in kinds(critic, LeakyReLU)] == [0.01] * 3
    for module in (critic, generator):
        drawn = torch.cat([tensor.detach().flatten() for tensor in module.parameters() if tensor.dim() > 1])
        assert float(drawn.std()) == pytest.approx(0.02, rel=0.02)
        assert all((tensor == 0).all() for tensor in module.parameters() if tensor.dim() == 1)


def test_the_ffpred_critic_gives_its_hidden_layers() -> None:
    critic, _ = initialise(Structure("ffpred", (9,), dtype="float64"), 0)
    assert isinstance(critic, FFPredCritic)
    x = torch.randn(4, 9, dtype=torch.float64)
    first, second, third = critic.hidden(x)
    assert [tuple(layer.shape) for layer in (first, second, third)] == [(4, 86)] * 3
    tensors = list(critic.parameters())
    assert torch.allclose(first, F.leaky_relu(x @ tensors[0].T + tensors[1], 0.01))
    assert torch.allclose(critic(x), (third @ tensors[6].T + tensors[7])[:, 0])
    (gradient,) = torch.autograd.grad(second.mean(), tensors[2])  # what feature matching learns from
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("side", "channels"), [(28, [64, 128, 256]), (32, [64, 128, 256]), (64, [64, 128, 256, 512])], ids=str
)
def test_the_dcgan_pair_halves_down_to_4_pixels(side: int, channels: list[int]) -> None:
    critic, generator = pair("dcgan", (3, side, side))
    convolutions = kinds(critic, nn.Conv2d)
    assert [layer.out_channels for layer in convolutions] == channels
    transposed = kinds(generator, nn.ConvTranspose2d)
    assert [layer.in_channels for layer in transposed] == channels[::-1]
    assert weights(critic)[-1] == (1, channels[-1] * 16)
    assert weights(generator)[0] == (channels[-1] * 16, 100)


def test_the_dcgan_pair_at_the_published_width() -> None:
    _, generator = pair("dcgan", (3, 64, 64), generator={"width": 128})
    assert [layer.in_channels for layer in kinds(generator, nn.ConvTranspose2d)] == [1024, 512, 256, 128]


def test_batch_normalisation_of_the_dcgan_generator_is_an_option() -> None:
    """Without it, each layer has a bias; at 28 pixels the layers are those of the authors' script for MNIST."""
    _, usual = pair("dcgan", (1, 28, 28))
    _, plain = pair("dcgan", (1, 28, 28), generator={"batch_norm": False}, latent_dim=128)
    assert len(kinds(usual, nn.BatchNorm2d)) == 3
    assert not kinds(plain, nn.BatchNorm2d)
    layers = kinds(plain, nn.Linear, nn.ConvTranspose2d)
    assert all(layer.bias is not None for layer in layers)
    assert len(layers) == len(kinds(plain, nn.ReLU, nn.Tanh)) == 4
    assert layers[0].weight.shape == (4 * 4 * 256, 128)


@pytest.mark.parametrize("name", ["dcgan", "ffpred"])
def test_initial_weights_are_an_option(name: str) -> None:
    options = {"initial_sd": 0.3}
    both = {"critic": options, "generator": options}
    drawn = initialise(Structure(name, (1, 28, 28), network_options=both), 0)
    left = initialise(Structure(name, (1, 28, 28), network_options={part: {"initial_sd": None} for part in both}), 0)
    for module, own in zip(drawn, left, strict=True):
        for layer, other in zip(module.modules(), own.modules(), strict=True):
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                # Its standard deviation is known to within four of its own standard errors.
                tolerance = 4 / (2 * layer.weight.numel()) ** 0.5
                assert float(layer.weight.detach().std()) == pytest.approx(0.3, rel=tolerance)
                assert layer.bias is None or not layer.bias.detach().any()
                assert float(other.weight.detach().std()) < 0.2
            if isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight == 1).all()


def test_the_residual_pair_at_32_pixels_is_the_published_one() -> None:
    """Gulrajani et al. 2017, CIFAR-10 ResNet: three blocks up from 4x4; two down to 8x8 and two there."""
    width = {"width": 128}
    critic, generator = pair("residual", (3, 32, 32), width, width, latent_dim=128)
    block = [(128, 128, 3, 3), (128, 128, 3, 3)]
    resampled = [*block, (128, 128, 1, 1)]
    assert weights(generator) == [(128 * 16, 128), *resampled * 3, (3, 128, 3, 3)]
    first = [(128, 3, 3, 3), (128, 128, 3, 3), (128, 3, 1, 1)]
    assert weights(critic) == [*first, *resampled, *block, *block, (1, 128)]
    assert len(kinds(generator, nn.BatchNorm2d)) == 7


def test_the_projection_pair_at_32_pixels_is_the_published_one() -> None:
    """The authors' code for CIFAR-10: 128 channels in the critic, 256 in the generator, a score without a bias."""
    options = {"critic": {"width": 128}, "generator": {"width": 256}}
    with torch.device("meta"):
        critic, generator = build(
            Structure("projection", (3, 32, 32), latent_dim=128, network_options=options, classes=10)
        )
    block = [(128, 128, 3, 3), (128, 128, 3, 3)]
    first = [(128, 3, 3, 3), (128, 128, 3, 3), (128, 3, 1, 1)]
    assert weights(critic) == [*first, *block, (128, 128, 1, 1), *block, *block, (1, 128), (10, 128)]
    affine = [(10, 256), (10, 256)]
    up = [*affine, (256, 256, 3, 3), *affine, (256, 256, 3, 3), (256, 256, 1, 1)]
    assert weights(generator) == [(256 * 16, 128), *up * 3, (3, 256, 3, 3)]
    assert [layer.affine for layer in kinds(generator, nn.BatchNorm2d)] == [False] * 6 + [True]


@pytest.mark.parametrize(("side", "base", "up", "down"), [(28, 7, 2, 2), (32, 4, 3, 2), (64, 4, 4, 3)])
def test_the_residual_pair_has_as_many_blocks_as_a_side_takes(side: int, base: int, up: int, down: int) -> None:
    critic, generator = pair("residual", (1, side, side))
    assert weights(generator)[0] == (32 * base * base, 100)
    assert weights(generator).count((32, 32, 1, 1)) == up
    assert weights(critic).count((32, 32, 1, 1)) == down - 1


def test_residual_weights_are_drawn_as_published() -> None:
    """Of variance 2 / (fan in + fan out) (Glorot and Bengio 2010), and twice that after a ReLU (He et al. 2015)."""
    critic, generator = initialise(Structure("residual", (3, 32, 32)), 0)
    for module in (critic, generator):
        for layer in kinds(module, nn.Conv2d, nn.Linear):
            fans = sum(layer.weight.shape[:2]) * layer.weight[0, 0].numel()
            inner = isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) and layer.out_channels == 32
            expected = ((4 if inner else 2) / fans) ** 0.5
            tolerance = 4 / (2 * layer.weight.numel()) ** 0.5
            assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=tolerance)
            assert layer.bias is None or not layer.bias.detach().any()


def test_what_a_generator_ends_with() -> None:
    for name, shape, default in (("mlp", (4,), "tanh"), ("sequence", (1, 4), "linear")):
        for output in ("tanh", "linear"):
            _, generator = pair(name, shape, generator={"output": output})
            assert len(kinds(generator, nn.Tanh)) == (output == "tanh"), name
        assert len(kinds(pair(name, shape)[1], nn.Tanh)) == (default == "tanh"), name


THEIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "relu": F.relu,
    "tanh": torch.tanh,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_torchs_to_the_second_derivative(name: str) -> None:
    found = []
    for activation in (ACTIVATIONS[name](), THEIRS[name]):
        x = torch.tensor([-3.0, -0.5, -1e-30, -0.0, 0.0, 1e-30, 0.7, 2.0], dtype=torch.float64).requires_grad_()
        value = activation(x)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        # A square, so that there is something to differentiate where the slope hangs on nothing.
        (curvature,) = torch.autograd.grad((slope * x).square().sum(), x)
        found.append((value.detach(), slope.detach(), curvature))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=0)


CRITIC, GENERATOR = "critic", "generator"
SHAPES = {
    "mlp": (4,),
    "ffpred": (4,),
    "conv": (1, 8, 8),
    "dcgan": (1, 28, 28),
    "residual": (1, 28, 28),
    "projection": (1, 28, 28),
    "sequence": (1, 8),
}
MUST = {
    "widths": "one or more whole numbers > 0",
    "width": "a whole number > 0",
    "hidden": "a whole number > 0",
    "activation": f"one of {', '.join(ACTIVATIONS)}",
    "output": "one of tanh, linear",
    "layer_norm": "true or false",
    "batch_norm": "true or false",
    "initial": "one of torch, he",
    "initial_sd": "a number > 0, or null for torch's own draws",
}
# A pair and its part; an option, values that are refused, and the value that the error proposes.
REFUSED: list[tuple[str, str, str, list[object], object]] = [
    ("mlp", CRITIC, "widths", [[], [8, 0], 8, [True]], [512, 256]),
    ("mlp", GENERATOR, "widths", [[8.0], "512"], [128, 256, 512, 1024]),
    ("mlp", CRITIC, "activation", ["swish"], "leaky_relu"),
    ("mlp", GENERATOR, "activation", [["relu"]], "leaky_relu"),
    ("mlp", GENERATOR, "output", ["sigmoid"], "tanh"),
    ("mlp", GENERATOR, "batch_norm", [1], False),
    ("mlp", CRITIC, "layer_norm", ["yes"], False),
    ("mlp", CRITIC, "initial", [None, "xavier"], "torch"),
    ("mlp", GENERATOR, "initial", [2], "torch"),
    ("ffpred", CRITIC, "width", [0], 86),
    ("ffpred", GENERATOR, "initial_sd", [0], 0.02),
    ("ffpred", CRITIC, "initial_sd", [True], 0.02),
    ("conv", GENERATOR, "width", [-1], 32),
    ("dcgan", CRITIC, "width", [1.5], 64),
    ("dcgan", CRITIC, "layer_norm", [None], False),
    ("dcgan", GENERATOR, "batch_norm", [1], False),
    ("residual", GENERATOR, "width", ["64"], 32),
    ("residual", CRITIC, "layer_norm", [0], False),
    ("projection", CRITIC, "width", [0], 32),
    ("projection", GENERATOR, "width", ["64"], 32),
    ("sequence", GENERATOR, "output", [None], "linear"),
    ("sequence", CRITIC, "width", [True], 32),
    ("sequence", GENERATOR, "batch_norm", [0], False),
    ("sequence", CRITIC, "hidden", [-1, 1.5, True, None, "256"], 256),
    ("sequence", GENERATOR, "hidden", [-1, 1.5, True, None, "256"], 256),
]


@pytest.mark.parametrize(
    ("name", "part", "option", "value", "usual"),
    [(*where, value, usual) for *where, values, usual in REFUSED for value in values],
    ids=str,
)
def test_values_that_mean_nothing_are_refused(name: str, part: str, option: str, value: object, usual: object) -> None:
    said = f"{option} must be {MUST[option]}; given {value!r}: set {option} to {usual!r}, for example"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        pair(name, SHAPES[name], **{part: {option: value}})


def test_an_option_of_another_part_is_refused() -> None:
    with pytest.raises(UserError, match=r"critic of .* takes the options widths, .*; given 'batch_norm'"):
        pair("mlp", (4,), {"batch_norm": True})


SQUARES = r"networks take square images whose side is one of 28, 32, 64 pixels; given .*: resize .*conv .*mlp"
OTHER_SIDES: list[tuple[int, ...]] = [(1, 30, 30), (1, 28, 32), (3, 128, 128), (28, 28), (784,)]
UNFIT: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "dcgan": (f"dcgan {SQUARES}", OTHER_SIDES),
    "residual": (f"residual {SQUARES}", OTHER_SIDES),
    "projection": (f"projection {SQUARES}", OTHER_SIDES),
    "conv": (
        r"multiples of 4; given samples of shape .*--networks mlp",
        [(1, 30, 28), (1, 28, 30), (3, 63, 64), (28, 28), (784,)],
    ),
    "sequence": (
        r"\(channels, length\) of at least 4 steps; given .*: give longer .* --networks mlp",
        [(3, 2), (64,), (1, 28, 28)],
    ),
}


@pytest.mark.parametrize(
    ("name", "said", "shape"), [(name, said, shape) for name, (said, shapes) in UNFIT.items() for shape in shapes]
)
def test_samples_of_other_shapes_are_refused_with_what_fits(name: str, said: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=said) as info:
        pair(name, shape)
    assert str(shape) in str(info.value)
