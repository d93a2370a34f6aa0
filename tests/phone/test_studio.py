"""A clip recorded over a real call: marked, heard again though the practice's callers cannot, and kept by its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.phone.house import PRACTICE, House, line_of, sound_of, speech, write_wav

NUMBER = "try-123456"


@pytest.mark.slow
def test_it_is_recorded_heard_and_kept(tmp_path: Path) -> None:
    house = House(tmp_path)
    key = f"{PRACTICE}:{NUMBER}"
    house.lines[key] = line_of() | {
        "flow": 0, "test": True, "studio": "own-greeting-closed", "language": "es",
    }  # fmt: skip
    mailbox = "01K000000000000000000MAB0X"
    house.numbers[NUMBER] = {"practice": PRACTICE, "mailbox": mailbox, "line": key}
    (house.folder / "snapshot.json").write_bytes(house.signed(2))
    house.start()
    try:
        kept, not_kept = speech(3, 31), speech(3, 32)
        calls = [
            house.call(
                "--digits", keys, "--from", sender, number=NUMBER, background=True,
                wav=write_wav(tmp_path / f"{sender}.wav", sound),
            )
            for keys, sender, sound in (("0,#,1,2", "5552017301", kept), ("0,#", "5552017302", not_kept))
        ]  # fmt: skip
        for call in calls:
            call.communicate(timeout=90)
        captures = {one.meta.caller: one for one in house.wait_for_captures(2)}
    finally:
        house.stop()
    first, second = captures["5552017301"], captures["5552017302"]
    names = [mark.name for mark in first.marks]
    assert "studio:try123456" in names
    assert "test" not in names
    assert names.index("stage:hear") < names.index("studio-keep") < names.index("stage:keep")
    assert kept in sound_of(first)
    assert (first.meta.language, first.meta.mailbox) == ("es", mailbox)
    later = [mark.name for mark in second.marks]
    assert "studio:try123456" in later
    assert "studio-keep" not in later
