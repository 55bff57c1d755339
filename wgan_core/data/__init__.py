"""Data sets: what a trial learns from and what it is scored against.

The loaders are in their own modules (`wgan_core.data.mnist`, `wgan_core.data.images`), so that
`python -m wgan_core.data.mnist` runs a module that is not imported yet.
"""

from wgan_core.data.dataset import Dataset, Split, to_model, to_pixels

__all__ = ["Dataset", "Split", "to_model", "to_pixels"]
