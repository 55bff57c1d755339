"""Settings of a process that trains, and work that is spread over its threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from wgan_core.backend.process import spread


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def norm(size: int) -> float:
    return float(torch.linspace(0, 1, size).square().sum())


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_each_item_has_its_result_in_order(threads: int) -> None:
    sizes = [50_000, 10, 3_000, 7, 20_000]
    torch.set_num_threads(threads)
    assert spread(norm, sizes, threads) == pytest.approx([norm(size) for size in sizes], rel=1e-6)
    assert torch.get_num_threads() == threads
    assert spread(norm, [], threads) == []


def test_several_items_have_a_thread_each_at_the_same_time_and_one_has_all() -> None:
    torch.set_num_threads(4)
    meeting = threading.Barrier(2, timeout=60)

    def meet(_: int) -> int:
        meeting.wait()
        return torch.get_num_threads()

    assert spread(meet, [0, 1], 4) == [1, 1]
    assert spread(lambda _: torch.get_num_threads(), [0], 4) == [4]


def test_an_error_is_that_of_the_first_item_that_has_one() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        spread(lambda size: 1 / size, [1, 0, 2], 2)
    assert torch.get_num_threads() == 2


def test_subnormal_numbers_count_as_zero_on_every_thread() -> None:
    smallest = torch.tensor([1e-30, 1e-30])
    assert spread(lambda scale: float((smallest * scale).sum()), [1e-10, 1e-10], 2) == [0.0, 0.0]
