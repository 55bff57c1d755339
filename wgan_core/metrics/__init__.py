"""Held-out metrics that can be compared across trials, and the objectives a sweep may take from them."""

from wgan_core.metrics.digits import classify, load_digit_classifier
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.features import register_features
from wgan_core.metrics.objective import check_objective, resolve_objective
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.specs import MetricSpec, known_metrics

__all__ = [
    "Evaluator",
    "MetricSpec",
    "OwnMetric",
    "check_objective",
    "classify",
    "known_metrics",
    "load_digit_classifier",
    "register_features",
    "resolve_objective",
]
