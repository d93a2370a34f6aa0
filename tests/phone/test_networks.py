"""Strangers and carriers with addresses of their own, over a real (virtual) cable between two network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_who_is_answered_over_a_cable() -> None:
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("namespaces.py"))],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": "src", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    heard = json.loads(run.stdout)
    ways = [f"{host} {way}" for host in ("10.77.0.1", "fd77::1") for way in ("UDP", "TCP")]
    for way in ways:
        assert heard[f"none {way}"] == ("silence" if way.endswith("UDP") else "closed")
        assert heard[f"plain {way}"] == "SIP/2.0 200 OK"
        assert heard[f"strict {way}"] == "SIP/2.0 403 Forbidden"
    # Whoever is on this machine is so by its own addresses too.
    assert heard["own 10.77.0.1"] == heard["own fd77::1"] == "SIP/2.0 200 OK"
    assert heard["strangers"] == 4
