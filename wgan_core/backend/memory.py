"""Out-of-memory errors: recognise them, describe them, and free memory before continuing."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator

import torch

from wgan_core.errors import one_line

# Parts of `RuntimeError` messages, from torch on a CPU, and from CUDA's libraries when they cannot allocate memory.
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "_ALLOC_FAILED")
# Match the message without the advice and addresses around it.
_CORE = re.compile(r"(CUDA out of memory|DefaultCPUAllocator: .*?memory).*?[Tt]ried to allocate [\d.]+ ?\w+")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or an error that it arose from, reports a lack of GPU or host memory.

    If a recording runs out of memory, CUDA's own error says only that the recording failed.
    """
    return any(_says_so(each) for each in _chain(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and the errors that it arose from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def what_ran_out(error: Exception) -> str:
    """Describe an out-of-memory error in a few words."""
    first = next((each for each in _chain(error) if _says_so(each)), error)
    found = _CORE.search(str(first))
    return found[0] if found else one_line(first)


def give_back(device: torch.device) -> None:
    """Free unreferenced memory, including torch's cache on a GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
