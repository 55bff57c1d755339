"""A small digit classifier, on whose features FID and KID are measured.

The weights ship with the package, so no metric needs a download. A score on these features does not compare with a
score on Inception features. So the names of the metrics contain the hash of the weights.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).with_name("digits.safetensors")
FEATURES, CLASSES = 128, 10
LEAK = 0.1
# Images in a batch. The activations of so few images stay in the cache of one core.
BATCH = 250


@functools.cache
def weights_hash() -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of the shipped weights."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8]


def digits_label() -> str:
    """Return the label of this classifier in the names of metrics."""
    return f"digits_{weights_hash()}"


class DigitClassifier(nn.Module):
    """Two strided convolutions, 128 features, 10 logits; 0.9 M multiplications an image.

    Input: images (N, 1, 28, 28) in [-1, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(32 * 7 * 7, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Return the features (N, 128) of images (N, 1, 28, 28)."""
        # With ReLU, a quarter of the features became constant; LeakyReLU units keep a gradient.
        return F.leaky_relu(self.hidden(self.convolutions(x)), LEAK)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 10) of images (N, 1, 28, 28)."""
        logits: Tensor = self.head(self.features(x))
        return logits


@functools.cache
def load_digit_classifier() -> DigitClassifier:
    """Load the shipped classifier once per process, on the CPU in float32, frozen and in evaluation mode."""
    classifier = DigitClassifier()
    classifier.load_state_dict(load(WEIGHTS.read_bytes()))
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def digit_features(samples: Tensor) -> Tensor:
    """Return features float32 (N, 128), on the CPU, of images (N, 1, 28, 28) in [-1, 1]."""
    classifier = load_digit_classifier()
    batches = samples.detach().to("cpu", torch.float32).split(BATCH)
    return torch.cat([classifier.features(batch) for batch in batches])


@torch.no_grad()
def classify(samples: Tensor) -> Tensor:
    """Return the digit, int64 (N,), that the classifier sees in each image of (N, 1, 28, 28) in [-1, 1]."""
    logits: Tensor = load_digit_classifier().head(digit_features(samples))
    return logits.argmax(dim=1)
