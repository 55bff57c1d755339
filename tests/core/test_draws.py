"""Draws: the published generator, its laws, and independence of lanes, positions and interruptions."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from wgan_core.config import trial_seed
from wgan_core.rules import draws
from wgan_core.rules.draws import Stream

SEEDS = torch.tensor([11, 2**62 + 12345, 0])


def at(*updates: int) -> torch.Tensor:
    return torch.tensor(updates)[None].expand(3, -1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_equals_the_published_vectors(counter: list[int], key: list[int], expected: str) -> None:
    """Known answers of Salmon et al.'s Random123 distribution for philox4x32-10."""
    words = draws.philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))  # type: ignore[arg-type]
    assert [int(word) for word in words] == [int(word, 16) for word in expected.split()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_does_not_depend_on_lanes_neighbours_or_blocks(dtype: torch.dtype) -> None:
    size = 64 * 100
    whole = draws.normal(SEEDS, Stream.CRITIC_Z, at(*range(40)), size, dtype)
    for lane in range(3):
        for update in (0, 7, 39):
            single = draws.normal(SEEDS[lane : lane + 1], Stream.CRITIC_Z, torch.tensor([[update]]), size, dtype)
            assert torch.equal(single[0, 0], whole[lane, update])
    shifted = draws.normal(SEEDS[[2, 0]], Stream.CRITIC_Z, torch.tensor([[5, 6, 7], [3, 4, 5]]), size, dtype)
    assert torch.equal(shifted[0], whole[2, 5:8])
    assert torch.equal(shifted[1], whole[0, 3:6])


def test_streams_updates_and_trials_do_not_share_draws() -> None:
    seen = [draws.words(SEEDS, stream, at(0, 1, 2**33), 50) for stream in Stream]
    words = torch.stack(seen).flatten().tolist()
    assert len(set(words)) > len(words) - 5


def test_laws_of_the_draws() -> None:
    uniform = draws.uniform(SEEDS[:1], Stream.INTERPOLATION, at(0)[:1], 100_000, torch.float64).flatten()
    normal = draws.normal(SEEDS[:1], Stream.CRITIC_Z, at(0)[:1], 100_001, torch.float64).flatten()
    index = draws.indices(SEEDS[:1], Stream.DATA, at(0)[:1], 100_000, 50).flatten()
    assert uniform.min() >= 0
    assert uniform.max() <= 1
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.numpy(), "norm").pvalue > 1e-3
    assert stats.chisquare(torch.bincount(index, minlength=50).numpy()).pvalue > 1e-3
    assert index.max() == 49


def test_trial_seeds_differ_by_sweep_and_number() -> None:
    seeds = {trial_seed(sweep, number) for sweep in range(30) for number in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert trial_seed(0, 0) == trial_seed(0, 0)
