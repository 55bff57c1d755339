"""Running out of memory: how it shows, and what is given back before going on."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator

import torch

from wgan_core.errors import one_line

# Of a `RuntimeError`: what torch says on a CPU, and what CUDA's libraries say when they find no room for their own.
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "_ALLOC_FAILED")
# Without the advice and the addresses around it.
_CORE = re.compile(r"(CUDA out of memory|DefaultCPUAllocator: .*?memory).*?[Tt]ried to allocate [\d.]+ ?\w+")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is an error for want of memory, of a GPU or of the machine, or one that came of it.

    Of a recording that fails, CUDA says no more than that it failed.
    """
    return any(_says_so(each) for each in _chain(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those amid which it arose."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def what_ran_out(error: Exception) -> str:
    """The error as a few words."""
    first = next((each for each in _chain(error) if _says_so(each)), error)
    found = _CORE.search(str(first))
    return found[0] if found else one_line(first)


def give_back(device: torch.device) -> None:
    """Let go of what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
