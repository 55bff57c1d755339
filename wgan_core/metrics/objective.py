"""Rules for the metric that a sweep minimises, its objective."""

from __future__ import annotations

from collections.abc import Sequence

from wgan_core.errors import UserError
from wgan_core.metrics.digits import digits_label
from wgan_core.metrics.independent_critic import CRITIC_NAME, LEAST
from wgan_core.metrics.metric import MetricSpec
from wgan_core.metrics.registry import known_metrics

ESTIMATE_REASON = (
    "the critic's estimate is worth what each trial's critic is worth; under a gradient penalty it tends to at least "
    "W + W^2/(2 lambda) as the critic learns, and to just that for pure shifts only, so that a sweep that minimises it "
    "picks the largest lambda and the weakest critic"
)
# The names that an error suggests first.
SHORT_NAMES = ("fid", "kid", "intra_fid", "sliced_wasserstein", "w1", "intra_energy")


def full_name(name: str, measured: Sequence[MetricSpec] = ()) -> str:
    """Return the full name of a metric. An unknown name is returned unchanged.

    `fid`, `eval/fid` and `fid_digits_<hash>` all mean `eval/fid_digits_<hash>`. If metrics on the features that
    `--features` names are measured, the first two mean `eval/fid_<name>_<hash>`.
    """
    given = f"eval/{name.removeprefix('eval/')}"
    # A metric that is measured precedes one of the same short name on other features.
    known = (*measured, *known_metrics(measured).values())
    return next((spec.name for spec in known if given in (spec.name, spec.stem)), name)


def resolve_objective(name: str, measured: Sequence[MetricSpec]) -> str:
    """Return the full name of an objective. Raises `UserError` unless a sweep may minimise this metric.

    Args:
        name: Full or short name of the metric.
        measured: The metrics that are measured on the sweep's data (`Evaluator.specs`).
    """
    full, known = full_name(name, measured), known_metrics(measured)
    choices = ", ".join(spec.name for spec in measured if spec.can_be_objective)
    spec = known.get(full)
    if spec is None:
        raise UserError(
            f"an objective must be a known metric; given {name!r}; known are {', '.join((*SHORT_NAMES, *known))}; "
            f"choose from: {choices}"
        )
    if not spec.comparable:
        raise UserError(
            f"an objective must be comparable across trials; {full} is not: {reason(spec)}; "
            f"minimise a held-out metric instead: {choices}"
        )
    if not spec.can_be_objective:
        raise UserError(
            f"an objective must be minimised, and order trials by itself; {full} is for diagnosis: it says nothing of "
            f"{spec.blind_to}; choose from: {choices}"
        )
    if all(spec.name != each.name for each in measured):
        raise UserError(
            f"an objective must be measured on the data of the sweep; {full} is not; choose from: {choices}"
            + hint(spec, measured)
        )
    return full


def hint(spec: MetricSpec, measured: Sequence[MetricSpec]) -> str:
    """Say what an unmeasured metric needs: networks with labels, or `--features` for images other than MNIST."""
    if "classes" in spec.depends_on and not any("classes" in each.depends_on for each in measured):
        return "; it is for scripts whose networks are told classes, such as conditional.py"
    if "conditions" in spec.depends_on:
        return "; it is for networks that are told numbers, as by conditional.py --condition"
    if spec.name == CRITIC_NAME:
        return f"; it needs {LEAST} held-out samples, and no windows that overlap"
    wanting = "digit classifier" in spec.depends_on and all(each.features in ("", digits_label()) for each in measured)
    return "; for FID and KID of other images name a feature extractor with --features" if wanting else ""


def reason(spec: MetricSpec) -> str:
    """Say why a quantity of the training loop does not compare across trials."""
    if spec.name == "train/wasserstein_estimate":
        return ESTIMATE_REASON
    return f"it depends on what each trial has of its own ({', '.join(sorted(spec.depends_on))}), and {ESTIMATE_REASON}"
