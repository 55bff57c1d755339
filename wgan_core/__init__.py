"""Train one cohort of Wasserstein GANs: networks, losses, updates, data, metrics and checkpoints.

These names are public and stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wgan_core.public import at_first_use

if TYPE_CHECKING:
    from wgan_core.config import Hyper as Hyper
    from wgan_core.config import Structure as Structure
    from wgan_core.config import Trial as Trial
    from wgan_core.data.dataset import Dataset as Dataset
    from wgan_core.data.dataset import Split as Split
    from wgan_core.data.dataset import count_classes as count_classes
    from wgan_core.data.images import load_images as load_images
    from wgan_core.data.membrane import load_membrane as load_membrane
    from wgan_core.data.mnist import load_mnist as load_mnist
    from wgan_core.data.sequences import load_sequences as load_sequences
    from wgan_core.data.sines import load_sines as load_sines
    from wgan_core.data.tables import load_table as load_table
    from wgan_core.data.toy import load_toy as load_toy
    from wgan_core.errors import UserError as UserError
    from wgan_core.metrics.own import OwnMetric as OwnMetric
    from wgan_core.metrics.register import register_features as register_features
    from wgan_core.networks.layers import LeakyReLU as LeakyReLU
    from wgan_core.networks.pairs import Pair as Pair
    from wgan_core.networks.pairs import register as register

# Where each public name is defined. A name is imported at its first use, so importing the package stays fast.
_MODULES = {
    "Dataset": "wgan_core.data.dataset",
    "Hyper": "wgan_core.config",
    "LeakyReLU": "wgan_core.networks.layers",
    "OwnMetric": "wgan_core.metrics.own",
    "Pair": "wgan_core.networks.pairs",
    "Split": "wgan_core.data.dataset",
    "Structure": "wgan_core.config",
    "Trial": "wgan_core.config",
    "UserError": "wgan_core.errors",
    "count_classes": "wgan_core.data.dataset",
    "load_images": "wgan_core.data.images",
    "load_membrane": "wgan_core.data.membrane",
    "load_mnist": "wgan_core.data.mnist",
    "load_sequences": "wgan_core.data.sequences",
    "load_sines": "wgan_core.data.sines",
    "load_table": "wgan_core.data.tables",
    "load_toy": "wgan_core.data.toy",
    "register": "wgan_core.networks.pairs",
    "register_features": "wgan_core.metrics.register",
}

__all__ = [*_MODULES]
__getattr__ = at_first_use(__name__, _MODULES)
