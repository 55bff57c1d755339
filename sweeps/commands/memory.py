"""Limit on the memory of commands that read what somebody else may have written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from wgan_core.data.limits import size_text
from wgan_core.errors import UserError


@contextmanager
def half_of_memory() -> Iterator[None]:
    """Let the block take at most half of the memory that is available. Only Linux holds the limit.

    Each reader has limits of its own, with better messages. This limit also covers what a reader does not check.

    Raises:
        UserError: The block needs more.
    """
    half = psutil.virtual_memory().available // 2
    own = getattr(psutil.Process().memory_info(), "data", 0)
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [own + half, *(each for each in (before, most) if each != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), most))
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch raises a RuntimeError.
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        raise UserError(
            f"a command may take half of the memory that is available, {size_text(half)}; this one needs more: "
            "if the folder is somebody else's, it may be made for that; else end other programs, or use a machine "
            "with more memory"
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))
