"""A part whose parent dies goes with it, also when it died before the part had asked for that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

FOLLOW = "import sys; from nightbell.core.sandbox import follow_parent; follow_parent(9, int(sys.argv[1]))"
PARENT = """
import multiprocessing, os, sys, time
from nightbell.core.sandbox import follow_parent

def child(asks_at):
    time.sleep(asks_at)
    follow_parent(9, multiprocessing.parent_process().pid)
    print("follows", flush=True)
    time.sleep(20)

one = multiprocessing.get_context("fork").Process(target=child, args=(float(sys.argv[1]),))
one.start()
time.sleep(0.4)
os.kill(os.getpid(), 9)
"""


def test_it_lives_while_its_parent_does_and_dies_when_another_is_there() -> None:
    assert subprocess.run([sys.executable, "-c", FOLLOW, str(os.getpid())], timeout=20).returncode == 0
    alone = subprocess.run([sys.executable, "-c", FOLLOW, "1"], timeout=20)
    assert alone.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("asks_at", "said"), [(0.0, b"follows\n"), (0.8, b"")])
def test_a_fork_goes_with_a_parent_that_was_killed_before_or_after_it_asked(
    asks_at: float, said: bytes
) -> None:
    killed = subprocess.Popen([sys.executable, "-c", PARENT, str(asks_at)], stdout=subprocess.PIPE)
    out, _ = killed.communicate(timeout=10)  # ends when the last that holds the pipe has ended: the fork too
    assert killed.returncode == -signal.SIGKILL
    assert out == said
