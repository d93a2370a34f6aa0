"""What is added to a file is there whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nightbell.core.durable import append


def test_it_adds_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append(path, b"one\n")
    append(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:2]))
    append(tmp_path / "lines", b"a line\n")
    assert (tmp_path / "lines").read_bytes() == b"a line\n"


def test_a_disk_that_fills_up_half_way_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    append(path, b"one\n")
    write, full = os.write, OSError(errno.ENOSPC, "full")

    def two_bytes_fit(handle: int, data: bytes) -> int:
        if path.stat().st_size > 4:
            raise full
        return write(handle, bytes(data)[:2])

    monkeypatch.setattr(os, "write", two_bytes_fit)
    with pytest.raises(OSError, match="full"):
        append(path, b"two\n")
    assert path.read_bytes() == b"one\n"
