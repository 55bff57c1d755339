"""Time ways to convolve K lanes, each with kernels of its own, through the double backward of a gradient penalty.

    python benchmarks/convolutions.py [--trials 1 4 16 64] [--rounds 9] [--seconds 0.5] [--precision tf32] [--json OUT]

What is timed is the gradient of the convolutional critic's loss on 28x28 images at batch 64, with the penalty, as one
critic update has it; without generator and optimiser. On a GPU it is recorded once and replayed, so that launches do
not count.

    ours      one grouped convolution for all lanes, which `torch.func.vmap` makes, with the derivatives of
              `wgan_core.backend.convolution`: as lanes are computed on a GPU
    grouped   the same with torch's own derivatives, which take the groups one by one where they are derived again
    first     as ours, but patches, as below, for the first layer: torch takes grouped convolutions of one channel for
              depthwise ones, which have kernels of their own
    last      as grouped, with channels last in memory
    patches   patches side by side in memory, and one batched matrix product
    each      one lane after another: as large networks' lanes are computed on a CPU

The ways take turns in blocks, whose order moves on by one from round to round; rates are lane-updates a second, medians
over the rounds with quartiles. Before, all ways are compared in fp64.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from machine import MOST_BUSY, busy_cores
from measuring import Run, rotated, seconds_of, spread
from torch import Tensor
from torch.nn import functional as F
from wgan_gp import BATCH, LAMBDA, SHAPE

from wgan_core.backend import process
from wgan_core.backend.choices import FLOAT32, TF32
from wgan_core.backend.convolution import Convolutions
from wgan_core.backend.graph import WARM_UPS, Program, ProgramRecorder
from wgan_core.backend.memory import give_back
from wgan_core.errors import one_line
from wgan_core.networks.layers import LeakyReLU
from wgan_core.rules import losses

CHANNELS = (1, 32, 64)
SIDE, STRIDE, PADDING = 4, 2, 1
ACTIVATE = LeakyReLU(0.2)
# Of gradients in fp64, which are of the order of 1: beyond it two ways do not compute the same.
LARGEST_DIFFERENCE = 1e-10

Convolve = Callable[[Tensor, Tensor, Tensor], Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    process.configure(options.threads, precision=options.precision)
    device = torch.device(options.device)
    busy = busy_cores()
    noted = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": process.describe(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "precision": options.precision,
        "threads": options.threads,
        "batch": BATCH,
        "rounds": options.rounds,
        "block_seconds": options.seconds,
        "other_busy_cores": busy,
        "largest_difference_fp64": differences(device),
    }
    print("\n".join(f"{key}: {value}" for key, value in noted.items()), flush=True)
    figures: list[dict[str, Any]] = []
    for lanes in options.trials:
        figures.append({"lanes": lanes, **measured(lanes, device, options)})
        print(row(figures[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps({**noted, "figures": figures}, indent=1) + "\n")
    if busy > MOST_BUSY:
        print(f"{busy:.1f} cores were busy with other work before the start: DO NOT QUOTE these figures")
    if options.json:
        print(f"wrote {options.json}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--trials", type=int, nargs="+", help="numbers of lanes K; on CUDA 1 4 16 64, else 1 4 16")
    add("--rounds", type=int, default=9, help="of blocks for each K, 2 or more")
    add("--seconds", type=float, default=0.5, help="length of one block, in seconds, at least an update")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=(FLOAT32, TF32), default=FLOAT32, help="of products")
    add("--threads", type=int, default=1, help="of the CPU")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    options.trials = options.trials or ([1, 4, 16, 64] if options.device == "cuda" else [1, 4, 16])
    if min(*options.trials, options.threads) < 1 or options.rounds < 2:
        parser.error("--trials and --threads must be 1 or more, and --rounds 2 or more")
    return options


# The ways: x (K, N, C, H, W), weight (K, O, C, S, S) and bias (K, O) become (K, N, O, H', W').


def _alone(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, STRIDE, PADDING)


def grouped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.func.vmap(_alone)(x, weight, bias)


def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    with Convolutions():
        return torch.func.vmap(_alone)(x, weight, bias)


def first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return (patches if x.shape[2] == 1 else ours)(x, weight, bias)


def last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    lanes, batch = x.shape[:2]
    wide = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    kernels = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    found = F.conv2d(wide, kernels, bias.flatten(), STRIDE, PADDING, groups=lanes)
    return found.reshape(batch, lanes, -1, *found.shape[2:]).transpose(0, 1)


def patches(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    lanes, batch = x.shape[:2]
    windows = F.pad(x, [PADDING] * 4).unfold(3, SIDE, STRIDE).unfold(4, SIDE, STRIDE)
    sides = windows.shape[3:5]
    # (K, N, C, H', W', S, S) -> (K, N H' W', C S S)
    rows = windows.permute(0, 1, 3, 4, 2, 5, 6).reshape(lanes, -1, x.shape[2] * SIDE * SIDE)
    found = torch.baddbmm(bias[:, None], rows, weight.flatten(2).mT)
    return found.reshape(lanes, batch, *sides, -1).permute(0, 1, 4, 2, 3)


def each(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.stack([_alone(*lane) for lane in zip(x, weight, bias, strict=True)])


WAYS: dict[str, Convolve] = {way.__name__: way for way in (ours, grouped, first, last, patches, each)}


class Critics:
    """K critics and the batch that they see."""

    def __init__(self, lanes: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        random = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(lanes, *shape, generator=random, dtype=torch.float64).to(device, dtype)

        self.weights: list[Tensor] = []
        for before, after in itertools.pairwise(CHANNELS):
            self.weights += [drawn(after, before, SIDE, SIDE) / SIDE / before**0.5, drawn(after)]
        ends = CHANNELS[-1] * (SHAPE[1] // 4) * (SHAPE[2] // 4)
        self.weights.append(drawn(ends, 1) / ends**0.5)
        self.real, self.fake, self.points = (drawn(BATCH, *SHAPE) for _ in range(3))

    def gradients(self, convolve: Convolve) -> list[Tensor]:
        """Of the sum of all critics' losses: Gulrajani et al. 2017, eq. 3."""
        weights = [weight.detach().requires_grad_() for weight in self.weights]

        def score(x: Tensor) -> Tensor:
            for weight, bias in zip(weights[:-1:2], weights[1:-1:2], strict=True):
                x = convolve(x, weight, bias)
                x = ACTIVATE(x)
            return (x.flatten(2) @ weights[-1]).squeeze(2)

        real, fake = score(torch.cat([self.real, self.fake], 1)).chunk(2, 1)
        penalty = losses.two_sided_penalty(losses.gradient_norms(score, self.points))
        loss = losses.wasserstein_critic_loss(real, fake) + LAMBDA * penalty
        return list(torch.autograd.grad(loss.sum(), weights))


def differences(device: torch.device) -> dict[str, float]:
    """Of each way's gradients from those of one lane after another, in fp64.

    Raises `RuntimeError` if there is more than rounding.
    """
    critics = Critics(3, device, torch.float64)
    wanted = critics.gradients(each)
    found = {
        name: max(float((one - other).abs().max()) for one, other in zip(critics.gradients(way), wanted, strict=True))
        for name, way in WAYS.items()
    }
    if max(found.values()) > LARGEST_DIFFERENCE:
        raise RuntimeError(f"all ways must compute the same, to {LARGEST_DIFFERENCE:g}; they differ by {found}")
    return found


def measured(lanes: int, device: torch.device, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Lane-updates a second of each way; or why the device cannot do it, or has no room."""
    give_back(device)  # what other numbers of lanes have had
    critics = Critics(lanes, device)
    runs, impossible = {}, {}
    for name, way in WAYS.items():
        program = ProgramRecorder(device).program(lambda way=way: critics.gradients(way))
        try:
            program()
        except RuntimeError as error:
            impossible[name] = one_line(error)
            continue
        for _ in range(WARM_UPS):  # and the recording, on a GPU
            program()
        runs[name] = repeated(program)
    iterations = {name: max(1, round(options.seconds / seconds_of(run, 1, device))) for name, run in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.rounds):
        for name in rotated(list(runs), turn):
            count = iterations[name]
            rates[name].append(lanes * count / seconds_of(runs[name], count, device))
    return {"per_second": {name: spread(found) for name, found in rates.items()}, "impossible": impossible}


def repeated(update: Program) -> Run:
    def run(iterations: int) -> None:
        for _ in range(iterations):
            update()

    return run


def row(figure: dict[str, Any]) -> str:
    rates = figure["per_second"]
    cells = [f"{name} {rate['median']:.1f} [{rate['q1']:.1f}, {rate['q3']:.1f}]" for name, rate in rates.items()]
    cells += [f"{name}: {why}" for name, why in figure["impossible"].items()]
    return f"K = {figure['lanes']:<4} lane-updates/s: {'; '.join(cells)}"


if __name__ == "__main__":
    main()
