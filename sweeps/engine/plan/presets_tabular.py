"""Presets for the rows of a table, by name."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.engine.plan.passes import Passes
from sweeps.engine.plan.presets import AUTHORS_POINT, TOY_RANGES, WGAN_GP, Preset
from sweeps.engine.plan.space import Range, Space
from wgan_core.config import Structure
from wgan_core.data.dataset import Dataset
from wgan_core.data.fitting import CodingName

TABLE_BUDGET = Passes(100, least=1_500, most=30_000)
"""Default budget of a sweep on a table. CTGAN takes longer for its 300 epochs (docs/systems.md)."""
# FFPred-GAN (Wan and Jones 2020) takes as many latent variables as columns. Their one-hot codes need fewer.
MOST_LATENT = 128

# On small real tables, larger rates and the published lambda win over those of the script for toy data (docs/log.md).
_RANGES = {**WGAN_GP.ranges, "lr": Range(1e-4, 1e-2, log=True)}
_POINT = {"lambda_gp": 10.0, "lr": 1e-3, "n_critic": 2, "beta1": 0.0, "one_minus_beta2": 0.01}
_SPACE = Space(_RANGES, {}, (_POINT, {**_POINT, "lr": 5e-4}))
_FFPRED = Space(TOY_RANGES, {}, (AUTHORS_POINT, {**AUTHORS_POINT, "lambda_gp": 10.0}))
_HIDDEN = {"widths": [256, 256], "activation": "leaky_relu"}
_NETS = {"network_options": {"critic": _HIDDEN, "generator": {**_HIDDEN, "batch_norm": False}}, "gumbel": 0.2}

TABULAR: Mapping[str, Preset] = {
    "wgan-lp": Preset(
        "Petzka et al. 2018, with Gumbel noise at categories and larger learning rates, on a small MLP pair",
        _SPACE,
        {**_NETS, "loss": "wgan-lp"},
    ),
    "wgan-gp": Preset(
        "wgan-lp with the two-sided penalty of Gulrajani et al. 2017",
        _SPACE,
        _NETS,
    ),
    # The published schedule is 100,000 iterations of 5 critic updates each.
    "ffpred": Preset(
        "FFPred-GAN, Wan and Jones 2020: its pair, full batches, and snapshots chosen by a nearest-neighbour test",
        _FFPRED,
        {"networks": "ffpred", "full_batch": True},
        published_updates=500_000,
        objective="c2st",
    ),
}


def table_coding(preset: Preset) -> CodingName:
    """Return the default coding of a preset's columns: the published FFPred-GAN standardises them."""
    return "standard" if preset.structure.get("networks") == "ffpred" else "ranks"


def table_structure(
    preset: Preset, dataset: Dataset, networks: str | None = None, full_batch: bool = False
) -> Structure:
    """Return the structure of a sweep on a table's rows.

    Args:
        preset: The preset, one of `TABULAR` as a rule.
        dataset: The table, as `wgan_core.load_table` reads it.
        networks: Name of other networks than the preset's.
        full_batch: Whether each update sees all rows, whatever the preset says.
    """
    rows, full = len(dataset.train), full_batch or preset.structure.get("full_batch", False)
    return preset.structure_for(
        dataset.sample_shape,
        networks,
        coding=dataset.coding,
        latent_dim=min(dataset.sample_shape[0], MOST_LATENT),
        full_batch=full,
        batch_size=rows if full else min(Structure.batch_size, rows),
    )
