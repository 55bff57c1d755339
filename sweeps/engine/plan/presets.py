"""Presets: published settings by name, each with a search space, its starting points and fixed settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.engine.plan.space import Range, Space
from wgan_core.config import Structure


@dataclass(frozen=True)
class Preset:
    """Settings from which a search starts.

    Attributes:
        source: The paper or page that published the settings.
        space: The space to search. Its first point is the published one, unless `source` says otherwise.
        structure: Fixed settings, by the names of `Structure`, without the shape of the data.
        published_updates: Critic updates of the published schedule; None if none was published.
        objective: The metric to minimise if the user names none; None for the data's default.
    """

    source: str
    space: Space
    structure: Mapping[str, Any] = field(default_factory=dict)
    published_updates: int | None = None
    objective: str | None = None

    def structure_for(self, sample_shape: tuple[int, ...], networks: str | None, **of_data: Any) -> Structure:
        """Return the structure of all trials.

        Args:
            sample_shape: Shape of one sample.
            networks: Name of the networks; None for the preset's. Other networks get their default options.
            of_data: Further settings that depend on the data, by the names of `Structure`, such as `classes`.
        """
        settings = {"networks": "mlp", **self.structure, **of_data}
        if networks is not None and networks != settings["networks"]:
            settings |= {"networks": networks, "network_options": {}}
        return Structure(sample_shape=sample_shape, **settings)


RATE = Range(1e-5, 1e-2, log=True)
BETAS = {"beta1": Range(0.0, 0.9), "one_minus_beta2": Range(0.001, 0.2, log=True)}
LAMBDA = {"lambda_gp": Range(0.1, 100.0, log=True)}
TURNS = {"n_critic": Range(1, 5, whole=True)}

WGAN_GP = Space(
    ranges={**LAMBDA, "lr": RATE, **TURNS, **BETAS},
    fixed={},
    presets=(
        # Gulrajani et al. 2017, Algorithm 1.
        {"lambda_gp": 10.0, "lr": 1e-4, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.1},
        # Miyato et al. 2018 (SN-GAN), settings D and C.
        {"lambda_gp": 10.0, "lr": 1e-3, "n_critic": 5, "beta1": 0.5, "one_minus_beta2": 0.1},
        {"lambda_gp": 10.0, "lr": 2e-4, "n_critic": 1, "beta1": 0.5, "one_minus_beta2": 0.001},
    ),
)
TWO_RATES = Space(
    ranges={**LAMBDA, "lr_critic": RATE, "lr_generator": RATE, **TURNS, **BETAS},
    fixed={},
    presets=(
        {
            "lambda_gp": 10.0,
            "lr_critic": 4e-3,
            "lr_generator": 1e-3,
            "n_critic": 1,
            "beta1": 0.9,
            "one_minus_beta2": 0.001,
        },
    ),
)
CLIPPED = Space(
    ranges={"clip": Range(1e-3, 1e-1, log=True), "lr": Range(1e-6, 1e-2, log=True), **TURNS},
    # The published code uses the defaults of torch's RMSProp: no momentum, and a decay of 0.99 for squared gradients.
    fixed={"beta1": 0.0, "beta2": 0.99},
    presets=({"clip": 0.01, "lr": 5e-5, "n_critic": 5},),
)
# The code of Mescheder et al. 2018 weighs E |grad D|^2 by 10. Our penalty is half of that, so its weight is 20. RMSProp
# has torch's defaults there.
PENALISED = Space(
    ranges={**LAMBDA, "lr": RATE, **TURNS},
    fixed={"beta1": 0.0, "beta2": 0.99},
    presets=({"lambda_gp": 20.0, "lr": 1e-4, "n_critic": 1},),
)
PLAIN = Space(
    ranges={"lr": RATE, **TURNS, **BETAS},
    fixed={},
    presets=({"lr": 2e-4, "n_critic": 1, "beta1": 0.5, "one_minus_beta2": 0.001},),
)


def _point(lr: float, beta1: float, one_minus_beta2: float, n_critic: int) -> dict[str, float]:
    return {"lambda_gp": 10.0, "lr": lr, "n_critic": n_critic, "beta1": beta1, "one_minus_beta2": one_minus_beta2}


# Miyato et al. 2018 (SN-GAN), table 1, settings A to F. Setting C is that of Radford et al. 2016.
SN_GAN = replace(
    WGAN_GP,
    presets=(
        _point(1e-4, 0.5, 0.1, 5),
        _point(1e-4, 0.5, 0.001, 1),
        _point(2e-4, 0.5, 0.001, 1),
        _point(1e-3, 0.5, 0.1, 5),
        _point(1e-3, 0.5, 0.001, 5),
        _point(1e-3, 0.9, 0.001, 5),
    ),
)

# Spectral normalisation takes the place of the penalty, so there is no lambda.
SPECTRAL = replace(
    PLAIN,
    presets=tuple({name: value for name, value in point.items() if name != "lambda_gp"} for point in SN_GAN.presets),
)
# Miyato and Koyama 2018, the authors' settings for CIFAR-10.
PROJECTION = replace(PLAIN, presets=({"lr": 2e-4, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.1},))

_ARJOVSKY = "Arjovsky et al. 2017, Algorithm 1, on the MLP pair"
_RADFORD = "with Adam as in Radford et al. 2016, on the MLP pair"
_MESCHEDER = "with the authors' RMSProp, rate and weight, on the MLP pair"

CONDITIONAL: Mapping[str, Preset] = {
    "wgan-gp": Preset("Gulrajani et al. 2017, Algorithm 1, on the MLP pair, told one-hot labels", WGAN_GP),
    "cgan": Preset(
        "Mirza and Osindero 2014, with Adam as in Radford et al. 2016, on the MLP pair", PLAIN, {"loss": "gan"}
    ),
    "embedded": Preset("wgan-gp, told a learnt code of 16 numbers a label", WGAN_GP, {"label_embedding": 16}),
    # The authors' settings for CIFAR-10 are 50,000 generator updates of 5 critic updates each.
    "projection": Preset(
        "Miyato and Koyama 2018, hinge loss, on their ResNet for CIFAR-10 with 32 channels; the rates do not decay "
        "unless --decay is given",
        PROJECTION,
        {"networks": "projection", "loss": "hinge", "spectral_norm": True, "latent_dim": 128},
        250_000,
    ),
}

MNIST: Mapping[str, Preset] = {
    # The authors' script for MNIST trains for 200,000 generator updates of 5 critic updates each.
    "wgan-gp": Preset("Gulrajani et al. 2017, Algorithm 1, on the MLP pair", WGAN_GP, published_updates=1_000_000),
    # The schedule is 100 epochs of 60,000 images in batches of 64, without the incomplete batch of each epoch.
    "mlp-blog": Preset("an MLP WGAN-GP with two learning rates, as blogs have it", TWO_RATES, published_updates=93_700),
    # The authors' script trains for 200,000 generator updates of 5 critic updates each.
    "dcgan": Preset(
        "Gulrajani et al. 2017, the authors' script for MNIST, on the DCGAN pair without batch normalisation, but "
        "with 4x4 kernels for 5x5, initial weights of sd .02, and pixels in [-1, 1] for [0, 1]",
        replace(WGAN_GP, presets=(_point(1e-4, 0.5, 0.1, 5),)),
        {
            "networks": "dcgan",
            "network_options": {"generator": {"batch_norm": False}},
            "latent_dim": 128,
            "batch_size": 50,
        },
        1_000_000,
    ),
    # The authors' script trains for 100,000 generator updates of 5 critic updates each.
    "residual": Preset(
        "Gulrajani et al. 2017, the authors' ResNet for CIFAR-10, on the residual pair, but without the classifier of "
        "their ACGAN, with 32 channels for 128, a generator's batch of 64 for 128, and rates that fall to 0 only with "
        "--decay",
        replace(WGAN_GP, presets=(_point(2e-4, 0.0, 0.1, 5),)),
        {"networks": "residual", "latent_dim": 128},
        500_000,
    ),
    "sn-gan": Preset("the six settings of Miyato et al. 2018, table 1, with a penalty, on the MLP pair", SN_GAN),
    "spectral": Preset(
        "Miyato et al. 2018, table 1, hinge loss, spectrally normalised, on the DCGAN pair in place of their CNN",
        SPECTRAL,
        {"networks": "dcgan", "loss": "hinge", "spectral_norm": True, "latent_dim": 128},
    ),
    "wgan-lp": Preset("Petzka et al. 2018, on the MLP pair", WGAN_GP, {"loss": "wgan-lp"}),
    "wgan-clip": Preset(_ARJOVSKY, CLIPPED, {"loss": "wgan-clip", "optimiser": "rmsprop"}),
    "gan": Preset(f"Goodfellow et al. 2014, non-saturating, {_RADFORD}", PLAIN, {"loss": "gan"}),
    "gan-saturating": Preset(f"Goodfellow et al. 2014, eq. 1, {_RADFORD}", PLAIN, {"loss": "gan-saturating"}),
    "gan-r1": Preset(
        f"R1 penalty of Mescheder et al. 2018, {_MESCHEDER}", PENALISED, {"loss": "gan-r1", "optimiser": "rmsprop"}
    ),
    "gan-r2": Preset(
        f"R2 penalty of Mescheder et al. 2018, {_MESCHEDER}", PENALISED, {"loss": "gan-r2", "optimiser": "rmsprop"}
    ),
    "hinge": Preset(f"hinge loss, {_RADFORD}", PLAIN, {"loss": "hinge"}),
}


def _relu_nets(width: int, batch_size: int, **more: Any) -> dict[str, Any]:
    """Return settings for an MLP pair with three hidden ReLU layers each and a latent dimension of 2.

    `more` are further options of both networks.
    """
    hidden = {"widths": [width] * 3, "activation": "relu", **more}
    options = {"critic": hidden, "generator": {**hidden, "output": "linear", "batch_norm": False}}
    return {"networks": "mlp", "network_options": options, "latent_dim": 2, "batch_size": batch_size}


# Toy data needs a smaller lambda than images.
TOY_RANGES = {"lambda_gp": Range(0.01, 10.0, log=True), "lr": RATE, **TURNS, **BETAS}
TOY_BETAS = {"beta1": 0.5, "one_minus_beta2": 0.1}
BLOG_POINT = {"lambda_gp": 0.2, "lr": 5e-4, "n_critic": 5, **TOY_BETAS}
AUTHORS_POINT = {"lambda_gp": 0.1, "lr": 1e-4, "n_critic": 5, **TOY_BETAS}
BLOG_NETS = _relu_nets(400, 512)
# The schedule is 50,000 generator updates of 5 critic updates each.
BLOG_UPDATES = 250_000

GAUSSIANS: Mapping[str, Preset] = {
    "blog": Preset(
        "a WGAN-GP on 8 Gaussians as blogs have it, without their critic's sigmoid",
        Space(TOY_RANGES, {}, (BLOG_POINT, AUTHORS_POINT)),
        BLOG_NETS,
        BLOG_UPDATES,
    ),
    "gan": Preset(
        "Goodfellow et al. 2014, non-saturating, with the nets, Adam and schedule of the preset blog",
        replace(PLAIN, presets=({"lr": 5e-4, "n_critic": 5, **TOY_BETAS},)),
        {"loss": "gan", **BLOG_NETS},
        BLOG_UPDATES,
    ),
    # The authors' script trains for 100,000 generator updates of 5 critic updates each.
    "toy": Preset(
        "Gulrajani et al. 2017, the authors' script for toy data, with its initial weights",
        Space(TOY_RANGES, {}, (AUTHORS_POINT, BLOG_POINT)),
        _relu_nets(512, 256, initial="he"),
        500_000,
    ),
}
