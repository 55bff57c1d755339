"""Presets for sequences, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sweeps.engine.plan.presets import CLIPPED, WGAN_GP, Preset

# Short searches have few generator updates, so the average of the weights must forget faster than by default.
_SHORT = {"latent_dim": 16, "ema_decay": 0.99}
_HIDDEN = {"hidden": 256}
_PAIR = {"critic": _HIDDEN, "generator": {**_HIDDEN, "batch_norm": False}}
_GENERATOR = {"widths": [256, 256], "output": "linear", "batch_norm": False}
_MLP = {**_SHORT, "networks": "mlp", "network_options": {"critic": {"widths": [256]}, "generator": _GENERATOR}}
# Short searches on sines scored well at the first point (docs/systems.md). The second is the published one
# (Gulrajani et al. 2017, Algorithm 1).
_POINT = {"lambda_gp": 2.0, "lr": 2e-3, "n_critic": 1, "beta1": 0.2, "one_minus_beta2": 0.15}
_PENALISED = replace(WGAN_GP, presets=(_POINT, WGAN_GP.presets[0]))
_CLIPPED = replace(CLIPPED, presets=(*CLIPPED.presets, {"clip": 0.03, "lr": 5e-4, "n_critic": 2}))

SEQUENCES: Mapping[str, Preset] = {
    "wgan-gp": Preset(
        "Gulrajani et al. 2017 on the sequence pair, with fully connected layers as in Chen et al. 2016; own rates",
        _PENALISED,
        {**_SHORT, "networks": "sequence", "network_options": _PAIR},
    ),
    "mlp": Preset(
        "the penalty of Gulrajani et al. 2017 on a critic in_dim-256-1 and a generator of two layers of 256; own rates",
        _PENALISED,
        _MLP,
    ),
    "wgan-clip": Preset(
        "Arjovsky et al. 2017, Algorithm 1, on the nets of mlp",
        _CLIPPED,
        {**_MLP, "loss": "wgan-clip", "optimiser": "rmsprop"},
    ),
}
