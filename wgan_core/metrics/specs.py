"""Declarations of every quantity that a trial reports: its meaning, its dependencies and its publication."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wgan_core.metrics.digit_weights import FEATURES, digits_label

Direction = Literal["minimize", "maximize", "none"]

# Dependencies that differ between trials. A value that depends on one of them does not compare across trials, whatever
# the quality of the samples.
TRIAL_OWN = frozenset({"critic", "generator", "lambda_gp"})


@dataclass(frozen=True)
class MetricSpec:
    """One reported quantity.

    Attributes:
        name: The full name, `eval/...` or `train/...`.
        meaning: One sentence that says what is measured, with its unit.
        direction: Whether a smaller value is better ("minimize"), a larger one ("maximize") or neither ("none").
        depends_on: Dependencies of the value besides the samples.
        source: The publication.
        blind_to: Properties of samples that a metric for diagnosis does not see; "" for other metrics.
    """

    name: str
    meaning: str
    direction: Direction
    depends_on: frozenset[str]
    source: str
    blind_to: str = ""

    @property
    def comparable(self) -> bool:
        """Return whether values of different trials can be compared."""
        return not self.depends_on & TRIAL_OWN

    @property
    def can_be_objective(self) -> bool:
        """Return whether a sweep may minimise this metric."""
        return self.comparable and self.direction == "minimize" and not self.blind_to


TRAINING = (
    MetricSpec(
        "train/wasserstein_estimate",
        "mean critic value on real less that on generated samples, without penalty; of a Wasserstein GAN, data units",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Arjovsky et al. 2017, equation 2; its bias under a penalty: Mallasto et al. 2019, Stanczuk et al. 2021",
    ),
    MetricSpec(
        "train/gradient_penalty",
        "the loss's penalty before the factor lambda; of a WGAN-GP the mean of (|gradient of the critic| - 1)^2",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, equation 3",
    ),
    MetricSpec(
        "train/gradient_norm",
        "mean norm of the critic's gradient where it is penalised; 1 for the ideal critic of a WGAN-GP",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, section 4",
    ),
    MetricSpec(
        "train/critic_loss",
        "what the critic minimises: the loss, plus lambda times its penalty if it has one",
        "none",
        frozenset({"critic", "lambda_gp", "train split"}),
        "Gulrajani et al. 2017, equation 3",
    ),
    MetricSpec(
        "train/generator_loss",
        "what the generator minimises; of a Wasserstein GAN its zero is arbitrary",
        "none",
        frozenset({"critic", "generator", "lambda_gp"}),
        "Arjovsky et al. 2017, algorithm 1",
    ),
)


SLICED_NAME = "eval/sliced_wasserstein"
SLICED = MetricSpec(
    SLICED_NAME,
    "sliced 2-Wasserstein distance of the raw values over fixed directions; data units ([-1, 1] pixels)",
    "minimize",
    frozenset({"held-out split", "sample size", "directions"}),
    "Bonneel et al. 2015, section 3",
)

W1_NAME = "eval/w1"
MODES_NAME, HIGH_QUALITY_NAME, KL_NAME = "eval/modes_captured", "eval/high_quality", "eval/kl_to_uniform"
MODE_NAMES = (MODES_NAME, HIGH_QUALITY_NAME, KL_NAME)
W1 = MetricSpec(
    W1_NAME,
    "exact 1-Wasserstein distance of the raw values; data units",
    "minimize",
    frozenset({"held-out split", "sample size"}),
    "Arjovsky et al. 2017, equation 1; the solver: Bonneel et al. 2011",
)
_OF_MIXTURE = frozenset({"centres and sd of the mixture", "sample size"})
_OF_MODES = "Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN), on synthetic data"
MODES = (
    MetricSpec(
        MODES_NAME,
        "modes of the mixture that have at least one sample within 3 sd of their centre; a count",
        "maximize",
        _OF_MIXTURE,
        _OF_MODES,
        blind_to="the samples near no centre and the shares of the modes",
    ),
    MetricSpec(
        HIGH_QUALITY_NAME,
        "share of samples within 3 sd of a centre of the mixture; 0 to 1, .989 for the mixture itself",
        "maximize",
        _OF_MIXTURE - {"sample size"},
        _OF_MODES,
        blind_to="lost modes and the spread within each",
    ),
    MetricSpec(
        KL_NAME,
        "KL divergence from equal shares of the samples within 3 sd over the modes; nats, log(modes) if there are none",
        "minimize",
        _OF_MIXTURE,
        "Lin et al. 2018 (PacGAN), on synthetic data",
        blind_to="the samples near no centre and the spread within each mode",
    ),
)
# Metrics of a GAN with labels. The intra-class metrics are the mean over classes of the distance within each class.
INTRA_SLICED_NAME = "eval/intra_sliced_wasserstein"
INTRA_SLICED = MetricSpec(
    INTRA_SLICED_NAME,
    "mean over the classes of the sliced 2-Wasserstein distance of the samples asked for as a class from real ones of "
    "that class; data units",
    "minimize",
    frozenset({"held-out split", "sample size", "directions", "classes"}),
    "Miyato and Koyama 2018, section 4, with this distance in place of FID",
)
AS_ASKED_NAME = "eval/as_asked"
AS_ASKED = MetricSpec(
    AS_ASKED_NAME,
    "share of the samples that the shipped digit classifier takes for the digit that was asked for; 0 to 1",
    "maximize",
    frozenset({"digit classifier"}),
    "Shmelkov et al. 2018, GAN-train and GAN-test",
    blind_to="the variety within each class",
)

C2ST_NAME = "eval/c2st"
ACCURACY_NAMES = ACCURACY_REAL_NAME, ACCURACY_FAKE_NAME = "eval/nn_accuracy_real", "eval/nn_accuracy_fake"
TWO_SAMPLE_NAMES = (C2ST_NAME, *ACCURACY_NAMES)
_TWO_SAMPLE_DEPENDS = frozenset({"held-out split", "sample size"})
_TWO_SAMPLE_SOURCE = "Lopez-Paz and Oquab 2017; reals and fakes apart: Xu et al. 2018, section 4"
TWO_SAMPLE = (
    MetricSpec(
        C2ST_NAME,
        "how far from a half the 1-nearest-neighbour classifier's leave-one-out accuracies on real and on generated "
        "samples are, the mean of both distances; 0 to .5",
        "minimize",
        _TWO_SAMPLE_DEPENDS,
        _TWO_SAMPLE_SOURCE,
    ),
    MetricSpec(
        ACCURACY_REAL_NAME,
        "share of the real samples whose nearest neighbour is real; 0 to 1, .5 at best",
        "none",
        _TWO_SAMPLE_DEPENDS,
        _TWO_SAMPLE_SOURCE,
        blind_to="the generated samples, and is best at .5",
    ),
    MetricSpec(
        ACCURACY_FAKE_NAME,
        "share of the generated samples whose nearest neighbour is generated; 0 to 1, .5 at best",
        "none",
        _TWO_SAMPLE_DEPENDS,
        _TWO_SAMPLE_SOURCE,
        blind_to="the real samples, and is best at .5",
    ),
)
ON_FEATURES = re.compile(r"eval/(?:intra_fid|fid|kid)_([a-z0-9_]{1,20}_[0-9a-f]{8})")


def intra_fid_name(label: str | None = None) -> str:
    """Return the full name of the mean FID within classes, on the same features as `fid_name`."""
    return f"eval/intra_fid_{label or digits_label()}"


def fid_name(label: str | None = None) -> str:
    """Return the full name of FID on the features with this label. None stands for the digit classifier."""
    return f"eval/fid_{label or digits_label()}"


def kid_name(label: str | None = None) -> str:
    """Return the full name of KID on the features with this label. None stands for the digit classifier."""
    return f"eval/kid_{label or digits_label()}"


def own_label(measured: Collection[str]) -> str | None:
    """Return the label `<name>_<hash8>` of the extractor that `--features` names, or None if no metric uses it."""
    labels = (found[1] for name in measured if (found := ON_FEATURES.fullmatch(name)))
    return next((label for label in labels if label != digits_label()), None)


def feature_specs(label: str, features: str, extractor: str) -> tuple[MetricSpec, MetricSpec]:
    """Return the declarations of FID and KID on an extractor's features.

    Args:
        label: The extractor's label in the names of metrics.
        features: A description of the features, for the meaning.
        extractor: A description of the extractor, for `depends_on`.
    """
    fid = MetricSpec(
        fid_name(label),
        f"Fréchet distance of {features}; squared feature units",
        "minimize",
        frozenset({"held-out split", "sample size", extractor}),
        "Heusel et al. 2017, equation 6",
    )
    kid = MetricSpec(
        kid_name(label),
        f"unbiased squared MMD, cubic kernel, of {features}; no unit, may be below 0",
        "minimize",
        frozenset({"held-out split", extractor}),
        "Bińkowski et al. 2018, section 4",
    )
    return fid, kid


def intra_fid_spec(label: str, features: str, extractor: str) -> MetricSpec:
    """Return the declaration of the mean FID within classes. The arguments are those of `feature_specs`."""
    return MetricSpec(
        intra_fid_name(label),
        f"mean over the classes of the Fréchet distance of {features}, of the samples asked for as a class from real "
        "ones of that class; squared feature units",
        "minimize",
        frozenset({"held-out split", "sample size", extractor, "classes"}),
        "Miyato and Koyama 2018, section 4",
    )


def known_metrics(measured: Collection[str] = (), own: Sequence[MetricSpec] = ()) -> Mapping[str, MetricSpec]:
    """Return all known metrics by full name: first the held-out metrics, the preferred objectives first.

    Some metrics are known only if `measured` names one of their kind. These are the metrics on the user's own features,
    of two-dimensional data, of tables and sequences, and of classes.

    Args:
        measured: Full names of the measured metrics, such as `Evaluator.names`.
        own: The user's own metrics.
    """
    label = own_label(measured)
    extractors = [(digits_label(), f"{FEATURES} features of the shipped digit classifier", "digit classifier")]
    if label:
        extractors.insert(0, (label, f"the features of the network {label}", "feature extractor"))

    def where(specs: Sequence[MetricSpec]) -> Sequence[MetricSpec]:
        """Return the given specs if any of them is measured, else none."""
        return () if {spec.name for spec in specs}.isdisjoint(measured) else specs

    of_classes = where((*(intra_fid_spec(*each) for each in extractors), INTRA_SLICED, AS_ASKED))
    of_plane = where((W1, *MODES))
    held_out = (
        *own,
        *(spec for spec in of_classes if spec.can_be_objective),
        *(spec for each in extractors for spec in feature_specs(*each)),
        *(spec for spec in of_plane if spec is W1),
        SLICED,
        *where(TWO_SAMPLE),
        *(spec for spec in of_classes if not spec.can_be_objective),
        *(spec for spec in of_plane if spec is not W1),
    )
    return {spec.name: spec for spec in (*held_out, *TRAINING)}
