"""Processes that ask for ports at the same time never get the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASK = "from tests.ports import free_port\nfor _ in range(25): print(free_port())"


def test_ports_are_given_out_once_even_to_processes_side_by_side() -> None:
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    given = [int(line) for one in asking for line in one.communicate(timeout=60)[0].split()]
    assert len(given) == len(set(given)) == 150
    assert all(port % 2 == 0 and 61000 <= port <= 65528 for port in given)
