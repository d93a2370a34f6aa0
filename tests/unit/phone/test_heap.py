"""What a storm left is given back to the operating system."""

from __future__ import annotations

from pathlib import Path

from nightbell.phone import heap

BLOCK = 2_000  # bytes: more than Python's own allocator takes, less than what is mapped on its own
COUNT = 40_000


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_freed_heap_goes_back_though_something_lies_on_its_top() -> None:
    storm = [bytes(BLOCK) for _ in range(COUNT)]
    top = bytes(BLOCK)
    del storm
    held = resident_kb()
    heap.give_back()
    assert held - resident_kb() > COUNT * BLOCK / 1024 * 0.7
    assert len(top) == BLOCK
