"""The process's memory: small after a storm as before it, and no long pause to keep it so."""

from __future__ import annotations

import asyncio
import ctypes
import gc

EVERY = 30.0  # seconds
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone: malloc_trim(3)


def settle() -> None:
    """All is loaded and no call runs yet: what lies there now is never looked through again."""
    gc.collect()
    gc.set_threshold(10_000, 20, 10)  # a round through all calls' objects is a pause that callers hear
    gc.freeze()


def give_back() -> None:
    """Free pages to the operating system.

    The C library keeps what lies below the top of its heap: after a storm of strangers, tens of MiB for ever.
    """
    if _trim is not None:
        _trim(0)


async def keep_small() -> None:
    """For as long as the process lives."""
    while True:
        await asyncio.sleep(EVERY)
        give_back()
