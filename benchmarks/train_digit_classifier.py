"""Train the classifier whose features FID and KID use, and write its weights into the package.

    python benchmarks/train_digit_classifier.py [--epochs 20] [--seed 0] [--out wgan_core/metrics/digits.safetensors]

One CPU thread, deterministic by seed on one machine and torch version. New weights are a new metric:
the names `fid_digits_<hash>` and `kid_digits_<hash>` change with them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from wgan_core.data.dataset import Split, to_model
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.digits import WEIGHTS, DigitClassifier

BATCH = 250
PEAK_RATE = 3e-3
MAX_SHIFT = 2


def tensors(split: Split) -> tuple[Tensor, Tensor]:
    """Images in [-1, 1] (N, 1, 28, 28) and labels (N,)."""
    assert split.labels is not None
    return to_model(torch.from_numpy(split.values), torch.float32), torch.from_numpy(split.labels)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by one random offset of at most two pixels each way; what comes in is background."""
    down, right = torch.randint(0, 2 * MAX_SHIFT + 1, (2,), generator=generator).tolist()
    padded = F.pad(images, (MAX_SHIFT,) * 4, value=-1.0)
    return padded[..., down : down + images.shape[-2], right : right + images.shape[-1]].contiguous()


@torch.inference_mode()
def accuracy(classifier: DigitClassifier, images: Tensor, labels: Tensor) -> float:
    logits = torch.cat([classifier(batch) for batch in images.split(1000)])
    return float((logits.argmax(dim=1) == labels).double().mean())


def train(split: Split, epochs: int, seed: int) -> DigitClassifier:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = tensors(split)
    classifier = DigitClassifier()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=PEAK_RATE, total_steps=steps)
    for epoch in range(epochs):
        started = time.perf_counter()
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = F.cross_entropy(classifier(shifted(images[rows], generator)), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.4f}, {time.perf_counter() - started:.1f} s", flush=True)
    return classifier.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the 50,000 training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights are written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_mnist()
    classifier = train(data.train, options.epochs, options.seed)
    print(f"validation accuracy {accuracy(classifier, *tensors(data.validation)):.4f}")
    print(f"test accuracy {accuracy(classifier, *tensors(data.test)):.4f}")
    options.out.write_bytes(save(classifier.state_dict()))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
