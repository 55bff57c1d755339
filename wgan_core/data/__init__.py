"""Data sets for training and scoring.

This package does not import its loaders, such as `wgan_core.data.mnist` and `wgan_core.data.images`. So
`python -m wgan_core.data.mnist` runs a module that is not imported yet.
"""

from wgan_core.data.dataset import Dataset, Split, to_model, to_pixels

__all__ = ["Dataset", "Split", "to_model", "to_pixels"]
