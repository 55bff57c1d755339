"""All shipped metrics, in one order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wgan_core.metrics.by_class import AsAsked, ByClass
from wgan_core.metrics.by_condition import ByCondition
from wgan_core.metrics.copied import Copied
from wgan_core.metrics.digits import digits_label
from wgan_core.metrics.independent_critic import IndependentCritic
from wgan_core.metrics.manifold import Coverage
from wgan_core.metrics.metric import Metric, MetricSpec
from wgan_core.metrics.modes import Modes
from wgan_core.metrics.on_features import Fid, Kid, UnbiasedFid
from wgan_core.metrics.training import TRAINING
from wgan_core.metrics.two_sample import TwoSample
from wgan_core.metrics.wasserstein import ExactWasserstein, SlicedWasserstein


def shipped(labels: Collection[str]) -> tuple[Metric[Any], ...]:
    """Return the shipped metrics. The first that suits the data and can be minimised is the default objective.

    Args:
        labels: Labels of feature extractors, the preferred one first.
    """
    return (
        *(ByClass(Fid(label)) for label in labels),
        ByClass(SlicedWasserstein()),
        *(ByCondition(label) for label in (*labels, "")),
        *(metric for label in labels for metric in (Fid(label), Kid(label), UnbiasedFid(label))),
        ExactWasserstein(),
        SlicedWasserstein(),
        TwoSample(),
        IndependentCritic(),
        AsAsked(),
        Modes(),
        *(Coverage(label) for label in (*labels, "")),
        Copied(),
    )


def known_metrics(measured: Sequence[MetricSpec] = ()) -> Mapping[str, MetricSpec]:
    """Return all metrics by full name, also those that do not suit the data: an error can then say why.

    Args:
        measured: Declarations of the measured metrics, the user's own metrics and features among them.
    """
    labels = dict.fromkeys([*(spec.features for spec in measured if spec.features), digits_label()])
    held_out = [spec for metric in shipped(labels) for spec in metric.specs]
    own = [spec for spec in measured if spec not in held_out]
    return {spec.name: spec for spec in (*own, *held_out, *TRAINING)}
