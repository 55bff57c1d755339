"""Presets for the rows of a table, by name."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.engine.plan.presets import AUTHORS_POINT, TOY_RANGES, Preset
from sweeps.engine.plan.space import Space

_SPACE = Space(TOY_RANGES, {}, (AUTHORS_POINT, {**AUTHORS_POINT, "lambda_gp": 10.0}))
_HIDDEN = {"widths": [256, 256], "activation": "leaky_relu"}
_NETS = {"network_options": {"critic": _HIDDEN, "generator": {**_HIDDEN, "batch_norm": False}}}

TABULAR: Mapping[str, Preset] = {
    "wgan-gp": Preset(
        "Gulrajani et al. 2017, with Adam and lambda of the authors' script for toy data, on a small MLP pair",
        _SPACE,
        _NETS,
    ),
    "wgan-lp": Preset(
        "wgan-gp with the one-sided penalty of Petzka et al. 2018, for tables of one column",
        _SPACE,
        {**_NETS, "loss": "wgan-lp"},
    ),
    # The published schedule is 100,000 iterations of 5 critic updates each.
    "ffpred": Preset(
        "FFPred-GAN, Wan and Jones 2020: its pair, full batches, and snapshots chosen by a nearest-neighbour test",
        _SPACE,
        {"networks": "ffpred", "full_batch": True},
        published_updates=500_000,
        objective="c2st",
    ),
}
