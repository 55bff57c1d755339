"""Rules for the metric that a sweep minimises, its objective."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from wgan_core.errors import UserError
from wgan_core.metrics.specs import (
    C2ST_NAME,
    INTRA_SLICED_NAME,
    SLICED_NAME,
    W1_NAME,
    MetricSpec,
    fid_name,
    intra_fid_name,
    kid_name,
    known_metrics,
    own_label,
)

ESTIMATE_REASON = (
    "the critic's estimate is worth what each trial's critic is worth; under a gradient penalty it tends to "
    "W + W^2/(2 lambda) as the critic learns, so that a sweep that minimises it picks the largest lambda and the "
    "weakest critic"
)


def aliases(available: Collection[str] = ()) -> dict[str, str]:
    """Return the full name of each short name. FID and KID are on the features that `--features` names, if any."""
    own = own_label(available)
    return {
        "fid": fid_name(own),
        "kid": kid_name(own),
        "intra_fid": intra_fid_name(own),
        "sliced_wasserstein": SLICED_NAME,
        "w1": W1_NAME,
    }


def declared(available: Collection[str], own: Sequence[MetricSpec] = ()) -> Mapping[str, MetricSpec]:
    """Return all known metrics, also those that do not suit the data: an error can then say why a name is refused."""
    return known_metrics((*available, W1_NAME, C2ST_NAME, INTRA_SLICED_NAME), own)


def full_name(name: str, available: Collection[str] = (), own: Sequence[MetricSpec] = ()) -> str:
    """Return the full name of a metric. An unknown name is returned unchanged.

    `fid`, `eval/fid` and `fid_digits_<hash>` all mean `eval/fid_digits_<hash>`. If `available` has a metric on the
    features that `--features` names, the first two mean `eval/fid_<name>_<hash>`.
    """
    short = name.removeprefix("eval/")
    if short in aliases(available):
        return aliases(available)[short]
    return f"eval/{short}" if f"eval/{short}" in declared(available, own) else name


def resolve_objective(name: str, available: Collection[str], own: Sequence[MetricSpec] = ()) -> str:
    """Return the full name of an objective. Raises `UserError` as `check_objective` does."""
    check_objective(name, available, own)
    return full_name(name, available, own)


def check_objective(name: str, available: Collection[str], own: Sequence[MetricSpec] = ()) -> None:
    """Raise `UserError` unless a sweep may minimise this metric.

    Args:
        name: Full or short name of the metric.
        available: Full names of the metrics that are measured on the sweep's data (`Evaluator.names`).
        own: The user's own metrics.
    """
    full = full_name(name, available, own)
    specs = declared(available, own)
    choices = ", ".join(each for each in available if each not in specs or specs[each].can_be_objective)
    spec = specs.get(full)
    if spec is not None and not spec.comparable:
        raise UserError(
            f"an objective must be comparable across trials; {full} is not: {reason(full)}; "
            f"minimise a held-out metric instead: {choices}"
        )
    if spec is not None and not spec.can_be_objective:
        raise UserError(
            f"an objective must be minimised, and order trials by itself; {full} is for diagnosis: it says nothing of "
            f"{spec.blind_to}; choose from: {choices}"
        )
    if full in available:
        return
    if spec is not None:
        raise UserError(
            f"an objective must be measured on the data of the sweep; {full} is not; choose from: {choices}"
            + hint(spec, available)
        )
    known = ", ".join((*aliases(), *specs))
    raise UserError(f"an objective must be a known metric; given {name!r}; known are {known}; choose from: {choices}")


def hint(spec: MetricSpec, available: Collection[str]) -> str:
    """Say what an unmeasured metric needs: networks with labels, or `--features` for images other than MNIST."""
    told = any("classes" in each.depends_on for name, each in known_metrics(available).items() if name in available)
    if "classes" in spec.depends_on and not told:
        return "; it is for scripts whose networks are told classes, such as conditional.py"
    wanting = "digit classifier" in spec.depends_on and own_label(available) is None
    return "; for FID and KID of other images name a feature extractor with --features" if wanting else ""


def reason(name: str) -> str:
    """Say why a quantity of the training loop does not compare across trials."""
    if name == "train/wasserstein_estimate":
        return ESTIMATE_REASON
    depends = ", ".join(sorted(known_metrics()[name].depends_on))
    return f"it depends on what each trial has of its own ({depends}), and {ESTIMATE_REASON}"
